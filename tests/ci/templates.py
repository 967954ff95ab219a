"""The files that a user copies, and what is in them."""

import re
import shlex
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "ci"
ACTION = ROOT / "action.yml"
GITHUB = sorted((FOLDER / "github").glob("*.yml"))
GITLAB = FOLDER / "gitlab" / ".gitlab-ci.yml"
JENKINS = FOLDER / "jenkins" / "Jenkinsfile"
AZURE = FOLDER / "azure" / "azure-pipelines.yml"
TEMPLATES = [*GITHUB, GITLAB, JENKINS, AZURE]


def name(path: Path) -> str:
    """For the id of a test."""
    return str(path.relative_to(ROOT))


def commands(text: str) -> list[list[str]]:
    """The words after `ratchet` of every command line in a template, up to where another command or a redirection begins."""
    lines = [line.strip() for line in text.splitlines() if not line.strip().startswith(("#", "//"))]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    found = []
    for line in joined.splitlines():
        script = match[1] if (match := re.fullmatch(r"sh '(.*)'", line)) else line
        for one in re.finditer(r"(?<![-\w./])ratchet (.*)", script):
            lexer = shlex.shlex(one[1], posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words: list[str] = []
            for word in lexer:
                if set(word) <= set("();<>|&"):
                    break
                words.append(word)
            found.append(words)
    return found


def scripts(path: Path) -> list[str]:
    """Everything in a YAML file that a shell runs."""

    def walk(item: Any) -> list[str]:
        if isinstance(item, dict):
            here = [item[key] for key in ("run", "bash", "script", "before_script", "after_script") if key in item]
            flat = [line for one in here for line in (one if isinstance(one, list) else [one])]
            return [line for line in flat if isinstance(line, str)] + [
                each for one in item.values() for each in walk(one)
            ]
        return [each for one in item for each in walk(one)] if isinstance(item, list) else []

    return walk(yaml.safe_load(path.read_text()))

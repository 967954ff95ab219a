"""Runs a story's commands in a repository and writes the page that tells it: what is typed, and what is really printed."""

import os
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path

_ID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_DIGEST = re.compile(r"\b([0-9a-f]{12})-[0-9a-f]{8}\b")
"""Of content, in the name of a version: it changes with every change of this package."""


class Recorder:
    """A page of Markdown in the making.

    Args:
        folder: Where the commands run.
        environment: Variables that they get besides this process's own.
        said: What stands in the page instead of a text, such as a port that is another each time.
    """

    def __init__(self, folder: Path, environment: dict[str, str], said: dict[str, str]) -> None:
        self.folder = folder
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "RATCHET_", "KFP_"))},
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            # Commits, and so the names of versions, are the same each time.
            **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in _AUTHOR.items()},
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "COLUMNS": "110",
            "NO_COLOR": "1",
            "TERM": "dumb",
            **environment,
        }
        self._said = dict(said)
        self._ids: dict[str, int] = {}
        self._parts: list[str] = []

    @property
    def page(self) -> str:
        """All that was told."""
        return "\n\n".join(self._parts) + "\n"

    def tell(self, text: str) -> None:
        """A paragraph, a heading or any other Markdown."""
        self._parts.append("\n".join(line.strip() for line in text.strip().splitlines()))

    def write(self, path: str, text: str) -> None:
        """Write a file of the repository and show it."""
        self._put(path, text)
        kind = {".py": "python", ".yaml": "yaml"}[Path(path).suffix]
        self._parts.append(f"`{path}`\n\n```{kind}\n{text.strip()}\n```")

    def change(self, path: str, old: str, new: str) -> None:
        """Replace a text in a file, which must be there once."""
        text = (self.folder / path).read_text()
        assert text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times"
        self._put(path, text.replace(old, new))

    def run(self, command: str, *, code: int = 0, show: bool = True) -> str:
        """Run a command as a shell does; what it prints goes into the page, and its exit code where that is not 0."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == code, f"$ {command}\n{done.stdout}\nexit code {done.returncode}, not {code}"
        if show:
            printed = "\n".join(line.rstrip() for line in self._steady(_sorted(done.stdout)).strip("\n").splitlines())
            ending = f"\n$ echo $?\n{code}" if code else ""
            self._parts.append(f"```console\n$ {command}\n{printed}{ending}\n```")
        return done.stdout

    def _put(self, path: str, text: str) -> None:
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text.strip() + "\n")

    def _steady(self, text: str) -> str:
        for found, said in self._said.items():
            text = text.replace(found, said)
        text = _ID.sub(lambda found: self._name(found[0]), text)
        return _DIGEST.sub(lambda found: f"{found[1]}-{self._counted(found[0]):08x}", text)

    def _counted(self, text: str) -> int:
        return self._ids.setdefault(text, len(self._ids) + 1)

    def _name(self, identity: str) -> str:
        """The same made-up id for the same real one, counted from the story's beginning."""
        number = f"{self._counted(identity):08x}"
        return f"{number}-{number[:4]}-4{number[1:4]}-8{number[1:4]}-{number}{number[:4]}"


def _sorted(text: str) -> str:
    """What was done at the same time, in the order of names: lines that begin with the same two words."""
    groups = groupby(text.splitlines(), key=lambda line: line.split()[:2])
    return "\n".join(line for words, lines in groups for line in (sorted(lines) if words[:1] == ["✓"] else lines))


_AUTHOR = {"NAME": "Ada", "EMAIL": "ada@example.com", "DATE": "2026-01-12T09:00:00+00:00"}

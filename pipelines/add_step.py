"""`ratchet add-step`: the files of a new component in the right rooms of a user's repository."""

import builtins
import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines import step_texts

_LONGEST = 40


@dataclass(frozen=True)
class AddedStep:
    """What was written."""

    name: str
    files: tuple[Path, ...]

    def lines(self) -> Iterator[str]:
        """What to show in a terminal."""
        yield from (f"{path} written" for path in self.files)
        yield f"next: python -m pytest {self.files[-1]}"
        yield "in a pipeline:"
        yield f"  from components.{self.name}.component import {self.name}"
        yield f'  passed = {self.name}(dataset=data.outputs["dataset"], column="id").outputs["rows"]'


def add_step(name: str, folder: Path = Path()) -> AddedStep:
    """Write a component with its logic, its page and its test; a small one that works.

    Args:
        name: Of the folder, the function and the task: lower case letters, digits and underscores.
        folder: Of the repository; pipelines are compiled and tests are run from there.

    Raises:
        InputError: The name is none, or something of that name is there already.
    """
    if problem := _problem(name):
        raise InputError(f"a step cannot be named {name!r}: {problem}", f"try {_nearest(name)}")
    room, test = folder / "components" / name, folder / "tests" / "components" / name / f"test_{name}.py"
    for path in (room, test):
        if path.exists():
            raise InputError(f"{path} exists already", "give the step another name, or change what is there")
    texts = {
        room / "component.py": step_texts.COMPONENT,
        room / "rows.py": step_texts.LOGIC,
        room / "README.md": step_texts.README,
        test: step_texts.TEST,
    }
    written = {path: text.substitute(name=name) for path, text in texts.items()}
    shared = {
        folder / "conftest.py": step_texts.CONFTEST,
        folder / "components" / "__init__.py": "",
        room / "__init__.py": "",
    }
    written = {path: text for path, text in shared.items() if not path.exists()} | written
    for path, content in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return AddedStep(name, tuple(written))


def _problem(name: str) -> str:
    """What is wrong with a name; "" for a good one."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name, re.ASCII) or "__" in name or name.endswith("_"):
        return "it is no word of lower case letters, digits and underscores"
    if len(name) > _LONGEST:
        return f"it is longer than {_LONGEST} characters"
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        return "it is a word of Python's own"
    return "it is a function of Python's own" if hasattr(builtins, name) else ""


def _nearest(name: str) -> str:
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    word = re.sub(r"[^a-z0-9]+", "_", apart).strip("_")[:_LONGEST].strip("_")
    word = word if re.match("[a-z]", word) else f"step_{word}".strip("_")
    return f"{word[: _LONGEST - 5]}_rows" if _problem(word) else word

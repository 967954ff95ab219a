"""Pipelines that a user's own code defines: `package.module:function`, found from the folder of `pipelines.yaml`."""

import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.names import suggestion


@contextmanager
def importing_from(folder: Path) -> Iterator[None]:
    """Let modules of a folder be imported, as they are now: they are forgotten again at the end, and leave no bytecode behind."""
    before, writes = set(sys.modules), sys.dont_write_bytecode
    place = str(folder.resolve())
    sys.path.insert(0, place)
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        # What a module prints would stand in the middle of a command's JSON.
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.path.remove(place)
        sys.dont_write_bytecode = writes
        for name in set(sys.modules) - before:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(place):
                del sys.modules[name]


def pipeline_function(reference: str, folder: Path) -> Any:
    """A pipeline by its reference; a plain function becomes one.

    Args:
        reference: `package.module:function`.
        folder: Whose files an error is looked for in; the caller is within `importing_from` it.

    Raises:
        InputError: There is no such module or function, it is no pipeline, or its code fails; the message names file and line.
    """
    module_name, _, name = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise InputError(
                f"{reference}: there is no module {error.name} in {folder}, nor is it installed",
                "write package.module:function, from the folder of pipelines.yaml",
            ) from None
        raise _failed(reference, error, folder) from None
    found = getattr(module, name, None)
    if found is None:
        raise InputError(f"{reference}: {module_name} has no {name!r}", suggestion(name, _pipelines(module)))
    if isinstance(found, BaseComponent):
        return found
    if not callable(found) or isinstance(found, type):
        raise InputError(
            f"{reference} is a {type(found).__name__}, not a pipeline", "decorate a function: @dsl.pipeline"
        )
    try:
        return dsl.pipeline(found)
    except (Exception, SystemExit) as error:
        raise _failed(reference, error, folder) from None


def _pipelines(module: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, BaseComponent) or getattr(value, "__module__", "") == module.__name__
    ]


def _failed(reference: str, error: BaseException, folder: Path) -> InputError:
    said = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return InputError(
        f"{_place(error, folder) or reference}: {said}", f"make `python -c 'import {reference.partition(':')[0]}'` work"
    )


def _place(error: BaseException, folder: Path) -> str:
    """FILE:LINE of the last line of the user's own code that led to an error; "" when there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(folder.resolve())
    ]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else ""

"""Which source is running: this package's, and the user's."""

import os
import sysconfig
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from kfp_ratchet import components
from kfp_ratchet.components.shared.canonical import digest, digest_file, dumps

_SUFFIXES = {".py", ".j2", ".css"}


def source_files() -> list[Path]:
    """The files of `kfp_ratchet.components` that decide what a step does."""
    return [path for path in Path(next(iter(components.__path__))).rglob("*") if path.suffix in _SUFFIXES]


@cache
def source_digest() -> str:
    """Digest of those files, wherever the package is installed."""
    package = Path(next(iter(components.__path__)))
    return digest(dumps({path.relative_to(package).as_posix(): digest_file(path) for path in source_files()}))


def python_files(folder: Path) -> list[Path]:
    """The Python files in and below a folder, without hidden folders, virtual environments and what npm installs."""
    found: list[Path] = []
    for here, folders, names in os.walk(folder):
        if "pyvenv.cfg" in names:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")) and name != "node_modules")
        found += [Path(here, name) for name in sorted(names) if name.endswith(".py")]
    return found


def module_files(module: str) -> list[Path]:
    """The Python files that a module may take code from: its package, or what lies beside a module of no package; none if unknown.

    Of a module that is installed on its own, only its file: beside it lies everything else that is installed.
    """
    try:
        spec = find_spec(module.partition(".")[0])
    except (ImportError, ValueError):  # `__main__` has none
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations:
        return [path for folder in spec.submodule_search_locations for path in python_files(Path(folder))]
    if not spec.has_location or spec.origin is None:
        return []
    path = Path(spec.origin)
    installed = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")}
    return [path] if path.parent in installed else python_files(path.parent)

"""Which source of this package is running."""

from functools import cache
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

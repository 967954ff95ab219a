"""Where data comes from: listing a source, and opening exactly the files that were listed.

A source is told by its URI's scheme. Files and folders are supported; another kind of storage is another class that keeps `Source`.
"""

import errno
import json
import os
import re
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from kfp_ratchet.components.shared.canonical import digest_file
from kfp_ratchet.components.shared.credentials import refuse_credentials
from kfp_ratchet.components.shared.dataset import MAIN
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.names import shortened

_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_SETTLED_NS = 2_000_000_000


class FileEntry(BaseModel):
    """One file of a table, as it was listed."""

    model_config = ConfigDict(frozen=True)

    path: str = Field(description="Relative to the source, POSIX; the file's name when the source is one file.")
    size: int = Field(description="Bytes.")
    version: str = Field(description="Changes whenever the content does; for files the SHA-256 of their bytes.")


class Memory:
    """Versions of files found earlier, by a mark that shows cheaply that a file is still the same.

    Args:
        before: What an earlier listing left in `now`.
    """

    def __init__(self, before: Mapping[str, str]) -> None:
        self.now: dict[str, str] = {}
        self._before = before

    def recall(self, mark: str) -> str | None:
        """The version behind a mark, None when it is not known."""
        version = self._before.get(mark)
        if version is not None:
            self.now[mark] = version
        return version

    def keep(self, mark: str, version: str) -> None:
        """Remember a version."""
        self.now[mark] = version


class Source(Protocol):
    """A place that holds the files of one table."""

    uri: str

    def manifest(self, memory: Memory) -> tuple[FileEntry, ...]:
        """All files in the order of their paths.

        Args:
            memory: Saves reading files that did not change; kept up to date.

        Raises:
            RatchetError: There is nothing at `uri`, or it cannot be listed.
        """

    def open(self, entry: FileEntry) -> Path:
        """A local file that holds exactly what was listed.

        Raises:
            RatchetError: The file is gone or has changed; it is named.
        """

    def locate(self, entry: FileEntry) -> Path | None:
        """Where the file lies on this machine, unverified; None when it would have to be fetched."""


class Files:
    """A file, or all files below a folder. Names that start with `.` or `_` are skipped, as Spark and Hive do."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._root = Path(unquote(urlsplit(uri).path)) if uri.startswith("file://") else Path(uri)

    def manifest(self, memory: Memory) -> tuple[FileEntry, ...]:
        """See `Source`. A file is read only if it is new, or its size, times or inode are."""
        return tuple(self._entry(path, memory) for path in self._paths())

    def locate(self, entry: FileEntry) -> Path:
        """See `Source`."""
        return self._root if self._root.is_file() else self._root / entry.path

    def open(self, entry: FileEntry) -> Path:
        """See `Source`."""
        path = self.locate(entry)
        try:
            same = path.stat().st_size == entry.size and digest_file(path) == entry.version
        except OSError as error:
            raise RatchetError(
                f"{path} cannot be read although it was listed: {error.strerror or error}", "restore it, or pin again"
            ) from error
        if not same:
            raise RatchetError(f"{path} has changed since it was pinned", "start a new run, which pins it anew")
        return path

    def _paths(self) -> list[Path]:
        try:
            if not stat.S_ISDIR(self._root.stat().st_mode):
                return [_a_file(self._root)]
        except (OSError, ValueError) as error:
            absent = isinstance(error, ValueError) or error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
            if absent and not _is_link(self._root):
                raise InputError(f"there is no file or folder {shortened(self.uri)!r}", "check `source`") from None
            raise _unreadable(self._root, error) from error
        found: list[Path] = []
        above: dict[str, tuple[str, ...]] = {}
        for folder, inner, names in os.walk(self._root, onerror=_raise, followlinks=True):
            here = os.path.realpath(folder)
            if here in above.get(folder, ()):
                raise InputError(f"{folder} is a link to a folder above it", "remove it: its files would never end")
            inner[:] = [name for name in inner if not _hidden(name)]
            above |= dict.fromkeys((str(Path(folder, name)) for name in inner), (*above.pop(folder, ()), here))
            found += [_a_file(Path(folder, name)) for name in names if not _hidden(name)]
        if not found:
            raise InputError(f"the folder {self.uri!r} holds no files", "check `source`, or wait for the data")
        return sorted(found, key=lambda path: path.relative_to(self._root).as_posix())

    def _entry(self, path: Path, memory: Memory) -> FileEntry:
        name = path.name if path == self._root else path.relative_to(self._root).as_posix()
        try:
            mark, size, changed_ns = _mark(path)
            version = memory.recall(mark)
            if version is None:
                now_ns = time.time_ns()
                version = digest_file(path)
                if _mark(path)[0] != mark:
                    raise RatchetError(f"{path} changes while it is read", "wait until it is complete, then pin again")
                # A file written a moment ago may be written again within one tick of the file system's clock and look the same.
                if now_ns - changed_ns > _SETTLED_NS:
                    memory.keep(mark, version)
        except OSError as error:
            raise _unreadable(path, error) from error
        return FileEntry(path=name, size=size, version=version)


_KINDS = {"": Files, "file": Files}


def open_source(uri: str) -> Source:
    """The source behind a URI or path.

    Raises:
        InputError: The scheme is not supported, or the URI holds a secret.
    """
    refuse_credentials(uri, "source")
    match = _SCHEME.match(uri)
    scheme = match[1].lower() if match else ""
    if scheme not in _KINDS:
        raise InputError(f"source {uri!r}: {scheme}:// is not supported", "give a path or file://…")
    return _KINDS[scheme](uri)


def parse_source(text: str) -> dict[str, str]:
    """URIs by table, in the order given; the first is the main table, named `rows` when the source is a single URI.

    Raises:
        InputError: Empty, not valid JSON, or a table's name or URI cannot be one.
    """
    if not text.strip():
        raise InputError("source is empty", "say where the data is: a path, or a JSON object of paths by table")
    if not text.lstrip().startswith("{"):
        return {MAIN: text.strip()}
    try:
        pairs: list[tuple[str, object]] = json.loads(text, object_pairs_hook=list)
    except ValueError as error:
        raise InputError(f"source is not JSON: {error}", 'write e.g. {"flights": "data/flights"}') from None
    tables: dict[str, str] = {}
    for name, uri in pairs:
        if not _TABLE.fullmatch(name):
            raise InputError(f"source: {name!r} cannot be a table's name", "use letters, digits and underscores")
        if name in tables:
            raise InputError(f"source names the table {name!r} twice", "give each table one URI")
        if not isinstance(uri, str) or not uri:
            raise InputError(f"source: the URI of table {name!r} is not a text", "give a path")
        tables[name] = uri
    if not tables:
        raise InputError("source names no table", 'write e.g. {"flights": "data/flights"}')
    return tables


def _mark(path: Path) -> tuple[str, int, int]:
    """What shows cheaply that a file is still the same, its size, and when it changed last."""
    found = path.stat()
    mark = f"{path.absolute()}|{found.st_size}|{found.st_mtime_ns}|{found.st_ctime_ns}|{found.st_ino}"
    return mark, found.st_size, max(found.st_mtime_ns, found.st_ctime_ns)


def _a_file(path: Path) -> Path:
    """The path, if a file with bytes lies there.

    Raises:
        InputError: It is a broken link, or a pipe, socket or device, which would be waited for; or no text is its name.
    """
    try:
        kind = path.stat().st_mode
        str(path).encode()
    except OSError as error:
        raise _unreadable(path, error) from error
    except UnicodeEncodeError:
        raise InputError(f"the name of the file {os.fsencode(path)!r} is not UTF-8", "rename it") from None
    if not stat.S_ISREG(kind):
        raise InputError(f"{path} is neither a file nor a folder", "remove it, or check `source`")
    return path


def _unreadable(path: Path, error: OSError | ValueError) -> RatchetError:
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ELOOP, errno.ENOENT) and _is_link(path):
        return InputError(f"{path} is a link that leads nowhere", "remove it, or restore what it should lead to")
    remedy = "start a new run, which lists anew" if number == errno.ENOENT else "give yourself the right to read it"
    return RatchetError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}", remedy)


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except (OSError, ValueError):  # no name of a file
        return False


def _hidden(name: str) -> bool:
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _raise(error: OSError) -> None:
    raise RatchetError(
        f"{error.filename} cannot be listed: {error.strerror}", "give yourself the right to read it"
    ) from error

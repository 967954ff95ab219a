"""Files and folders of this machine, or of a volume that is mounted into the step."""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit

import polars as pl

from kfp_ratchet.components.shared.canonical import digest_file
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.names import shortened
from kfp_ratchet.components.shared.sources.source import FileEntry, Memory, entries, hidden, listing

_SETTLED_NS = 2_000_000_000


class Files:
    """A file, or all files below a folder. Names that start with `.` or `_` are skipped, as Spark and Hive do."""

    origin = ""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._root = Path(unquote(urlsplit(uri).path)) if uri.startswith("file://") else Path(uri)

    def listing(self, memory: Memory) -> pl.DataFrame:
        """See `Source`. A file is read only if it is new, or its size, times or inode are."""
        return listing(self._entry(path, memory) for path in self._paths())

    def fetch(self, files: pl.DataFrame, say: Callable[[str], None]) -> list[Path]:
        """See `Source`. The files themselves, after their bytes were read and compared."""
        with ThreadPoolExecutor() as pool:  # hashing leaves Python to the other threads
            return list(pool.map(self._verified, entries(files)))

    def tails(self, files: pl.DataFrame, size: int) -> Iterator[bytes]:
        """See `Source`."""
        return (self._tail(entry, size) for entry in entries(files))

    def name(self, path: str) -> str:
        """See `Source`."""
        return str(self._locate(path))

    def _locate(self, path: str) -> Path:
        return self._root if self._root.is_file() else self._root / path

    def _verified(self, entry: FileEntry) -> Path:
        path = self._locate(entry.path)
        try:
            same = path.stat().st_size == entry.size and digest_file(path) == entry.version
        except OSError as error:
            raise _gone(path, error) from error
        if not same:
            raise RatchetError(f"{path} has changed since it was pinned", "start a new run, which pins it anew")
        return path

    def _tail(self, entry: FileEntry, size: int) -> bytes:
        path = self._locate(entry.path)
        try:
            with path.open("rb") as file:
                file.seek(max(0, entry.size - size))
                return file.read()
        except OSError as error:
            raise _gone(path, error) from error

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
            inner[:] = [name for name in inner if not hidden(name)]
            above |= dict.fromkeys((str(Path(folder, name)) for name in inner), (*above.pop(folder, ()), here))
            found += [_a_file(Path(folder, name)) for name in names if not hidden(name)]
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


def _gone(path: Path, error: OSError) -> RatchetError:
    return RatchetError(
        f"{path} cannot be read although it was listed: {error.strerror or error}", "restore it, or pin again"
    )


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


def _raise(error: OSError) -> None:
    raise RatchetError(
        f"{error.filename} cannot be listed: {error.strerror}", "give yourself the right to read it"
    ) from error

"""What every kind of source keeps to."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import polars as pl

FETCHED = "RATCHET_DATA"
"""Environment variable: the folder where fetched files are kept from one run to the next."""

SCHEMA = {"path": pl.String, "size": pl.Int64, "version": pl.String}


class FileEntry(NamedTuple):
    """One file of a table, as it was listed: a row of a listing."""

    path: str
    """Relative to the source, POSIX; the file's name when the source is one file."""
    size: int
    """Bytes."""
    version: str
    """Changes whenever the content does: `sha256:…` or `md5:…` of the bytes, `version:…` or `etag:…` as an object store calls them."""


class Memory:
    """What was found out about files earlier, by a mark that shows cheaply that a file is still the same.

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
    origin: str
    """Which state of a moving reference was listed, such as `commit 1a2b…`; "" where versions say all, and before it is listed."""

    def listing(self, memory: Memory) -> pl.DataFrame:
        """All files in the order of their paths: columns path, size, version; see `FileEntry`. Reads no data that it need not read.

        Args:
            memory: Saves reading files that did not change; kept up to date.

        Raises:
            InputError: There is nothing at `uri`.
            RatchetError: It cannot be listed.
        """

    def fetch(self, files: pl.DataFrame, say: Callable[[str], None]) -> list[Path]:
        """Local files that hold exactly what was listed, in the order of `files`.

        Files that had to be fetched lie in `fetched_folder`, and are found there again by whoever starts over.

        Args:
            files: Rows of a listing.
            say: Told about progress, one line at a time, as often as one likes.

        Raises:
            RatchetError: A file is gone or has changed, or cannot be fetched; it is named. Nothing half-fetched counts as fetched.
        """

    def name(self, path: str) -> str:
        """How messages name a file: where it lies, as its owner knows it.

        Args:
            path: A file's path in the listing.
        """

    def tails(self, files: pl.DataFrame, size: int) -> Iterable[bytes]:
        """The last `size` bytes of each file (all of a shorter one), in the order of `files`; not verified.

        Raises:
            RatchetError: A file cannot be read.
        """


def listing(entries: Iterable[FileEntry]) -> pl.DataFrame:
    """Entries as a listing, in the order of their paths."""
    return pl.DataFrame(list(entries), schema=SCHEMA, orient="row").sort("path")


def entries(files: pl.DataFrame) -> list[FileEntry]:
    """Rows of a listing."""
    return [FileEntry(*row) for row in files.select(list(SCHEMA)).iter_rows()]


def hidden(name: str) -> bool:
    """Whether a file or folder of this name is none of the data: it starts with `.` or `_`, as Spark and Hive have it."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)

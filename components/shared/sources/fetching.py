"""Many objects to local files at once: each verified, none half there, and what is there is not fetched again."""

import asyncio
import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import obstore
from obstore.exceptions import BaseError, NotFoundError, PreconditionError
from obstore.store import ObjectStore

from kfp_ratchet.components.shared.buckets import bucket_trouble, lasts, pauses
from kfp_ratchet.components.shared.errors import RatchetError, disk_trouble
from kfp_ratchet.components.shared.sources.source import FETCHED

_AT_ONCE = 64
_SMALL_BYTES = 2 * 2**20
_RANGE_BYTES = 8 * 2**20
_RANGES_AT_ONCE = 16
"""So that at most 256 MiB are in memory: 64 small objects and 16 ranges of large ones."""
_NOT_PARTIAL = re.compile("non-partial response|Range request not supported")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DAY_S = 86_400
_SAY_S = 0.25
_ANEW = "start a new run, which pins it anew"


@dataclass(frozen=True)
class Wanted:
    """One object to fetch."""

    key: str
    """In the store."""
    name: str
    """What messages call it."""
    size: int
    """Bytes."""
    version: str
    """As in a listing: `md5:…` and `sha256:…` are compared with the bytes, `etag:…` and `version:…` are asked for and compared with the
    answer's."""
    remedy: str = _ANEW
    """What helps when it is gone or damaged."""


def fetched_folder() -> Path:
    """Where fetched files are kept."""
    return Path(os.environ.get(FETCHED) or Path(tempfile.gettempdir(), "ratchet-data"))


def fetch_objects(
    store: ObjectStore, uri: str, wanted: Sequence[Wanted], say: Callable[[str], None] = lambda line: None
) -> list[Path]:
    """Fetch what is not there yet; 64 requests at a time, large objects in ranges.

    A file has its name only when it is whole and verified, so whoever is killed goes on where it was. Files of `uri` that are no longer
    wanted are removed a day later.

    Args:
        store: Where the objects lie.
        uri: The source: files of one source lie together.
        wanted: The objects.
        say: Told about progress.

    Returns:
        Their files, in the same order.

    Raises:
        RatchetError: An object is gone or has changed, or cannot be fetched or written; it is named.
    """
    folder = _folder(uri)
    targets = [folder / _file_name(item) for item in wanted]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        missing = [(item, path) for item, path in zip(wanted, targets, strict=True) if not is_fetched(path, item.size)]
        _check_space(folder, sum(item.size for item, _ in missing))
        if missing:
            asyncio.run(_Fetching(store, missing, say).run())
        tidy(folder, set(targets))
    except OSError as error:
        raise RatchetError(
            f"{folder} cannot be written: {error.strerror or error}",
            disk_trouble(error) or f"check the folder, or name another in {FETCHED}",
        ) from error
    return targets


def fetch_tails(store: ObjectStore, wanted: Sequence[Wanted], size: int) -> list[bytes]:
    """The last `size` bytes of each object, all of a shorter one; not verified.

    Raises:
        RatchetError: An object cannot be read; it is named.
    """

    async def ends() -> list[bytes]:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def end(item: Wanted) -> bytes:
            async with gate:
                try:
                    return await _get(store, item, (max(0, item.size - size), item.size)) if item.size else b""
                except _NoRangesError:
                    tail = bytearray()

                    async def keep(block: bytes) -> None:
                        tail[:] = (tail + bytes(block))[-size:]

                    await _stream(store, item, keep)
                    return bytes(tail)

        return await asyncio.gather(*map(end, wanted))

    return asyncio.run(ends())


class _NoRangesError(Exception):
    """The server gives whole objects only, or does not say that what it gives is a part (rclone)."""


class _Fetching:
    """Workers that share one list of objects; the first error ends them all."""

    def __init__(self, store: ObjectStore, missing: Sequence[tuple[Wanted, Path]], say: Callable[[str], None]) -> None:
        self._store = store
        self._missing = missing
        self._say = say
        self._ranges = asyncio.Semaphore(_RANGES_AT_ONCE)
        self._knows_ranges = True
        self._done = 0
        self._said = time.monotonic()

    async def run(self) -> None:
        todo = iter(self._missing)
        for item in [item for item, _ in self._missing if item.size > _SMALL_BYTES][:1]:
            try:
                await _get(self._store, item, (0, 1))
            except _NoRangesError:
                self._knows_ranges = False
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(_AT_ONCE, len(self._missing))):
                    group.create_task(self._work(todo))
        except BaseExceptionGroup as errors:
            raise _first(errors) from None

    async def _work(self, todo: Iterator[tuple[Wanted, Path]]) -> None:
        for item, path in todo:
            with whole(path) as part:
                if item.size <= _SMALL_BYTES:
                    content = await _get(self._store, item)
                    _compare(item, content)
                    part.write_bytes(content)
                else:
                    await (self._in_ranges(item, part) if self._knows_ranges else self._in_one(item, part))
                    await _compare_file(item, part)
            self._tell()

    async def _in_ranges(self, item: Wanted, part: Path) -> None:
        with part.open("wb") as file:
            file.truncate(item.size)

            async def one(start: int) -> None:
                async with self._ranges:
                    content = await _get(self._store, item, (start, min(start + _RANGE_BYTES, item.size)))
                    await asyncio.to_thread(_write_at, file.fileno(), content, start)

            async with asyncio.TaskGroup() as group:
                for start in range(0, item.size, _RANGE_BYTES):
                    group.create_task(one(start))

    async def _in_one(self, item: Wanted, part: Path) -> None:
        with part.open("wb") as file:

            async def write(block: bytes) -> None:
                await asyncio.to_thread(file.write, block)

            async with self._ranges:
                await _stream(self._store, item, write, lambda: file.seek(0))

    def _tell(self) -> None:
        self._done += 1
        if time.monotonic() - self._said >= _SAY_S:
            self._said = time.monotonic()
            self._say(f"fetched {self._done:,} of {len(self._missing):,} files")


def _write_at(file: int, content: bytes, start: int) -> None:
    """All of it: on a disk that is about to be full, one call writes a part and says nothing."""
    rest = memoryview(content)
    while rest:
        written = os.pwrite(file, rest, start)
        rest, start = rest[written:], start + written


async def _get(store: ObjectStore, item: Wanted, span: tuple[int, int] | None = None) -> bytes:
    """An object's bytes, or those of a span of it."""
    expected = span[1] - span[0] if span else item.size

    async def read(answer: Any) -> Any:
        content = await answer.bytes_async()
        if len(content) != expected:
            raise EOFError(f"{len(content):,} of {expected:,} bytes came")
        return content

    content: bytes = await _asked(store, item, {"range": span} if span else {}, read)
    return content


async def _stream(
    store: ObjectStore,
    item: Wanted,
    take: Callable[[bytes], Awaitable[None]],
    restart: Callable[[], object] = lambda: None,
) -> None:
    """Give an object's bytes to `take`, block by block; before a further try begins at the first byte, `restart` is called."""

    async def read(answer: Any) -> None:
        restart()
        came = 0
        async for block in answer.stream(min_chunk_size=_RANGE_BYTES):
            await take(block)
            came += len(block)
        if came != item.size:
            raise EOFError(f"{came:,} of {item.size:,} bytes came")

    await _asked(store, item, {}, read)


async def _asked(
    store: ObjectStore, item: Wanted, options: dict[str, Any], read: Callable[[Any], Awaitable[Any]]
) -> Any:
    """What `read` makes of the answer to a request for an object in the listed version; tried again with growing waits."""
    kind, _, version = item.version.partition(":")
    options |= {"etag": {"if_match": f'"{version}"'}, "version": {"version": version}}.get(kind, {})
    for pause in (*pauses(), None):
        try:
            answer = await obstore.get_async(store, item.key, options=options)
            _same_object(item, answer.meta)
            return await read(answer)
        except (NotFoundError, FileNotFoundError):
            raise RatchetError(f"{item.name} is gone since it was pinned", item.remedy) from None
        except PreconditionError:
            raise _changed(item) from None
        except (BaseError, EOFError, OSError) as error:
            if _NOT_PARTIAL.search(str(error)):
                raise _NoRangesError from None
            if isinstance(error, OSError) and error.errno in _FULL:
                raise
            trouble: Exception = error
        if pause is None or lasts(trouble):
            break
        await asyncio.sleep(pause)
    raise bucket_trouble(trouble, item.name) from trouble


def _same_object(item: Wanted, meta: Any) -> None:
    """Not every server keeps the condition that it was asked for."""
    kind, _, version = item.version.partition(":")
    found = {"etag": bare_etag(meta["e_tag"]), "version": meta["version"] or ""}.get(kind, version)
    if found != version or meta["size"] != item.size:
        raise _changed(item)


async def _compare_file(item: Wanted, path: Path) -> None:
    kind = item.version.partition(":")[0]
    if kind in hashlib.algorithms_available:
        with path.open("rb") as file:
            found = await asyncio.to_thread(hashlib.file_digest, file, kind)
        _same_digest(item, found.hexdigest())


def _compare(item: Wanted, content: bytes) -> None:
    kind = item.version.partition(":")[0]
    if kind in hashlib.algorithms_available:
        _same_digest(item, hashlib.new(kind, content, usedforsecurity=False).hexdigest())


def _same_digest(item: Wanted, found: str) -> None:
    kind, _, version = item.version.partition(":")
    if found != version:
        raise RatchetError(f"{item.name} has the {kind} {found}, not {version} as listed", item.remedy)


def bare_etag(etag: str | None) -> str:
    """An ETag without its quotes; servers differ in whether they list them."""
    return (etag or "").removeprefix("W/").strip('"')


def _changed(item: Wanted) -> RatchetError:
    return RatchetError(f"{item.name} has changed since it was pinned", _ANEW)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def fetched_file(uri: str, item: Wanted) -> Path:
    """Where an object of a source lies once it is fetched."""
    return _folder(uri) / _file_name(item)


def _folder(uri: str) -> Path:
    return fetched_folder() / hashlib.sha256(uri.encode()).hexdigest()[:16]


def _file_name(item: Wanted) -> str:
    """Its content's identity, and the endings that tell its format."""
    endings = "".join(PurePosixPath(item.key).suffixes[-2:])
    identity = hashlib.sha256(f"{item.name}\n{item.version}".encode()).hexdigest()[:32]
    return identity + (endings if re.fullmatch(r"[A-Za-z0-9.]{1,20}", endings) else "")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file to write that gets its name when all went well, and is removed otherwise."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield part
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def is_fetched(path: Path, size: int) -> bool:
    """Whether a file is there and whole; it counts as wanted from now on."""
    try:
        if path.stat().st_size != size:
            return False
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise RatchetError(
            f"{needed:,} bytes are to be fetched to {folder}, where {free:,} are free",
            f"free space there, or name another folder in {FETCHED}",
        )


def tidy(folder: Path, wanted: set[Path]) -> None:
    """Remove what nobody has wanted for a day."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another run's, which has just given it its name
            if path not in wanted and time.time() - path.stat().st_mtime > _DAY_S:
                path.unlink()

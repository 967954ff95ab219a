"""Many objects to local files at once: each verified, none half there, and what is there is not fetched again."""

import asyncio
import hashlib
import os
import random
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import obstore
from obstore.exceptions import BaseError, NotFoundError, PreconditionError
from obstore.store import ObjectStore

from kfp_ratchet.components.shared.buckets import bucket_trouble, lasts
from kfp_ratchet.components.shared.errors import RatchetError, disk_trouble
from kfp_ratchet.components.shared.sources.source import FETCHED

_AT_ONCE = 64
_RANGE_BYTES = 16 * 2**20
_RANGES_AT_ONCE = 8
_TRIES = 6
_FIRST_WAIT_S = 0.2
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
    folder = fetched_folder() / hashlib.sha256(uri.encode()).hexdigest()[:16]
    targets = [folder / _file_name(item) for item in wanted]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        missing = [(item, path) for item, path in zip(wanted, targets, strict=True) if not _is_there(item, path)]
        _check_space(folder, sum(item.size for item, _ in missing))
        if missing:
            asyncio.run(_Fetching(store, missing, say).run())
        _tidy(folder, set(targets))
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
                return bytes(await _get(store, item, (max(0, item.size - size), item.size))) if item.size else b""

        return await asyncio.gather(*map(end, wanted))

    return asyncio.run(ends())


class _Fetching:
    """Workers that share one list of objects; the first error ends them all."""

    def __init__(self, store: ObjectStore, missing: Sequence[tuple[Wanted, Path]], say: Callable[[str], None]) -> None:
        self._store = store
        self._missing = missing
        self._say = say
        self._ranges = asyncio.Semaphore(_RANGES_AT_ONCE)
        self._done = 0
        self._said = time.monotonic()

    async def run(self) -> None:
        todo = iter(self._missing)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(_AT_ONCE, len(self._missing))):
                    group.create_task(self._work(todo))
        except BaseExceptionGroup as errors:
            raise _first(errors) from None

    async def _work(self, todo: Iterator[tuple[Wanted, Path]]) -> None:
        for item, path in todo:
            part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
            try:
                if item.size <= _RANGE_BYTES:
                    content = await _get(self._store, item)
                    _compare(item, content)
                    part.write_bytes(content)
                else:
                    await self._in_ranges(item, part)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
            self._tell()

    async def _in_ranges(self, item: Wanted, part: Path) -> None:
        with part.open("wb") as file:
            file.truncate(item.size)

            async def one(start: int) -> None:
                async with self._ranges:
                    content = await _get(self._store, item, (start, min(start + _RANGE_BYTES, item.size)))
                    await asyncio.to_thread(os.pwrite, file.fileno(), content, start)

            async with asyncio.TaskGroup() as group:
                for start in range(0, item.size, _RANGE_BYTES):
                    group.create_task(one(start))
        kind = item.version.partition(":")[0]
        if kind in hashlib.algorithms_available:
            with part.open("rb") as whole:
                found = await asyncio.to_thread(hashlib.file_digest, whole, kind)
            _same_digest(item, found.hexdigest())

    def _tell(self) -> None:
        self._done += 1
        if time.monotonic() - self._said >= _SAY_S:
            self._said = time.monotonic()
            self._say(f"fetched {self._done:,} of {len(self._missing):,} files")


async def _get(store: ObjectStore, item: Wanted, span: tuple[int, int] | None = None) -> Any:
    """An object's bytes, or those of a span of it, in the listed version; tried again with growing waits."""
    kind, _, version = item.version.partition(":")
    options: dict[str, Any] = {"range": span} if span else {}
    options |= {"etag": {"if_match": f'"{version}"'}, "version": {"version": version}}.get(kind, {})
    for attempt in range(1, _TRIES + 1):
        try:
            answer = await obstore.get_async(store, item.key, options=options)
            content = await answer.bytes_async()
            _same_object(item, answer.meta)
            if len(content) == (span[1] - span[0] if span else item.size):
                return content
            trouble: Exception = EOFError(f"{len(content):,} bytes came")
        except (NotFoundError, FileNotFoundError):
            raise RatchetError(f"{item.name} is gone since it was pinned", _ANEW) from None
        except PreconditionError:
            raise _changed(item) from None
        except (BaseError, OSError) as error:
            if lasts(error) or attempt == _TRIES:
                raise bucket_trouble(error, item.name) from error
            trouble = error
        await asyncio.sleep(_FIRST_WAIT_S * 2**attempt * random.uniform(0.5, 1))  # noqa: S311 - spreads the load
    raise bucket_trouble(trouble, item.name)


def _same_object(item: Wanted, meta: Any) -> None:
    """Not every server keeps the condition that it was asked for."""
    kind, _, version = item.version.partition(":")
    found = {"etag": bare_etag(meta["e_tag"]), "version": meta["version"] or ""}.get(kind, version)
    if found != version or meta["size"] != item.size:
        raise _changed(item)


def _compare(item: Wanted, content: Any) -> None:
    kind = item.version.partition(":")[0]
    if kind in hashlib.algorithms_available:
        _same_digest(item, hashlib.new(kind, content, usedforsecurity=False).hexdigest())


def _same_digest(item: Wanted, found: str) -> None:
    kind, _, version = item.version.partition(":")
    if found != version:
        raise RatchetError(f"{item.name} has the {kind} {found}, not {version} as listed", "restore it, or pin again")


def bare_etag(etag: str | None) -> str:
    """An ETag without its quotes; servers differ in whether they list them."""
    return (etag or "").removeprefix("W/").strip('"')


def _changed(item: Wanted) -> RatchetError:
    return RatchetError(f"{item.name} has changed since it was pinned", _ANEW)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _file_name(item: Wanted) -> str:
    """Its content's identity, and the endings that tell its format."""
    endings = "".join(PurePosixPath(item.key).suffixes[-2:])
    identity = hashlib.sha256(f"{item.name}\n{item.version}".encode()).hexdigest()[:32]
    return identity + (endings if re.fullmatch(r"[A-Za-z0-9.]{1,20}", endings) else "")


def _is_there(item: Wanted, path: Path) -> bool:
    try:
        if path.stat().st_size != item.size:
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


def _tidy(folder: Path, wanted: set[Path]) -> None:
    """Remove what nobody has wanted for a day."""
    for path in folder.iterdir():
        if path not in wanted and time.time() - path.stat().st_mtime > _DAY_S:
            path.unlink(missing_ok=True)

"""Where DVC keeps the bytes: objects by their md5, in a bucket, a folder, or wherever else DVC can reach."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError
from obstore.store import ObjectStore

from kfp_ratchet.components.shared.buckets import ONE_TRY, bucket_trouble, open_bucket, reason
from kfp_ratchet.components.shared.errors import RatchetError, disk_trouble
from kfp_ratchet.components.shared.sources.fetching import (
    Wanted,
    fetch_objects,
    fetch_tails,
    fetched_file,
    is_fetched,
    tidy,
    whole,
)

_THREADS = 32
_PAGE = 1000
_SAY = 100
_ONLY_DVC = ("allow_anonymous_login", "configpath", "credentialpath", "sse_customer_key")
"""Settings of an S3 remote that leave it to DVC's own file system, when they are set."""
_T = TypeVar("_T")
_R = TypeVar("_R")


class Remote(Protocol):
    """One of DVC's remotes. Objects are named `md5:…`, or `md5-dos2unix:…` where DVC 2 has written them."""

    def read(self, version: str) -> bytes | None:
        """A small object, not verified; None when it is not there."""

    def sizes(self, versions: Sequence[str]) -> list[int | None]:
        """Bytes of objects, None of one that is not there."""

    def fetch(self, wanted: Sequence[Wanted], uri: str, say: Callable[[str], None]) -> list[Path]:
        """See `fetch_objects`."""

    def tails(self, wanted: Sequence[Wanted], size: int) -> Iterable[bytes]:
        """See `fetch_tails`."""


def open_remote(config: Any, name: str) -> Remote:
    """A remote as DVC's configuration has it.

    Args:
        config: DVC's.
        name: The remote's.

    Raises:
        RatchetError: It cannot be opened.
    """
    from dvc.fs import get_cloud_fs

    kind, settings, path = get_cloud_fs(config, name=name)
    if settings.get("version_aware") or settings.get("worktree"):
        raise RatchetError(
            f"the DVC remote {name!r} keeps files by name (version_aware or worktree), not by md5",
            "push to an ordinary remote, or name its files themselves: s3://… reads a bucket's versions",
        )
    if kind.protocol == "s3" and settings.get("ssl_verify", True) is True and not any(map(settings.get, _ONLY_DVC)):
        return _Bucket(f"s3://{path}", settings)
    if kind.protocol == "local" and not Path(path).is_dir():
        raise RatchetError(
            f"the folder {path} of the DVC remote {name!r} is not there",
            "mount it, run `dvc push` where the data is, or use a remote that can be reached from here",
        )
    return _Elsewhere(kind(**settings), path)


class _Bucket:
    """S3, read by many requests at once."""

    def __init__(self, uri: str, settings: dict[str, Any]) -> None:
        self._uri = uri
        names = {
            "endpointurl": "endpoint",
            "region": "region",
            "access_key_id": "access_key_id",
            "secret_access_key": "secret_access_key",
            "session_token": "token",
        }
        config = {names[key]: value for key, value in settings.items() if key in names and value}
        try:
            given = {"config": config, "profile": settings.get("profile", "")}
            self._store: ObjectStore = open_bucket(uri, **given)
            # Who fetches many waits between its own tries.
            self._fetched: ObjectStore = open_bucket(uri, **given, retry_config=ONE_TRY)
        except Exception as error:
            raise bucket_trouble(error, uri) from error

    def read(self, version: str) -> bytes | None:
        try:
            return bytes(obstore.get(self._store, _key(version)).bytes())
        except (NotFoundError, FileNotFoundError):
            return None
        except BaseError as error:
            raise bucket_trouble(error, f"{self._uri}/{_key(version)}") from error

    def sizes(self, versions: Sequence[str]) -> list[int | None]:
        keys = [_key(version) for version in versions]
        try:
            known = self._listed(set(keys)) if len(keys) > _PAGE else {}
            asked = [key for key in keys if key not in known]
            known |= dict(zip(asked, _in_threads(self._size, asked), strict=True))
        except BaseError as error:
            raise bucket_trouble(error, self._uri) from error
        return [known[key] for key in keys]

    def fetch(self, wanted: Sequence[Wanted], uri: str, say: Callable[[str], None]) -> list[Path]:
        paths = fetch_objects(self._fetched, uri, wanted, say)
        for item, path in zip(wanted, paths, strict=True):
            if not item.version.startswith("md5:"):  # DVC's own kind of digest, which nobody has compared yet
                try:
                    _verify(item, path)
                except RatchetError:
                    path.unlink(missing_ok=True)
                    raise
        return paths

    def tails(self, wanted: Sequence[Wanted], size: int) -> Iterable[bytes]:
        return fetch_tails(self._fetched, wanted, size)

    def _listed(self, keys: set[str]) -> dict[str, int | None]:
        """Sizes by listing: a request tells a thousand. Given up, where a remote holds much else, once asking for each had been as fast."""
        found: dict[str, int | None] = {}
        pages = obstore.list(self._store, prefix="files/md5", chunk_size=_PAGE)
        # Who may not list may still read.
        with suppress(PermissionDeniedError):
            for page in islice(pages, len(keys) // _THREADS):
                found |= {meta["path"]: meta["size"] for meta in page if meta["path"] in keys}
                if len(found) == len(keys):
                    break
        return found

    def _size(self, key: str) -> int | None:
        try:
            return int(obstore.head(self._store, key)["size"])
        except (NotFoundError, FileNotFoundError):
            return None


class _Elsewhere:
    """What DVC's own file systems reach: a folder, whose files are used where they lie; others are fetched in threads."""

    def __init__(self, files: Any, root: str) -> None:
        self._files = files
        self._root = root
        self._is_folder = files.protocol == "local"

    def read(self, version: str) -> bytes | None:
        try:
            with self._files.open(self._path(version), "rb") as file:
                return bytes(file.read())
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._trouble(self._path(version), error) from error

    def sizes(self, versions: Sequence[str]) -> list[int | None]:
        return list(_in_threads(self._size, versions))

    def fetch(self, wanted: Sequence[Wanted], uri: str, say: Callable[[str], None]) -> list[Path]:
        paths: list[Path] = []
        for path in _in_threads(lambda item: self._fetched(item, fetched_file(uri, item)), wanted):
            paths.append(path)
            if len(paths) % _SAY == 0:
                say(f"fetched {len(paths):,} of {len(wanted):,} files")
        if paths and not self._is_folder:
            tidy(paths[0].parent, set(paths))
        return paths

    def tails(self, wanted: Sequence[Wanted], size: int) -> Iterable[bytes]:
        return _in_threads(lambda item: self._tail(item, size), wanted)

    def _path(self, version: str) -> str:
        return str(self._files.join(self._root, *_key(version).split("/")))

    def _size(self, version: str) -> int | None:
        path = self._path(version)
        try:
            size = self._files.info(path)["size"]
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._trouble(path, error) from error
        if size is None:
            raise RatchetError(f"{path} does not tell its size", "use another DVC remote")
        return int(size)

    def _fetched(self, item: Wanted, target: Path) -> Path:
        source = self._path(item.version)
        if self._is_folder:
            _verify(item, Path(source))
            return Path(source)
        if is_fetched(target, item.size):
            return target
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with whole(target) as part:
                self._files.get_file(source, str(part))
                _verify(item, part)
        except RatchetError:
            raise
        except FileNotFoundError:
            raise _gone(item) from None
        except Exception as error:
            raise self._trouble(source, error) from error
        return target

    def _tail(self, item: Wanted, size: int) -> bytes:
        path = self._path(item.version)
        try:
            with self._files.open(path, "rb") as file:
                file.seek(max(0, item.size - size))
                return bytes(file.read())
        except FileNotFoundError:
            raise _gone(item) from None
        except Exception as error:
            raise self._trouble(path, error) from error

    def _trouble(self, path: str, error: Exception) -> RatchetError:
        remedy = disk_trouble(error) or "check the remote, its credentials and the network; then run it again"
        return RatchetError(f"{path} in the DVC remote {self._root} cannot be read: {reason(error)}", remedy)


def wanted(version: str, name: str, size: int, remedy: str) -> Wanted:
    """An object of a remote, to be fetched."""
    return Wanted(key=_key(version), name=name, size=size, version=version, remedy=remedy)


def _verify(item: Wanted, path: Path) -> None:
    """Refuse a file whose digest, as DVC makes it, is not the listed one."""
    from dvc.fs import localfs
    from dvc_data.hashfile.hash import hash_file

    name, _, value = item.version.partition(":")
    try:
        found = hash_file(str(path), localfs, name)[1].value
    except FileNotFoundError:
        raise _gone(item) from None
    except OSError as error:
        raise RatchetError(f"{path} cannot be read: {error.strerror or error}", disk_trouble(error)) from error
    if found != value:
        raise RatchetError(f"{item.name} has the md5 {found}, not {value} as listed", item.remedy)


def _key(version: str) -> str:
    kind, _, value = version.partition(":")
    return f"{'files/md5/' if kind == 'md5' else ''}{value[:2]}/{value[2:]}"


def _gone(item: Wanted) -> RatchetError:
    return RatchetError(f"{item.name} is gone since it was pinned", item.remedy)


def _in_threads(work: Callable[[_T], _R], items: Sequence[_T]) -> Iterator[_R]:
    """Results in order; the first error ends it."""
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(items), _PAGE):
            yield from pool.map(work, items[start : start + _PAGE])

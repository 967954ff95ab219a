"""The project's store: a folder or a bucket that holds ledger, journal, studies and checkpoints."""

import contextlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PreconditionError
from obstore.store import LocalStore, ObjectStore, from_url

from kfp_ratchet.components.shared.errors import InputError, RatchetError, disk_trouble


class Store:
    """Small objects under keys, created at most once or replaced whole.

    Args:
        uri: A folder (relative ones count from the working directory) or an object-store URL such as `s3://bucket/prefix`.

    A folder is made by the first write: whoever only reads leaves nothing behind.

    Raises:
        InputError: `uri` is empty or cannot be opened; for a folder that is not there yet, when it is first written to.
    """

    def __init__(self, uri: str) -> None:
        if not uri:
            raise InputError("the store is not set", "give a folder or a bucket, e.g. store: .ratchet/store")
        self.uri = uri
        remote = "://" in uri and not uri.startswith("file://")
        self._folder = None if remote else Path(uri.removeprefix("file://")).absolute()
        if not self._is_absent():
            self._objects  # noqa: B018 - a store that cannot be opened is said here

    @cached_property
    def _objects(self) -> ObjectStore:
        with self._opened():
            return LocalStore(self._folder, mkdir=True) if self._folder else from_url(self.uri)

    def _is_absent(self) -> bool:
        """Whether nothing was ever written here."""
        with self._opened():
            return self._folder is not None and not self._folder.exists()

    def create(self, key: str, content: bytes) -> bool:
        """Write `content` only if `key` does not exist yet; of many racing writers of different contents exactly one gets True.

        Also True when `key` holds this very content: the answer to an earlier request of ours may have been lost on its way.
        """
        try:
            with self._reached(key):
                obstore.put(self._objects, key, content, mode="create")
        except (AlreadyExistsError, PreconditionError):
            return self.get(key) == content
        return True

    def put(self, key: str, content: bytes) -> None:
        """Write or replace `key`, whole or not at all."""
        with self._reached(key):
            obstore.put(self._objects, key, content)

    def get(self, key: str) -> bytes | None:
        """The content of `key`, None when there is none."""
        if self._is_absent():
            return None
        try:
            with self._reached(key):
                return bytes(obstore.get(self._objects, key).bytes())
        except (NotFoundError, FileNotFoundError):
            return None

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys below the folder `prefix`, sorted."""
        if self._is_absent():
            return
        with self._reached(prefix):
            found = sorted(item["path"] for page in obstore.list(self._objects, prefix=prefix) for item in page)
        yield from found

    def delete(self, key: str) -> None:
        """Remove `key`; nothing happens when there is none."""
        if self._is_absent():
            return
        try:
            with self._reached(key):
                obstore.delete(self._objects, key)
        except (NotFoundError, FileNotFoundError):
            return

    @contextlib.contextmanager
    def _opened(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise InputError(
                f"the store {self.uri!r} cannot be opened: {_reason(error)}", "check its path and your rights"
            ) from error

    @contextlib.contextmanager
    def _reached(self, key: str) -> Iterator[None]:
        """Errors that are no answer about `key` become one that names the store."""
        try:
            yield
        except (AlreadyExistsError, PreconditionError, NotFoundError, FileNotFoundError):
            raise
        except (BaseError, OSError) as error:
            raise RatchetError(
                f"{key} in the store {self.uri} cannot be reached: {_reason(error)}",
                disk_trouble(error)
                or "check that it exists, its credentials and your rights; then run this step again",
            ) from error


def _reason(error: Exception) -> str:
    """What an error says, in one line and without the dump of itself that obstore appends."""
    return " ".join(str(error).partition("Debug source:")[0].split())[:500]

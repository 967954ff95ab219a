"""The project's store: a folder or a bucket that holds ledger, journal, studies and checkpoints."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PreconditionError
from obstore.store import LocalStore, ObjectStore, from_url

from kfp_ratchet.components.shared.errors import InputError, RatchetError


class Store:
    """Small objects under keys, created at most once or replaced whole.

    Args:
        uri: A folder (relative ones count from the working directory) or an object-store URL such as `s3://bucket/prefix`.

    Raises:
        InputError: `uri` is empty or cannot be opened.
    """

    def __init__(self, uri: str) -> None:
        if not uri:
            raise InputError("the store is not set", "give a folder or a bucket, e.g. store: .ratchet/store")
        self.uri = uri
        try:
            self._objects: ObjectStore = (
                from_url(uri)
                if "://" in uri and not uri.startswith("file://")
                else LocalStore(Path(uri.removeprefix("file://")).absolute(), mkdir=True)
            )
        except Exception as error:
            raise InputError(
                f"the store {uri!r} cannot be opened: {error}", "check its path and your rights"
            ) from error

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
        try:
            with self._reached(key):
                return bytes(obstore.get(self._objects, key).bytes())
        except (NotFoundError, FileNotFoundError):
            return None

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys below the folder `prefix`, sorted."""
        with self._reached(prefix):
            found = sorted(item["path"] for page in obstore.list(self._objects, prefix=prefix) for item in page)
        yield from found

    def delete(self, key: str) -> None:
        """Remove `key`; nothing happens when there is none."""
        try:
            with self._reached(key):
                obstore.delete(self._objects, key)
        except (NotFoundError, FileNotFoundError):
            return

    @contextlib.contextmanager
    def _reached(self, key: str) -> Iterator[None]:
        """Errors that are no answer about `key` become one that names the store."""
        try:
            yield
        except (AlreadyExistsError, PreconditionError, NotFoundError, FileNotFoundError):
            raise
        except (BaseError, OSError) as error:
            reason = " ".join(str(error).split())[:500]
            raise RatchetError(
                f"{key} in the store {self.uri} cannot be reached: {reason}",
                "check that it exists, its credentials and your rights; then run this step again",
            ) from error

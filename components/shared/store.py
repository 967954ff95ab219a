"""The project's store: a folder or a bucket that holds ledger, journal, studies and checkpoints."""

from collections.abc import Iterator
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, NotFoundError, PreconditionError
from obstore.store import LocalStore, ObjectStore, from_url

from kfp_ratchet.components.shared.errors import InputError


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
        """Write `content` only if `key` does not exist yet; of many racing writers exactly one gets True."""
        try:
            obstore.put(self._objects, key, content, mode="create")
        except (AlreadyExistsError, PreconditionError):
            return False
        return True

    def put(self, key: str, content: bytes) -> None:
        """Write or replace `key`, whole or not at all."""
        obstore.put(self._objects, key, content)

    def get(self, key: str) -> bytes | None:
        """The content of `key`, None when there is none."""
        try:
            return bytes(obstore.get(self._objects, key).bytes())
        except (NotFoundError, FileNotFoundError):
            return None

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys below the folder `prefix`, sorted."""
        found = (item["path"] for page in obstore.list(self._objects, prefix=prefix) for item in page)
        yield from sorted(found)

    def delete(self, key: str) -> None:
        """Remove `key`; nothing happens when there is none."""
        try:
            obstore.delete(self._objects, key)
        except (NotFoundError, FileNotFoundError):
            return

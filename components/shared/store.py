"""The project's store: a folder or a bucket that holds ledger, journal, studies and checkpoints."""

import contextlib
import itertools
import uuid
from collections.abc import Iterator
from datetime import timedelta
from functools import cached_property
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PreconditionError
from obstore.store import LocalStore, ObjectStore

from kfp_ratchet.components.shared.buckets import open_bucket, reason
from kfp_ratchet.components.shared.durable import sync
from kfp_ratchet.components.shared.errors import InputError, RatchetError, disk_trouble
from kfp_ratchet.components.shared.store_probe import creates_once

_RETRY_FOR = timedelta(seconds=15)
"""How long a request is tried again. One without an answer ends after obstore's 30 s, so a store that is away is told within that."""

_ABSENT = (NotFoundError, FileNotFoundError)
_TAKEN = (AlreadyExistsError, PreconditionError)

_proven: set[str] = set()
"""Stores that this process has seen keep the condition."""


class UnsafeStoreError(InputError):
    """The store lets two writers create the same key."""


class Store:
    """Small objects under keys, created at most once or replaced whole.

    Args:
        uri: A folder (relative ones count from the working directory) or an object-store URL such as `s3://bucket/prefix`.

    A folder is made by the first write: whoever only reads leaves nothing behind. Credentials and options of a bucket come from the
    environment, as obstore reads it, or from the AWS configuration files (see `open_bucket`): AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL (another S3 than Amazon's; path style is the
    default), AWS_VIRTUAL_HOSTED_STYLE_REQUEST=true, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME and the like.

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
            if self._folder:
                return LocalStore(self._folder, mkdir=True)
            return open_bucket(self.uri, retry_config={"max_retries": 10, "retry_timeout": _RETRY_FOR})

    def _is_absent(self) -> bool:
        """Whether nothing was ever written here."""
        with self._opened():
            return self._folder is not None and not self._folder.exists()

    def create(self, key: str, content: bytes) -> bool:
        """Write `content` only if `key` does not exist yet; of many racing writers of different contents exactly one gets True.

        In a folder it is on the disk then: what was committed outlives a power cut. Also True when `key` holds this very content: the
        answer to an earlier request of ours may have been lost on its way.

        Raises:
            UnsafeStoreError: The store lets several succeed; tried once a process, before anything is created.
        """
        self._prove(key)
        try:
            with self._reached(key, *_TAKEN):
                obstore.put(self._objects, key, content, mode="create")
                if self._folder:
                    path = self._folder / key
                    within = itertools.takewhile(lambda folder: folder != self._folder, path.parents)
                    with contextlib.suppress(FileNotFoundError):  # Deleted meanwhile, as a lease may be.
                        sync(path, *within, self._folder)
        except _TAKEN:
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
            with self._reached(key, *_ABSENT):
                return bytes(obstore.get(self._objects, key).bytes())
        except _ABSENT:
            return None

    def upload(self, key: str, path: Path) -> None:
        """Write or replace `key` with a file's content, whole or not at all; in parts, so that memory stays bounded."""
        with self._reached(key):
            obstore.put(self._objects, key, path)

    def download(self, key: str, path: Path) -> bool:
        """Write the content of `key` to a file, in parts; False when there is no such key."""
        if self._is_absent():
            return False
        try:
            with self._reached(key, *_ABSENT), path.open("wb") as file:
                for part in obstore.get(self._objects, key):
                    file.write(part)
        except _ABSENT:
            path.unlink(missing_ok=True)
            return False
        return True

    def size(self, key: str) -> int | None:
        """Bytes of `key`, None when there is none."""
        if self._is_absent():
            return None
        try:
            with self._reached(key, *_ABSENT):
                size: int = obstore.head(self._objects, key)["size"]
        except _ABSENT:
            return None
        return size

    def age(self, key: str) -> timedelta:
        """How long ago `key` was written, by the store's own clock: no clocks of two machines are compared.

        Raises:
            RatchetError: There is no such key.
        """
        now = f"clock/{uuid.uuid4().hex}"
        self.put(now, b"")
        try:
            with self._reached(key, *_ABSENT):
                there = obstore.head(self._objects, key)["last_modified"]
                age: timedelta = obstore.head(self._objects, now)["last_modified"] - there
                return age
        except _ABSENT:
            raise RatchetError(f"{key} is not in the store {self.uri}") from None
        finally:
            self.delete(now)

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys below the folder `prefix`, sorted."""
        if self._is_absent():
            return
        with self._reached(prefix):
            found = sorted(
                item["path"] for page in obstore.list(self._objects, prefix=prefix, chunk_size=1000) for item in page
            )
        yield from found

    def delete(self, key: str) -> None:
        """Remove `key`; nothing happens when there is none."""
        if self._is_absent():
            return
        try:
            with self._reached(key, *_ABSENT):
                obstore.delete(self._objects, key)
        except _ABSENT:
            return

    def _prove(self, key: str) -> None:
        """Never trust a bucket that does not keep the condition; a folder is kept to it by the kernel."""
        if self._folder is not None or self.uri in _proven:
            return
        with self._reached(key):
            kept = creates_once(self._objects)
        if not kept:
            raise UnsafeStoreError(
                f"the store {self.uri} lets two writers create the same object, so two runs could both become champion; nothing was "
                "written that says who is",
                "use one that keeps `If-None-Match: *`: Amazon S3, MinIO, Cloudflare R2, Google Cloud Storage, Azure Blob Storage, or a "
                "folder (`rclone serve s3` does not)",
            )
        _proven.add(self.uri)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise InputError(
                f"the store {self.uri!r} cannot be opened: {reason(error)}", "check its path and your rights"
            ) from error

    @contextlib.contextmanager
    def _reached(self, key: str, *answers: type[Exception]) -> Iterator[None]:
        """Errors become one that names the store, except those that are an answer about `key`."""
        try:
            yield
        except answers:
            raise
        except (BaseError, OSError) as error:
            raise RatchetError(
                f"{key} in the store {self.uri} cannot be reached: {reason(error)}",
                disk_trouble(error)
                or "check that it exists, its credentials and your rights; then run this step again",
            ) from error

"""Objects below a prefix of an S3 bucket, Amazon's or another's."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import obstore
import polars as pl
from obstore.exceptions import BaseError, NotFoundError

from kfp_ratchet.components.shared.buckets import bucket_trouble, error_code, open_bucket, s3_client
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.sources.fetching import Wanted, bare_etag, fetch_objects, fetch_tails
from kfp_ratchet.components.shared.sources.source import SCHEMA, Memory, entries, hidden

_PAGE = 1000
_UNVERSIONED = "null"


class Objects:
    """An object, or all objects below a prefix. Names that start with `.` or `_` are skipped, as Spark and Hive do.

    A versioned bucket is read at the versions that were listed, whatever happened since. In another bucket every object must still have
    its ETag when it is read.
    """

    def __init__(self, uri: str) -> None:
        scheme, _, rest = uri.partition("://")
        self._bucket, _, key = rest.partition("/")
        if not self._bucket:
            raise InputError(f"source {uri!r} names no bucket", f"write {scheme}://bucket/prefix")
        self.uri = uri
        self._key = key.rstrip("/")
        self._is_folder = key.endswith("/") or not key

    def listing(self, memory: Memory) -> pl.DataFrame:
        """See `Source`. One request for each thousand objects, and none of them is read."""
        rows = self._single
        if rows is None:
            rows = self._data(self._versions() if self._keeps_versions() else self._current())
        if rows.is_empty():
            raise InputError(f"there are no objects below {self.uri}", "check `source`, or wait for the data")
        return rows

    def fetch(self, files: pl.DataFrame, say: Callable[[str], None]) -> list[Path]:
        """See `Source`."""
        return fetch_objects(self._store(), self.uri, self._wanted(files), say)

    def tails(self, files: pl.DataFrame, size: int) -> list[bytes]:
        """See `Source`."""
        return fetch_tails(self._store(), self._wanted(files), size)

    def name(self, path: str) -> str:
        """See `Source`."""
        return f"s3://{self._bucket}/{self._full(path)}"

    def _full(self, path: str) -> str:
        if not self._key:
            return path
        # Below a prefix there may be an object of the prefix's own name.
        if path == self._key.rpartition("/")[2] and self._single is not None:
            return self._key
        return f"{self._key}/{path}"

    def _wanted(self, files: pl.DataFrame) -> list[Wanted]:
        return [
            Wanted(self._full(entry.path), self.name(entry.path), entry.size, entry.version) for entry in entries(files)
        ]

    def _store(self) -> Any:
        try:
            return open_bucket(f"s3://{self._bucket}")
        except Exception as error:
            raise bucket_trouble(error, self.uri) from error

    @cached_property
    def _single(self) -> pl.DataFrame | None:
        """The listing of the one object of this key; None when there is none, or nobody tells."""
        if self._is_folder:
            return None
        try:
            meta = obstore.head(self._store(), self._key)
        except (NotFoundError, FileNotFoundError):
            return None
        except BaseError as error:
            # Who may read objects but not list them is told "forbidden" of one that is not there.
            if type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError"):
                return None
            raise bucket_trouble(error, self.uri) from error
        name = self._key.rpartition("/")[2]
        return pl.DataFrame([(name, meta["size"], _version(meta["version"], meta["e_tag"]))], SCHEMA, orient="row")

    def _keeps_versions(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return "Status" in s3_client().get_bucket_versioning(Bucket=self._bucket)
        except ClientError as error:
            if error_code(error) in ("NoSuchBucket", "ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
                raise bucket_trouble(error, self.uri) from error
            return False  # Nobody tells: then ETags are compared.
        except BotoCoreError as error:
            raise bucket_trouble(error, self.uri) from error

    def _current(self) -> pl.DataFrame:
        """What is there now, by ETag."""
        try:
            pages = obstore.list(self._store(), prefix=self._key or None, chunk_size=_PAGE)
            return _frame(
                ([meta["path"] for meta in page], [meta["size"] for meta in page], [_etag(meta) for meta in page])
                for page in pages
            )
        except BaseError as error:
            raise bucket_trouble(error, self.uri) from error

    def _versions(self) -> pl.DataFrame:
        """The newest version of all that is there."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            pages = s3_client().get_paginator("list_object_versions")
            prefix = f"{self._key}/" if self._key else ""
            newest = (
                [one for one in page.get("Versions", ()) if one["IsLatest"]]
                for page in pages.paginate(Bucket=self._bucket, Prefix=prefix)
            )
            return _frame(
                (
                    [one["Key"] for one in page],
                    [one["Size"] for one in page],
                    [_version(one["VersionId"], one["ETag"]) for one in page],
                )
                for page in newest
            )
        except ClientError as error:
            if error_code(error) == "AccessDenied":
                return self._current()
            raise bucket_trouble(error, self.uri) from error
        except BotoCoreError as error:
            raise bucket_trouble(error, self.uri) from error

    def _data(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Paths within the source, of what is data, in order."""
        prefix = f"{self._key}/" if self._key else ""
        path = pl.col("path").str.strip_prefix(prefix)
        # Consoles make "folders": empty objects whose name ends with a slash, which obstore takes off.
        marker = (pl.col("size") == 0) & ~path.str.contains(r"\.[^/]*$") | path.str.ends_with("/")
        within = rows.filter(pl.col("path").str.starts_with(prefix) & ~marker).with_columns(path)
        odd = within["path"].str.contains(r"(^|/)[._]")
        kept = [not any(map(hidden, name.split("/"))) for name in within.filter(odd)["path"]]
        return pl.concat([within.filter(~odd), within.filter(odd).filter(pl.Series(kept, dtype=pl.Boolean))]).sort(
            "path"
        )


def _etag(meta: Any) -> str:
    return f"etag:{bare_etag(meta['e_tag'])}"


def _version(version: str | None, etag: str | None) -> str:
    # The version "null" is overwritten like an object of a bucket without versions.
    return f"version:{version}" if version and version != _UNVERSIONED else f"etag:{bare_etag(etag)}"


def _frame(pages: Iterator[Sequence[list[Any]]]) -> pl.DataFrame:
    """Pages of keys, sizes and versions as one frame; what a page was made of is given up with it."""
    return pl.concat([pl.DataFrame(schema=SCHEMA), *(pl.DataFrame(page, SCHEMA) for page in pages)])

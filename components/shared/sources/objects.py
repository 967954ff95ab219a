"""Objects below a prefix of an S3 bucket, Amazon's or another's."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from kfp_ratchet.components.shared.buckets import (
    ONE_TRY,
    bucket_trouble,
    error_code,
    open_bucket,
    s3_client,
    versioning,
)
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.sources.fetching import Wanted, bare_etag, fetch_objects, fetch_tails
from kfp_ratchet.components.shared.sources.source import SCHEMA, FileEntry, Memory, entries, hidden

_UNVERSIONED = "null"
_UNREADABLE = r"(^|/)\.{0,2}(/|$)|[\x00-\x1f\x7f]"
"""Keys that obstore has no name for."""


class Objects:
    """An object, or all objects below a prefix. Names that start with `.` or `_` are skipped, as Spark and Hive do.

    A versioned bucket is read at the versions that were listed, whatever happened since. In another bucket every object must still have
    its ETag when it is read.
    """

    origin = ""

    def __init__(self, uri: str) -> None:
        scheme, _, rest = uri.partition("://")
        self._bucket, _, key = rest.partition("/")
        if not self._bucket:
            raise InputError(f"source {uri!r} names no bucket", f"write {scheme}://bucket/prefix")
        self.uri = uri
        self._key = key.rstrip("/")
        self._is_folder = key.endswith("/") or not key
        self._is_object: bool | None = None

    def listing(self, memory: Memory) -> pl.DataFrame:
        """See `Source`. A request for each thousand objects, and none of them is read."""
        if self._key and re.search(_UNREADABLE, self._key):
            raise self._unreadable(self._key)
        rows = self._single()
        self._is_object = rows is not None
        if rows is None:
            rows = self._data(self._listed(versions=bool(versioning(self.uri))))
        if rows.is_empty():
            raise InputError(f"there are no objects below {self.uri}", "check `source`, or wait for the data")
        return rows

    def fetch(self, files: pl.DataFrame, say: Callable[[str], None]) -> list[Path]:
        """See `Source`."""
        self._settle(files)
        return fetch_objects(self._store(), self.uri, self._wanted(files), say)

    def tails(self, files: pl.DataFrame, size: int) -> list[bytes]:
        """See `Source`."""
        self._settle(files)
        return fetch_tails(self._store(), self._wanted(files), size)

    def name(self, path: str) -> str:
        """See `Source`."""
        return f"s3://{self._bucket}/{self._full(path)}"

    def _full(self, path: str) -> str:
        return self._key if self._is_object else f"{self._key}/{path}" if self._key else path

    def _settle(self, files: pl.DataFrame) -> None:
        """Find out of files that another process has listed whether the source is an object: below a prefix one may have its name."""
        if self._is_object is None:
            named_alike = files["path"].to_list() == [self._key.rpartition("/")[2]]
            self._is_object = not self._is_folder and named_alike and not self._is_below(entries(files)[0])

    def _is_below(self, entry: FileEntry) -> bool:
        """Whether this is an object below the prefix, though it may be deleted by now."""
        from botocore.exceptions import BotoCoreError, ClientError

        kind, _, version = entry.version.partition(":")
        asked = {"VersionId": version} if kind == "version" else {"IfMatch": f'"{version}"'}
        try:
            head = s3_client().head_object(Bucket=self._bucket, Key=f"{self._key}/{entry.path}", **asked)
        except ClientError:
            return False
        except BotoCoreError as error:
            raise bucket_trouble(error, self.uri) from error
        return _version(head.get("VersionId") if kind == "version" else "", head.get("ETag")) == entry.version

    def _wanted(self, files: pl.DataFrame) -> list[Wanted]:
        return [
            Wanted(self._full(entry.path), self.name(entry.path), entry.size, entry.version) for entry in entries(files)
        ]

    def _store(self) -> Any:
        try:
            return open_bucket(f"s3://{self._bucket}", retry_config=ONE_TRY)
        except Exception as error:
            raise bucket_trouble(error, self.uri) from error

    def _single(self) -> pl.DataFrame | None:
        """The listing of the one object of this key; None when there is none, or nobody tells."""
        if self._is_folder:
            return None
        from botocore.exceptions import BotoCoreError, ClientError

        client = s3_client()
        try:
            head = client.head_object(Bucket=self._bucket, Key=self._key)
        except ClientError:
            # The answer says no more than a number, and "forbidden" of what is not there to who may not list.
            return None
        except BotoCoreError as error:
            raise bucket_trouble(error, self.uri) from error
        try:
            below = client.list_objects_v2(Bucket=self._bucket, Prefix=f"{self._key}/", MaxKeys=1).get("KeyCount", 0)
        except ClientError:
            below = 0  # Who may not list can only mean the object.
        if below and not head["ContentLength"]:
            return None
        if below:
            raise InputError(
                f"{self.uri} is an object, and there are others below {self.uri}/",
                f"write {self.uri}/ for those, or give the object another key",
            )
        entry = (self._key.rpartition("/")[2], head["ContentLength"], _version(head.get("VersionId"), head.get("ETag")))
        return pl.DataFrame([entry], SCHEMA, orient="row")

    def _listed(self, versions: bool) -> pl.DataFrame:
        """All that is below the prefix, markers and hidden names as well: columns path (the key), size, version."""
        from botocore.exceptions import BotoCoreError, ClientError

        from kfp_ratchet.components.shared.sources.bucket_list import list_bucket

        try:
            rows = list_bucket(self._bucket, f"{self._key}/" if self._key else "", versions)
        except ClientError as error:
            if versions and error_code(error) == "AccessDenied":
                return self._listed(versions=False)
            raise bucket_trouble(error, self.uri) from error
        except BotoCoreError as error:
            raise bucket_trouble(error, self.uri) from error
        # The version "null" is overwritten like an object of a bucket without versions.
        by_etag = pl.col("id").is_in(["", _UNVERSIONED])
        version = pl.when(by_etag).then("etag:" + pl.col("etag")).otherwise("version:" + pl.col("id"))
        return rows.select("path", "size", version=version)

    def _unreadable(self, key: str) -> InputError:
        return InputError(
            f"the key of {f's3://{self._bucket}/{key}'!r} has a control character, an empty part, or one that is '.' or '..'",
            "copy the object to another key and delete this one",
        )

    def _data(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Paths within the source, of what is data, in order."""
        # Consoles and Hadoop make "folders": objects that are none.
        rows = rows.filter(~pl.col("path").str.contains(r"(/|_\$folder\$)$"))
        for key in rows.filter(pl.col("path").str.contains(_UNREADABLE))["path"].head(1):
            raise self._unreadable(key)
        within = rows.with_columns(pl.col("path").str.slice(len(self._key) + 1 if self._key else 0))
        odd = within["path"].str.contains(r"(^|/)[._]")
        kept = [not any(map(hidden, name.split("/"))) for name in within.filter(odd)["path"]]
        return pl.concat([within.filter(~odd), within.filter(odd).filter(pl.Series(kept, dtype=pl.Boolean))]).sort(
            "path"
        )


def _version(version: str | None, etag: str | None) -> str:
    return f"version:{version}" if version and version != _UNVERSIONED else f"etag:{bare_etag(etag)}"

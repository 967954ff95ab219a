"""A snapshot of a folder in a bucket: only what is new there is uploaded."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import ObjectStore

from kfp_ratchet.components.shared.buckets import bucket_trouble, open_bucket, reason, versioning
from kfp_ratchet.components.shared.canonical import digest_file
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.manifest import list_source
from kfp_ratchet.components.shared.names import counted
from kfp_ratchet.components.shared.sources import Memory, open_source
from kfp_ratchet.components.shared.sources.source import FileEntry, entries, hidden
from kfp_ratchet.pipelines.push import Pushed

_PART_BYTES = 16 * 2**20
_PARTS_AT_ONCE = 4
_FILES_AT_ONCE = 16
_DIGEST = "sha256"
"""Name under which an object keeps the digest of its bytes: its ETag is none where the bucket encrypts with a key of its own."""


def push_to_bucket(
    folder: Path, uri: str, mirror: bool, unversioned: bool, yes: bool, say: Callable[[str], None]
) -> Pushed:
    """Upload what the bucket does not have yet; see `push`. Whoever was interrupted goes on where he was.

    Raises:
        InputError: The bucket keeps no versions and `unversioned` is not given, it is not there, or a mirror would empty it.
        RatchetError: It cannot be read or written, or a file changed meanwhile.
    """
    uri = uri.rstrip("/")
    if not uri.partition("://")[2]:
        raise InputError(f"the target {uri!r} names no bucket", "write s3://bucket/prefix")
    if mirror and folder.is_file():
        raise InputError(f"--mirror deletes what the folder does not have, and {folder} is a file", "leave it out")
    if mirror and not uri.partition("://")[2].partition("/")[2]:
        raise InputError(f"--mirror would empty all of the bucket {uri}", "name a prefix: s3://bucket/prefix")
    versioned = versioning(uri) == "Enabled"
    if not versioned and not unversioned:
        bucket = uri.split("/")[2]
        raise InputError(
            f"the bucket {bucket!r} keeps no versions: a revision ends with the next push, and a run in between fails",
            f"aws s3api put-bucket-versioning --bucket {bucket} --versioning-configuration Status=Enabled; "
            "or accept it with --unversioned",
        )
    files = entries(open_source(str(folder)).listing(Memory({})))
    pushing = _Pushing(folder, uri)
    others = pushing.others({file.path for file in files})
    if mirror and len(others) > len(files) and not yes:
        raise InputError(
            f"--mirror would delete {counted(len(others), 'object')} of {uri}, and the folder has {counted(len(files), 'file')}",
            "check the folder and the target; if that is meant, add --yes",
        )
    try:
        uploaded = 0
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            for number, new in enumerate(pool.map(pushing.push, files), 1):
                uploaded += new
                say(f"pushed {number:,} of {len(files):,} files")
        if mirror and others:
            obstore.delete(pushing.store, others)
    except (BaseError, OSError) as error:
        raise _unwritable(error, uri) from error
    return Pushed(
        source=uri,
        revision=list_source(uri).revision,
        files=len(files),
        bytes=sum(file.size for file in files),
        uploaded=uploaded,
        removed=len(others) if mirror else 0,
        left=0 if mirror else len(others),
        warning=""
        if versioned
        else "the bucket keeps no versions: the next push ends this revision, a run that is under way then fails, and no model "
        "of it can be made again",
    )


class _Pushing:
    """One push."""

    def __init__(self, folder: Path, uri: str) -> None:
        try:
            self.store: ObjectStore = open_bucket(uri)
            pages = obstore.list(self.store)
            self._there: dict[str, Any] = {meta["path"]: meta for page in pages for meta in page}
        except Exception as error:
            if "invalid path" in str(error):
                raise InputError(
                    f"{uri} holds a key that no run can read: {reason(error)}",
                    "copy the object to another key and delete this one",
                ) from error
            raise bucket_trouble(error, uri) from error
        self._folder = folder
        self._uri = uri

    def push(self, file: FileEntry) -> bool:
        """Whether a file had to be uploaded."""
        path = self._folder if self._folder.is_file() else self._folder / file.path
        if self._is_there(file, path):
            return False
        before = path.stat()
        # It was listed a while ago, and its digest is to be true of what is sent now.
        if digest_file(path) != file.version:
            raise _changes(path)
        try:
            obstore.put(
                self.store,
                file.path,
                path,
                attributes={_DIGEST: file.version.partition(":")[2]},
                use_multipart=file.size > _PART_BYTES,
                chunk_size=_PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE,
            )
        except ValueError as error:
            raise InputError(f"{path} has a name that no object can have: {reason(error)}", "rename it") from None
        after = path.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or after.st_size != file.size:
            # Later pushes would believe its digest.
            obstore.delete(self.store, file.path)
            raise _changes(path)
        return True

    def others(self, names: set[str]) -> list[str]:
        """Data in the bucket that the folder does not have."""
        return sorted(name for name in self._there.keys() - names if not any(map(hidden, name.split("/"))))

    def _is_there(self, file: FileEntry, path: Path) -> bool:
        there = self._there.get(file.path)
        if there is None or there["size"] != file.size:
            return False
        if _etag(path, file.size) == (there["e_tag"] or "").strip('"'):
            return True
        try:
            kept = obstore.get(self.store, file.path, options={"head": True}).attributes
        except (NotFoundError, FileNotFoundError):
            return False
        return bool(kept.get(_DIGEST) == file.version.partition(":")[2])


def _changes(path: Path) -> RatchetError:
    return RatchetError(f"{path} changes while it is pushed", "wait until it is complete, then push again")


def _etag(path: Path, size: int) -> str:
    """The ETag that S3 gives to what is uploaded here: the md5 of the bytes, or that of the md5s of the parts."""
    with path.open("rb") as file:
        if size <= _PART_BYTES:
            return hashlib.file_digest(file, _md5).hexdigest()
        parts = [_md5(part).digest() for part in iter(lambda: file.read(_PART_BYTES), b"")]
    return f"{_md5(b''.join(parts)).hexdigest()}-{len(parts)}"


def _md5(content: bytes = b"") -> Any:
    return hashlib.md5(content, usedforsecurity=False)


def _unwritable(error: Exception, uri: str) -> RatchetError:
    trouble = bucket_trouble(error, uri)
    if "access is denied" in trouble.message:
        return RatchetError(
            f"{uri} may not be written: access is denied",
            "grant s3:PutObject and s3:AbortMultipartUpload (for --mirror also s3:DeleteObject) on its objects",
        )
    return RatchetError(
        trouble.message.replace("cannot be read", "cannot be written"),
        f"{trouble.remedy}; what was pushed before stays and is not pushed again",
    )

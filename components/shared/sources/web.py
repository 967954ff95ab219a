"""A file on a web server."""

import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import polars as pl
import requests

from kfp_ratchet.components.shared.buckets import pauses
from kfp_ratchet.components.shared.errors import InputError, RatchetError, disk_trouble
from kfp_ratchet.components.shared.sources.fetching import Wanted, fetched_file, is_fetched, tidy
from kfp_ratchet.components.shared.sources.source import FETCHED, FileEntry, Memory, entries, listing

ALLOW_HTTP = "RATCHET_ALLOW_HTTP"
"""The environment's say that an address without encryption will do."""

_LOCAL = ("localhost", "127.0.0.1", "::1")
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_TIMEOUT_S = (10, 60)
"""Until a connection stands; without a byte."""
_BLOCK_BYTES = 2**20
_STRONG_AFTER_S = 60
"""`Last-Modified` counts whole seconds; so long after it, it changes with the content (RFC 9110, 8.8.2.2)."""
_ANEW = "start a new run, which pins it anew"

T = TypeVar("T")


class Web:
    """One file behind an `https://` address. Redirects are followed; proxies, certificates and `~/.netrc` are those of `requests`.

    Its version is its strong ETag. A server that gives none, or no length, is read when the file is listed, which then lies in
    `fetched_folder` already, and the version is the digest.
    """

    origin = ""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        parts = urlsplit(uri)
        self._file = unquote(parts.path).rpartition("/")[2]
        if not parts.hostname or not self._file:
            raise InputError(
                f"source {uri!r} names no file", "give the address of one file: https://host/folder/file.csv"
            )
        self._encrypted = parts.scheme == "https"
        allowed = os.environ.get(ALLOW_HTTP, "").lower() in ("1", "true")
        if not (self._encrypted or allowed or parts.hostname in _LOCAL):
            raise InputError(
                f"source {uri!r}: anyone on the way can change what http:// brings",
                f"write https://, or set {ALLOW_HTTP}=true where that is no danger",
            )

    def listing(self, memory: Memory) -> pl.DataFrame:
        """See `Source`. The file is read only if the server gives no strong ETag, and no old enough time of its last change."""

        def look(answer: requests.Response) -> FileEntry:
            size, etag = _size(answer), answer.headers.get("ETag", "")
            if size is not None and etag.startswith('"'):
                return FileEntry(self._file, size, "etag:" + etag.strip('"'))
            mark = f"{self.uri}|{size}|{etag}|{answer.headers.get('Last-Modified')}"
            known = memory.recall(mark) if size is not None else None
            if size is not None and known is not None:
                return FileEntry(self._file, size, known)
            entry = self._read(answer)
            if _tells_changes(answer):
                memory.keep(mark, entry.version)
            return entry

        return listing([self._asked(look, {}, f"there is nothing at {self.uri}")])

    def fetch(self, files: pl.DataFrame, say: Callable[[str], None]) -> list[Path]:
        """See `Source`."""
        paths = [self._fetch(entry) for entry in entries(files)]
        tidy(paths[0].parent, set(paths))
        return paths

    def tails(self, files: pl.DataFrame, size: int) -> Iterator[bytes]:
        """See `Source`. A server that knows no ranges is read to the end."""
        return (self._tail(entry, size) for entry in entries(files))

    def name(self, path: str) -> str:
        """See `Source`."""
        return self.uri

    def _fetch(self, listed: FileEntry) -> Path:
        target = self._target(listed)
        if is_fetched(target, listed.size):
            return target
        kind, _, version = listed.version.partition(":")
        headers = {"If-Match": f'"{version}"'} if kind == "etag" else {}

        def read(answer: requests.Response) -> FileEntry:
            if answer.status_code == requests.codes.precondition_failed:
                raise self._changed()
            if kind == "etag" and (
                answer.headers.get("ETag", "").strip('"') != version or _size(answer) != listed.size
            ):
                raise self._changed()  # Not every server keeps the condition.
            return self._read(answer, listed)

        found = self._asked(read, headers, f"{self.uri} is gone since it was pinned")
        if (found.size, found.version) != (listed.size, listed.version):
            self._target(found).unlink(missing_ok=True)
            raise self._changed()
        return target

    def _read(self, answer: requests.Response, listed: FileEntry | None = None) -> FileEntry:
        """The body as a fetched file, and what it turned out to be; `listed` is believed where it tells no digest."""
        digest, size = hashlib.sha256(), 0
        folder = self._target(FileEntry(self._file, 0, "")).parent
        part = folder / f"{uuid.uuid4().hex}.part"
        if self._file.endswith((".gz", ".zst")):
            answer.raw.headers.pop("Content-Encoding", None)  # Said of the file by mistake: it would come unpacked.
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                for block in answer.iter_content(_BLOCK_BYTES):
                    size += file.write(block)
                    digest.update(block)
            version = (
                listed.version if listed and listed.version.startswith("etag:") else f"sha256:{digest.hexdigest()}"
            )
            found = FileEntry(self._file, size, version)
            part.replace(self._target(found))
        except requests.RequestException:  # An OSError, too.
            raise
        except OSError as error:
            raise RatchetError(
                f"{folder} cannot be written: {error.strerror or error}",
                disk_trouble(error) or f"check the folder, or name another in {FETCHED}",
            ) from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        return found

    def _tail(self, entry: FileEntry, size: int) -> bytes:
        here = self._target(entry)
        if is_fetched(here, entry.size):
            with here.open("rb") as file:
                file.seek(max(0, entry.size - size))
                return file.read()

        def end(answer: requests.Response) -> bytes:
            found = b""
            for block in answer.iter_content(_BLOCK_BYTES):
                found = (found + block)[-size:]
            return found

        return self._asked(end, {"Range": f"bytes=-{size}"}, f"{self.uri} is gone since it was pinned")

    def _target(self, entry: FileEntry) -> Path:
        return fetched_file(self.uri, Wanted(self._file, self.uri, entry.size, entry.version))

    def _asked(self, use: Callable[[requests.Response], T], headers: Mapping[str, str], absent: str) -> T:
        """What `use` makes of the answer; tried again with growing waits.

        Args:
            use: Reads the answer.
            headers: Of the request.
            absent: What it means that there is no such file.
        """
        for pause in (*pauses(), None):
            try:
                # Blocks must be those of the file, not of a compressed copy.
                asked = {"Accept-Encoding": "identity", **headers}
                with requests.get(self.uri, headers=asked, stream=True, timeout=_TIMEOUT_S) as answer:
                    if answer.status_code not in _AGAIN:
                        self._refuse(answer, absent)
                        return use(answer)
                    trouble = f"it answers {answer.status_code} {answer.reason}"
            except (requests.exceptions.SSLError, requests.exceptions.InvalidURL, requests.TooManyRedirects) as error:
                raise RatchetError(f"{self.uri} cannot be read: {_said(error)}", _remedy(error)) from None
            except requests.RequestException as error:
                trouble = _said(error)
            if pause is not None:
                time.sleep(pause)
        raise RatchetError(
            f"{self.uri} cannot be read: {trouble}", "check the address and the network; then run it again"
        )

    def _refuse(self, answer: requests.Response, absent: str) -> None:
        """What the answer says instead of giving the file. Never names where a redirect led: such an address may be signed.

        Raises:
            InputError: There is no such file.
            RatchetError: It may not be read, or what came is none.
        """
        code = answer.status_code
        if code in (requests.codes.not_found, requests.codes.gone):
            raise InputError(f"{absent}: its server answers {code}", "check the address, or start a new run")
        if code in (requests.codes.unauthorized, requests.codes.forbidden):
            raise RatchetError(
                f"{self.uri} may not be read: its server answers {code} {answer.reason}",
                "ask for the right; a user and password go into ~/.netrc, never into the address",
            )
        if not answer.ok and code != requests.codes.precondition_failed:
            raise RatchetError(
                f"{self.uri} cannot be read: its server answers {code} {answer.reason}", "check the address"
            )
        if self._encrypted and any(urlsplit(one.url).scheme != "https" for one in (*answer.history, answer)):
            raise RatchetError(
                f"{self.uri} leads to an address without encryption", "give one that stays with https://"
            )
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            raise InputError(
                f"{self.uri} is a web page, not a file of data",
                "give the address that the page's download leads to; it may also be a page to sign in",
            )

    def _changed(self) -> RatchetError:
        return RatchetError(f"{self.uri} has changed since it was pinned", _ANEW)


def _size(answer: requests.Response) -> int | None:
    """Bytes of the file, None when nobody tells."""
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and "Content-Encoding" not in answer.headers else None


def _tells_changes(answer: requests.Response) -> bool:
    """Whether another content would have another `Last-Modified`."""
    try:
        changed, now = (parsedate_to_datetime(answer.headers[name]) for name in ("Last-Modified", "Date"))
        return _size(answer) is not None and (now - changed).total_seconds() >= _STRONG_AFTER_S
    except (KeyError, ValueError, TypeError):  # TypeError: the zone -0000 makes a time without one
        return False


def _said(error: requests.RequestException) -> str:
    """In a few words, since what libraries say repeats addresses that may be signed."""
    for kind, words in (
        (requests.exceptions.SSLError, "its certificate is not accepted"),
        (requests.exceptions.InvalidURL, "it is no address"),
        (requests.TooManyRedirects, "it redirects without end"),
        (requests.exceptions.ProxyError, "the proxy does not let it through"),
        (requests.ConnectTimeout, "it cannot be reached"),
        (requests.Timeout, "it does not answer"),
        (requests.exceptions.ChunkedEncodingError, "its answer breaks off"),
        (requests.ConnectionError, "it cannot be reached, or breaks off"),
    ):
        if isinstance(error, kind):
            return words
    return type(error).__name__


def _remedy(error: requests.RequestException) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return "check the address; a certificate authority of your own goes into REQUESTS_CA_BUNDLE"
    return "check the address"

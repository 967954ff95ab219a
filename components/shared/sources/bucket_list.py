"""The list of a bucket's objects, however many they are: several parts of it at once, and as columns."""

import re
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from html import unescape
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

import polars as pl
from botocore.parsers import ResponseParserError

from kfp_ratchet.components.shared.buckets import s3_client

_AT_ONCE = 16
_PAGES_FIRST = 10
"""Shorter lists are not worth the requests that find out where keys lie."""
_TEXT = "Text"
_SCHEMA = {"path": pl.String, "size": pl.Int64, "etag": pl.String, "id": pl.String}
_ENDS = ("</ListBucketResult>", "</ListVersionsResult>")
_DELETED = re.compile("<DeleteMarker>.*?</DeleteMarker>", re.DOTALL)
_LOWEST, _HIGHEST = 0x20, 0x7F
_BASE = _HIGHEST - _LOWEST + 1
_DIGITS = 24
"""So many characters are reckoned with when the keys between two are halved."""


@dataclass(eq=False)
class _Span:
    """The keys after `after`, up to and with `until`; "" is no bound."""

    after: str = ""
    until: str = ""
    seen: str = ""
    """The last key that was listed; of its versions more may come."""
    token: dict[str, str] = field(default_factory=dict)
    """How the server goes on with a list that it began."""
    goes_on: bool = False
    """Whether it is known to hold more keys than a page does: only then it is worth cutting."""


class _Page(NamedTuple):
    objects: pl.DataFrame
    """As in `list_bucket`."""
    last: str
    """The last key, though it be of something deleted."""
    token: dict[str, str]
    """Empty when the list ends here."""


class _UnorderedError(Exception):
    """The server lists in another order than that of the keys, or from elsewhere than it was asked to."""


def list_bucket(bucket: str, prefix: str, versions: bool) -> pl.DataFrame:
    """All objects whose keys start with a prefix: columns path (the key), size, etag (without quotes), id (of the version); in no order.

    A server gives a thousand keys a request, and the next ones only to who knows where these ended. So, while connections are idle, the
    keys still to come are cut in the middle between the last one known and the end. What lies beyond is listed meanwhile, or turns out
    to be empty: so the cuts come to lie where keys are. That needs no folders in the keys.

    Args:
        bucket: Its name.
        prefix: What the keys start with; "" for all.
        versions: List the newest version of each object that is not deleted, with its id (otherwise "").

    Raises:
        ClientError: S3 refuses.
        BotoCoreError: There are no credentials, or S3 does not answer.
    """
    lister = _Lister(bucket, prefix, versions)
    try:
        pages = lister.at_once()
    except _UnorderedError:
        pages = list(lister.in_turn())
    found = pl.concat([pl.DataFrame(schema=_SCHEMA), *pages])
    return found.unique("path") if versions else found


class _Lister:
    def __init__(self, bucket: str, prefix: str, versions: bool) -> None:
        self._client = s3_client()
        self._asked = {"Bucket": bucket, "Prefix": prefix, "EncodingType": "url"}
        self._versions = versions
        self._client.meta.events.register("before-parse.s3", _unparsed)

    def in_turn(self) -> Iterator[pl.DataFrame]:
        """Page after page, in whatever order the server has."""
        page = self._page(_Span())
        yield page.objects
        while page.token:
            page = self._page(_Span(token=page.token))
            yield page.objects

    def at_once(self) -> list[pl.DataFrame]:
        """Several spans at a time."""
        found: list[pl.DataFrame] = []
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            first = _Span()
            running: dict[Future[_Page], _Span] = {pool.submit(self._sorted_page, first): first}
            try:
                while running:
                    for done in wait(running, return_when=FIRST_COMPLETED).done:
                        span, page = running.pop(done), done.result()
                        found.append(_between(page.objects, span.after, span.until))
                        if page.token and (page.last <= span.until or not span.until):
                            rest = _Span(span.after, span.until, page.last, page.token, goes_on=True)
                            running[pool.submit(self._sorted_page, rest)] = rest
                    while (
                        len(found) >= _PAGES_FIRST
                        and len(running) < _AT_ONCE
                        and (beyond := self._cut(list(running.values())))
                    ):
                        running[pool.submit(self._sorted_page, beyond)] = beyond
            finally:
                for future in running:
                    future.cancel()
        return found

    def _cut(self, spans: list[_Span]) -> _Span | None:
        """The upper half of the widest span, which keeps the lower one; None when there is none to cut."""
        open_ended = self._asked["Prefix"] + chr(_HIGHEST)
        cuts = [(span, _middle(span.seen, span.until or open_ended)) for span in spans if span.goes_on]
        found = [(width, span, middle) for span, (middle, width) in cuts if middle]
        if not found:
            return None
        _, span, middle = max(found, key=lambda cut: cut[0])
        beyond = _Span(middle, span.until)
        span.until = middle
        return beyond

    def _sorted_page(self, span: _Span) -> _Page:
        page = self._page(span)
        keys = page.objects["path"]
        if not keys.is_sorted() or (len(keys) and str(keys[0]) < max(span.after, span.seen)):
            raise _UnorderedError
        return page

    def _page(self, span: _Span) -> _Page:
        start, operation = (
            ("KeyMarker", "list_object_versions") if self._versions else ("StartAfter", "list_objects_v2")
        )
        text = self._answer(operation, {**self._asked, **(span.token or ({start: span.after} if span.after else {}))})
        is_url = _texts(text, "EncodingType") == ["url"]
        last = max([span.seen, *_keys(text, is_url)])
        token: dict[str, str] = {}
        if _texts(text, "IsTruncated") == ["true"]:
            if self._versions:
                # Servers differ in whether this is the last key here or the first one there.
                key, version = _keys(text, is_url, "NextKeyMarker"), _texts(text, "NextVersionIdMarker")
                token = {"KeyMarker": "".join(key) or last}
                if any(version):
                    token["VersionIdMarker"] = "".join(version)
            else:
                token = {"ContinuationToken": "".join(_texts(text, "NextContinuationToken"))}
        text = _DELETED.sub("", text)
        columns = {"path": _keys(text, is_url), "size": _texts(text, "Size"), "etag": _texts(text, "ETag")}
        if self._versions:
            columns |= {"id": _texts(text, "VersionId"), "latest": _texts(text, "IsLatest")}
        if len(set(map(len, columns.values()))) > 1:
            raise ResponseParserError(
                f"an entry of a list from {self._client.meta.endpoint_url} lacks key, size or ETag"
            )
        objects = pl.DataFrame(columns, dict.fromkeys(columns, pl.String))
        objects = objects.with_columns(pl.col("etag").str.replace_all("&quot;", "", literal=True).str.strip_chars('"'))
        latest = objects.filter(pl.col("latest") == "true") if self._versions else objects.with_columns(id=pl.lit(""))
        return _Page(latest.select(pl.col(name).cast(kind) for name, kind in _SCHEMA.items()), last, token)

    def _answer(self, operation: str, asked: dict[str, str]) -> str:
        """The text of a page. boto3 signs, sends and asks again, but is kept from parsing: it takes a minute for a million objects."""
        answer: dict[str, Any] = getattr(self._client, operation)(**asked)
        if _TEXT not in answer:
            raise ResponseParserError(f"what answers at {self._client.meta.endpoint_url} is not S3")
        return str(answer[_TEXT])


def _unparsed(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    if response_dict["status_code"] == 200:
        text = response_dict["body"].decode(errors="replace")
        if text.rstrip().endswith(_ENDS):
            customized_response_dict[_TEXT], response_dict["body"] = text, b""


def _texts(text: str, name: str) -> list[str]:
    """What all elements of a name hold. XML's parsers call Python for each element, too slow for a million objects."""
    return re.findall(f"<{name}>([^<]*)</{name}>", text)


def _keys(text: str, is_url: bool, name: str = "Key") -> list[str]:
    keys = [unescape(key) if "&" in key else key for key in _texts(text, name)]
    return [unquote_plus(key) for key in keys] if is_url and any("%" in key or "+" in key for key in keys) else keys


def _between(objects: pl.DataFrame, after: str, until: str) -> pl.DataFrame:
    within = pl.col("path") > after
    return objects.filter(within & (pl.col("path") <= until) if until else within)


def _middle(low: str, high: str) -> tuple[str, int]:
    """A text in the middle between two, and how far they are from each other; "" when there is none between them."""
    same = low[: next((at for at, pair in enumerate(zip(low, high, strict=False)) if pair[0] != pair[1]), len(low))]
    first, last = (_number(text[len(same) :]) for text in (low, high))
    rest, digits = (first + last) // 2, []
    for _ in range(_DIGITS):
        rest, digit = divmod(rest, _BASE)
        digits.append(chr(_LOWEST + digit))
    middle = same + "".join(reversed(digits)).rstrip(chr(_LOWEST))
    width = (last - first) // _BASE ** min(len(same), _DIGITS)
    return (middle, width) if low < middle < high else ("", 0)


def _number(text: str) -> int:
    """A text's place among all texts: its characters are digits."""
    number = 0
    for character in text[:_DIGITS].ljust(_DIGITS, chr(_LOWEST)):
        number = number * _BASE + min(max(ord(character), _LOWEST), _HIGHEST) - _LOWEST
    return number

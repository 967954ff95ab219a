"""Calls to a forge's API: pages, rate limits, and errors that say which right is missing."""

import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from kfp_ratchet.components.shared.errors import InputError, RatchetError

_TIMEOUT = 30
_TRIES = 4
_LONGEST_WAIT = 120
"""Seconds that a rate limit is waited for."""
_PAGE = 100
_BUSY = (429, 502, 503, 504)


class ForgeError(RatchetError):
    """The forge refused, or did not answer."""


class ForbiddenError(ForgeError):
    """The token may not do this."""


class UnclearError(ForgeError):
    """No answer came: what was asked for may have been done."""


class Api:
    """JSON over HTTP with a token.

    Args:
        url: Of the API.
        headers: Among them that with the token, which is never told.
        right: What the token must be allowed, for messages.
        name: Of the forge, for messages.
    """

    def __init__(self, url: str, headers: Mapping[str, str], right: str, name: str) -> None:
        self._url = url.rstrip("/")
        self._right = right
        self._name = name
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": "kfp-ratchet", **headers})
        # What may be repeated; a POST only when the forge says that it did nothing.
        patient = Retry(
            _TRIES, status_forcelist=_BUSY, backoff_factor=0.5, raise_on_status=False, retry_after_max=_LONGEST_WAIT
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=patient))

    def ask(self, method: str, path: str, content: Any = None) -> Any:
        """The answer's JSON.

        Raises:
            ForbiddenError: The token is missing a right.
            UnclearError: A POST got no answer.
            ForgeError: Anything else that the forge answers.
        """
        return self._ask(method, f"{self._url}{path}", content).json()

    def remove(self, path: str) -> None:
        """Delete something."""
        self._ask("DELETE", f"{self._url}{path}", None)

    def pages(self, path: str) -> Iterator[Any]:
        """All entries of a list, however many pages it has."""
        url: str | None = f"{self._url}{path}{'&' if '?' in path else '?'}per_page={_PAGE}"
        while url:
            answer = self._ask("GET", url, None)
            yield from answer.json()
            # As RFC 8288 has it, which both forges keep.
            url = answer.links.get("next", {}).get("url")

    def _ask(self, method: str, url: str, content: Any) -> requests.Response:
        for attempt in range(_TRIES + 1):
            try:
                answer = self._session.request(
                    method, url, json=content, timeout=_TIMEOUT, allow_redirects=method == "GET"
                )
            except requests.RequestException as error:
                kind = UnclearError if method == "POST" else ForgeError
                raise kind(
                    f"{self._name} at {self._url} did not answer: {type(error).__name__}", "try again in a while"
                ) from None
            wait = _wait(answer)
            if wait is None or attempt == _TRIES:
                break
            if wait > _LONGEST_WAIT:
                raise ForgeError(
                    f"{self._name}'s rate limit is used up for another {wait:.0f} s",
                    "try again then, or use a token of its own",
                )
            time.sleep(wait)
        if answer.ok and not answer.is_redirect:
            return answer
        raise self._error(method, answer)

    def _error(self, method: str, answer: requests.Response) -> RatchetError:
        said = _said(answer)
        told = f"{self._name} answered {answer.status_code}{': ' + said if said else ''}"
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            return ForbiddenError(f"{told}: the token is wrong or expired", "set another one")
        if answer.status_code == HTTPStatus.FORBIDDEN:
            return ForbiddenError(told, f"give the token the right to write there: {self._right}")
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return ForgeError(
                f"{told}: no such repository or request, or the token may not see it",
                "check both, and the token's rights",
            )
        if method == "POST" and answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return UnclearError(told, "try again in a while")
        return ForgeError(told, "try again in a while" if answer.status_code >= 500 else "correct what it names")


def _wait(answer: requests.Response) -> float | None:
    """Seconds until a rate limit ends, None where none is meant. GitHub answers 403 as well as 429."""
    if answer.status_code not in (HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS):
        return None
    if answer.headers.get("Retry-After", "").isdigit():
        return float(answer.headers["Retry-After"])
    if answer.headers.get("X-RateLimit-Remaining") == "0" and answer.headers.get("X-RateLimit-Reset", "").isdigit():
        return max(0.0, float(answer.headers["X-RateLimit-Reset"]) - time.time()) + 1
    return None


def _said(answer: requests.Response) -> str:
    try:
        content = answer.json()
    except ValueError:
        return ""
    said = content.get("message") or content.get("error") if isinstance(content, dict) else ""
    return " ".join(str(said).split())[:300] if said else ""


def required(name: str, value: str | None, remedy: str) -> str:
    """A setting that must be there.

    Raises:
        InputError: It is empty.
    """
    if not value:
        raise InputError(f"{name} is not known", remedy)
    return value

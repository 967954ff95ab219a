"""Calls to a server over HTTP: tried again where that cannot double anything, and every end without an answer told in one sentence."""

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import quote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import SSLError
from urllib3.util import Retry

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.server.authentication import Credentials
from kfp_ratchet.pipelines.server.errors import (
    ConflictError,
    NotFoundError,
    RefusedError,
    ServerError,
    UnauthorizedError,
    UnclearError,
    UnreachableError,
)
from kfp_ratchet.pipelines.server.settings import ServerSettings

API = "/apis/v2beta1"
_AWAY = (429, 500, 502, 503, 504)
_UNCLEAR = (408, 502, 503, 504)
"""From something before the server, mostly: what became of the request it does not know."""
_BACKOFF, _LONGEST_BACKOFF = 0.25, 8.0
_CONNECT_PATIENCE = 10
"""Seconds: a server that restarts is back within that, and nobody waits a minute for a mistyped address."""
_AT_ONCE = 32
_LONGEST_SENTENCE = 400

Json = dict[str, Any]


class _Patience(Retry):
    """Repeats as it is told, but not what will be the same again."""

    def increment(self, *args: Any, **more: Any) -> Self:
        if isinstance(error := more.get("error"), SSLError):
            raise error
        return super().increment(*args, **more)


class Transport:
    """Speaks JSON with one server; used by many threads at once.

    Args:
        settings: Where it is, and how long to wait and to try.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._credentials = Credentials(settings.auth, settings.url)
        # What may be repeated is tried for as long as patience lasts; a creation only where it surely was not done: when no connection
        # came about, or the server said that it is too busy.
        total = _tries(settings.patience)
        connect = _tries(min(settings.patience, _CONNECT_PATIENCE))
        # What is repeated is no warning: the end is told, if it comes to that.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        again: dict[str, Any] = {
            "backoff_factor": _BACKOFF,
            "backoff_max": _LONGEST_BACKOFF,
            "backoff_jitter": _BACKOFF,
            "raise_on_status": False,
        }
        longest = max(1, round(settings.patience))
        self._patient = self._session(
            _Patience(
                total, connect=connect, status_forcelist=_AWAY, allowed_methods=None, retry_after_max=longest, **again
            )
        )
        self._once = self._session(
            _Patience(
                total,
                connect=connect,
                read=0,
                other=0,
                status_forcelist=(429,),
                allowed_methods=None,
                retry_after_max=longest,
                **again,
            )
        )

    @property
    def credentials(self) -> str:
        """Which credentials are used, by their place."""
        return self._credentials.kind

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Json:
        """The answer to a question."""
        return self._call("GET", path, query=query)[0]

    def get_dated(self, path: str) -> tuple[Json, str]:
        """The same, and the answer's `Date`."""
        return self._call("GET", path)

    def delete(self, path: str, query: Mapping[str, Any] | None = None) -> None:
        """Delete; tried again, so that one that was done already may answer 404."""
        self._call("DELETE", path, query=query)

    def tell(self, path: str) -> None:
        """A POST without content that may be repeated, such as `:enable`."""
        self._call("POST", path)

    def create(
        self, path: str, content: Json | None = None, *, query: Mapping[str, Any] | None = None, upload: str = ""
    ) -> Json:
        """Create something, at most once.

        Args:
            path: Below the API.
            content: JSON.
            query: Of the address.
            upload: Text of a pipeline to send as a file, instead of JSON.

        Raises:
            UnclearError: No answer came; it may have been done.
        """
        # The server goes by the file's ending.
        files = {"uploadfile": ("pipeline.yaml", upload.encode(), "application/yaml")} if upload else None
        return self._call("POST", path, query=query, creates=True, json=content, files=files)[0]

    def _session(self, retries: Retry) -> requests.Session:
        session = requests.Session()
        session.auth = self._credentials
        session.headers["User-Agent"] = "kfp-ratchet"
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=_AT_ONCE, max_retries=retries))
        return session

    def _call(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, creates: bool = False, **body: Any
    ) -> tuple[Json, str]:
        address = f"{self._settings.url}{path if path.startswith('/apis/') else API + path}"
        if query:
            address += "?" + "&".join(
                f"{name}={quote(str(value), safe='')}" for name, value in query.items() if value not in (None, "")
            )
        session = self._once if creates else self._patient
        answer = self._answer(session, method, address, creates, body)
        if answer.status_code == HTTPStatus.UNAUTHORIZED and self._credentials.may_be_renewed:
            # A projected token is renewed in its file shortly before it ends.
            answer = self._answer(session, method, address, creates, body)
        call = f"{method} {urlsplit(address).path}"
        if answer.ok and not answer.is_redirect:
            return self._content(answer, call), answer.headers.get("Date", "")
        raise self._error(answer, call, creates, len(answer.request.body or b""))

    def _answer(
        self, session: requests.Session, method: str, address: str, creates: bool, body: dict[str, Any]
    ) -> requests.Response:
        settings = self._settings
        try:
            return session.request(
                method,
                address,
                timeout=settings.timeout,
                allow_redirects=False,
                # Said here, not for the session: that would be overruled by REQUESTS_CA_BUNDLE.
                verify=settings.ca or None,
                **body,
            )
        except requests.exceptions.SSLError as error:
            raise UnreachableError(
                f"the certificate of {settings.url} is not trusted: {_cause(error)}",
                "name the certificate authority's file as `ca` of the server in pipelines.yaml",
            ) from None
        except requests.exceptions.ConnectTimeout:
            raise self._away(f"no connection within {settings.timeout:g} s") from None
        except (requests.exceptions.Timeout, requests.exceptions.ConnectionError) as error:
            # What was repeated comes as a ConnectionError, whatever it was at the end.
            kinds, said = repr(error), _cause(error)
            if any(kind in kinds for kind in ("NewConnectionError", "NameResolutionError", "ProxyError")):
                raise self._away(said) from None
            slow = "ReadTimeout" in kinds or isinstance(error, requests.exceptions.Timeout)
            why = f"no answer within {settings.timeout:g} s" if slow else said
            raise self._lost(creates, f"{method} {urlsplit(address).path}: {why}") from None
        except (requests.exceptions.InvalidURL, OSError) as error:
            if isinstance(error, requests.exceptions.RequestException) and not isinstance(
                error, requests.exceptions.InvalidURL
            ):
                raise self._lost(creates, _cause(error)) from None
            raise InputError(
                f"{settings.url} cannot be asked: {_cause(error)}", "check url and ca of the server"
            ) from None

    def _away(self, why: str) -> UnreachableError:
        return UnreachableError(
            f"the Pipelines server at {self._settings.url} cannot be reached: {why}",
            "check its address and whether it runs; `ratchet doctor` looks at more",
        )

    def _lost(self, creates: bool, why: str) -> UnreachableError:
        kind = UnclearError if creates else UnreachableError
        return kind(
            f"the Pipelines server at {self._settings.url} did not answer: {why}",
            "try again in a while, or raise timeout and patience of the server in pipelines.yaml",
        )

    def _content(self, answer: requests.Response, call: str) -> Json:
        """What a good answer says."""
        try:
            content = answer.json()
        except ValueError:
            if "html" in answer.headers.get("Content-Type", "") or answer.text.lstrip()[:1] == "<":
                raise self._login(f"{call}: a web page came instead of an answer") from None
            raise ServerError(
                f"{self._settings.url} answered {call} with something that is no JSON",
                "check the address: is it that of Kubeflow Pipelines?",
            ) from None
        return content if isinstance(content, dict) else {}

    def _login(self, why: str) -> UnauthorizedError:
        return UnauthorizedError(
            f"the Pipelines server at {self._settings.url} is behind a login: {why}",
            f"give credentials by the server's section auth, KFP_TOKEN or KFP_COOKIE (in use: {self.credentials})",
        )

    def _error(self, answer: requests.Response, call: str, creates: bool, sent: int) -> Exception:
        status, url = answer.status_code, self._settings.url
        said = _said(answer)
        told = f"{url} answered {call} with {status}{': ' + said if said else ''}"
        if answer.is_redirect:
            host = urlsplit(answer.headers.get("Location", "")).hostname or "another address"
            return self._login(f"{call} was sent on to {host}")
        if status in (401, 403):
            if status == HTTPStatus.UNAUTHORIZED:
                return UnauthorizedError(
                    f"{told}: the credentials are missing, wrong or expired",
                    f"renew them (in use: {self.credentials})",
                )
            where = f" in the namespace {self._settings.namespace}" if self._settings.namespace else ""
            return UnauthorizedError(
                f"{told}: the caller may not do this{where}",
                f"ask for the right, or name the namespace that is yours (credentials in use: {self.credentials})",
            )
        if status == HTTPStatus.NOT_FOUND:
            # A bare one is about the path, not about what is at it.
            if said not in ("", "Not Found"):
                return NotFoundError(told, "it was deleted, or is on another server")
            return NotFoundError(
                f"{told}: there is no Kubeflow Pipelines 2 API",
                f"check the address, with its path: {url}{API}/healthz must answer",
            )
        if status == HTTPStatus.CONFLICT:
            return ConflictError(told, "choose another name, or look at what is there")
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return RefusedError(
                f"{told}: {sent:,} bytes are too many for it",
                "make the pipeline smaller, or raise the limit of the proxy",
            )
        if status in _UNCLEAR and creates:
            return self._lost(creates, f"{call} ended with {status}{': ' + said if said else ''}")
        if status in (429, 502, 503, 504):
            return UnreachableError(told, "the server is busy or restarting: try again in a while")
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return RefusedError(told, "correct what it names")
        broken = creates and status == HTTPStatus.INTERNAL_SERVER_ERROR
        return ServerError(
            told,
            "the server fails so on a pipeline that is broken: run `ratchet lint` on it"
            if broken
            else "look at the server's log",
        )


def _tries(patience: float) -> int:
    """How many repeats with growing pauses fit into a time in seconds."""
    passed, count = 0.0, 0
    while (passed := passed + min(_BACKOFF * 2**count, _LONGEST_BACKOFF)) <= patience:
        count += 1
    return count


def _said(answer: requests.Response) -> str:
    """The server's own first sentence; "" where it sent a page, or nothing that is for people."""
    try:
        content = answer.json()
    except ValueError:
        return ""
    if not isinstance(content, dict):
        return ""
    first = str(content.get("error_message") or content.get("message") or "").strip().partition("\n")[0]
    return first if len(first) <= _LONGEST_SENTENCE else first[: _LONGEST_SENTENCE - 1] + "…"


def _cause(error: BaseException) -> str:
    """The innermost reason that an error gives, without the objects around it."""
    inner: Any = error
    while True:
        deeper = getattr(inner, "reason", None) or next(
            (one for one in reversed(inner.args) if isinstance(one, BaseException)), None
        )
        if not isinstance(deeper, BaseException) or deeper is inner:
            break
        inner = deeper
    return re.sub(r"<[^>]*>:? ?|HTTPS?Connection\([^)]*\):? ?", "", str(inner)).strip() or type(inner).__name__

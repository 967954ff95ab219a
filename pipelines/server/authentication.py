"""Who the caller is, for a server: a bearer token, a session's cookie, headers. Read when needed, never kept in a file, never printed."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from requests import PreparedRequest
from requests.auth import AuthBase

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.server.settings import Authentication

TOKEN, COOKIE, TOKEN_PATH = "KFP_TOKEN", "KFP_COOKIE", "KF_PIPELINES_SA_TOKEN_PATH"
PROJECTED = "/var/run/secrets/kubeflow/pipelines/token"
"""Where KFP's documentation has a pod's service-account token projected; the kubelet renews it."""


class Credentials(AuthBase):  # type: ignore[misc]
    """What is added to each request. A file is read for each, since a projected token is renewed under the same name.

    Args:
        settings: Where the credentials lie.
        url: Of the server: the usual places are for one that is asked by TLS, or within this machine or cluster.
    """

    def __init__(self, settings: Authentication, url: str) -> None:
        self._settings = _usual(url) if settings.is_default else settings

    @property
    def kind(self) -> str:
        """What is used, by its place: "token of $KFP_TOKEN", "none"."""
        one = self._settings
        kinds = (
            one.token_env and f"token of ${one.token_env}",
            one.token_file and f"token in {one.token_file}",
            one.cookie_env and f"cookie of ${one.cookie_env}",
            *(f"{header} of ${variable}" for header, variable in one.headers_env.items()),
        )
        return ", ".join(kind for kind in kinds if kind) or "none"

    @property
    def may_be_renewed(self) -> bool:
        """Whether the credentials may be others when they are read again."""
        return bool(self._settings.token_file)

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add the headers.

        Raises:
            InputError: A variable or file that is named holds nothing.
        """
        for name, value in self._headers().items():
            request.headers[name] = value
        return request

    def __repr__(self) -> str:
        return f"Credentials({self.kind})"

    def _headers(self) -> dict[str, str]:
        one = self._settings
        headers = {name: _variable(variable) for name, variable in one.headers_env.items()}
        if one.cookie_env:
            headers["Cookie"] = _variable(one.cookie_env)
        if one.token_env:
            headers["Authorization"] = f"Bearer {_variable(one.token_env)}"
        elif one.token_file:
            headers["Authorization"] = f"Bearer {_file(one.token_file)}"
        return headers

    def __getstate__(self) -> Any:
        raise TypeError("credentials are not to be stored")


def _usual(url: str) -> Authentication:
    parts = urlsplit(url)
    host = parts.hostname or ""
    # A name without a dot, or a Service's, is found within the cluster alone.
    is_near = host in ("127.0.0.1", "::1") or "." not in host or host.endswith((".svc", ".svc.cluster.local"))
    if parts.scheme == "http" and not is_near:
        return Authentication()
    if os.environ.get(TOKEN):
        return Authentication(token_env=TOKEN)
    named = os.environ.get(TOKEN_PATH, "")
    if named or Path(PROJECTED).exists():
        return Authentication(token_file=named or PROJECTED)
    return Authentication(cookie_env=COOKIE) if os.environ.get(COOKIE) else Authentication()


def _variable(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise InputError(f"the environment variable {name} is empty or not set", "set it to what the server asks for")
    return _in_a_header(value, f"the environment variable {name}")


def _file(path: str) -> str:
    try:
        token = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the token file {path} cannot be read: {getattr(error, 'strerror', '') or 'it is no text'}",
            "mount the projected service-account token there, or name another file",
        ) from None
    if not token:
        raise InputError(f"the token file {path} is empty", "mount the projected service-account token there")
    return _in_a_header(token, f"the token file {path}")


def _in_a_header(value: str, where: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise InputError(f"{where} holds characters that no header can have", "give the bare token, on one line")
    return value

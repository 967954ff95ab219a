"""URIs that hold a secret: parameters are readable in the UI for ever, so none may go there."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from kfp_ratchet.components.shared.canonical import loads
from kfp_ratchet.components.shared.errors import InputError

HIDDEN = "(left out: it held a credential)"
"""What is kept of a parameter that holds a secret."""

_SECRET_WORDS = ("token", "secret", "password", "passwd", "signature", "credential", "accesskey", "apikey")
_SECRET_KEYS = {"key", "sig", "pwd", "auth"}


def credential_in(uri: str) -> str:
    """What in a URI looks like a secret, in words that do not repeat it; "" when nothing does."""
    if "://" not in uri:
        return ""
    try:
        parts = urlsplit(uri)
        has_password = bool(parts.password)
    except ValueError:
        return "an unreadable address" if "@" in uri else ""
    if has_password:
        return "a password"
    # A lone user part of a web address is a token (https://TOKEN@host/...); elsewhere it is a user name (s3a://, postgresql://).
    if parts.username and parts.scheme in ("http", "https"):
        return "a user or token"
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        bare = name.lower().replace("-", "").replace("_", "")
        if bare in _SECRET_KEYS or any(word in bare for word in _SECRET_WORDS):
            return f"a secret in {name!r}"
    return ""


def refuse_credentials(uri: str, setting: str) -> None:
    """Refuse a URI that holds a secret.

    Raises:
        InputError: It does; the message names the setting and never repeats the URI.
    """
    found = credential_in(uri)
    if found:
        raise InputError(
            f"{setting} holds {found} in its URI",
            "parameters can be read by everyone; leave it out and pass it by the environment or a Kubernetes secret",
        )


def without_credentials(value: Any) -> Any:
    """A parameter's value as it may be kept: the value itself, or `HIDDEN` when it is, or is JSON of, a URI that holds a secret."""
    return HIDDEN if any(map(credential_in, _uris(value))) else value


def _uris(value: Any) -> Iterator[str]:
    """The texts in a value that may be URIs: those without a space, also within JSON."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            value = loads(value)
        except ValueError:
            yield from value.split('"')
    if isinstance(value, str) and len(value.split()) == 1:
        yield value.strip()
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _uris(item)

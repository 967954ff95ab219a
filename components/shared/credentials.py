"""Texts and URIs that hold a secret: parameters are readable in the UI for ever, so none may go there."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from kfp_ratchet.components.shared.canonical import loads
from kfp_ratchet.components.shared.detectors import detected
from kfp_ratchet.components.shared.errors import InputError

HIDDEN = "(left out: it held a credential)"
"""What is kept of a parameter that holds a secret."""

_SECRET_WORDS = ("token", "secret", "password", "passwd", "signature", "credential", "accesskey", "apikey")
_SECRET_KEYS = {"key", "sig", "pwd", "auth"}
# What configurations and addresses are looked through for, at every command: a few that are common, without a library.
_SHAPES = {
    "an AWS access key": re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a GitHub token": re.compile(r"\b(gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{22,})"),
    "a Slack token": re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}|hooks\.slack\.com/services/T\w+/B\w+/\w{8,}"),
    "an API key": re.compile(
        r"\bsk-[A-Za-z0-9_-]{20,}|\bAIza[A-Za-z0-9_-]{35}|\bhf_[A-Za-z]{30,}|\bnpm_[A-Za-z0-9]{30,}"
        r"|\b(Shared)?A(ccess|ccount)Key=[\w+/]{20,}"
    ),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a signed token (JWT)": re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*"),
}
_NAMED = re.compile(
    r"""(?<![A-Za-z])(?P<name>password|passwd|pwd|(?:access_?|auth_?|bearer_?)?token|api_?key|client_?secret|secret_?(?:access_?)?key)["']?"""
    r"""\s*(?:=|:)\s*(?P<quote>["']?)(?P<value>[^"'\s&;,(){}\[\]$<>]{4,})(?P<rest>.?)""",
    re.IGNORECASE,
)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s\"'<>\\]+")
_PASSWORD = re.compile(r"://[^\s/:@]+:(?!//|\d+(/|$))[^@\s]+@")
"""Up to the @, since secret keys may hold a slash, where URIs otherwise end their host; a number before a slash is a port."""
_AWS_SECRET = re.compile(r"[A-Za-z0-9/+]{40}")
_AWS_SECRET_BITS = 4.3
"""Entropy a character: 40 random ones of this alphabet have about 4.7, paths and names under 4.2, hex digits at most 4."""
_NOT_THE_SECRET = {
    "name",
    "names",
    "ref",
    "reference",
    "path",
    "file",
    "id",
    "uri",
    "url",
    "env",
    "variable",
    "arn",
    "type",
    "count",
    "limit",
    "column",
    "field",
    "length",
    "min",
    "max",
}


def credential_in(uri: str) -> str:
    """What in a URI looks like a secret, in words that do not repeat it; "" when nothing does."""
    if _PASSWORD.search(uri):
        return "a password"
    if shape := _shape_in(uri):
        return shape
    uri = re.sub("^dvc://", "", uri, flags=re.IGNORECASE)  # what follows is a URI itself, of the Git repository
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
    for name, _ in parse_qsl(f"{parts.query}&{parts.fragment}", keep_blank_values=True):
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


def public_address(uri: str) -> str:
    """A URI without user, password, query and fragment; what is no URI (`git@host:path`, a folder) stays as it is."""
    if "://" not in uri:
        return uri
    try:
        parts = urlsplit(uri)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    except ValueError:
        return ""


def without_credentials(value: Any) -> Any:
    """A parameter's value as it may be kept: the value itself, or `HIDDEN` when it holds a known kind of key, or a URI with a secret."""
    text = str(value)
    return HIDDEN if _shape_in(text) or detected(text) or any(map(credential_in, _uris(value))) else value


def _shape_in(text: str) -> str:
    """The kind of key in a text that is known by its look; "" for none."""
    return next((what for what, shape in _SHAPES.items() if shape.search(text)), "")


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


def secret_in(text: str) -> str:
    """What in any text looks like a secret, in words that do not repeat it; "" when nothing does."""
    if shape := _shape_in(text) or detected(text):
        return shape
    if _AWS_SECRET.fullmatch(text.strip()) and _entropy(text.strip()) > _AWS_SECRET_BITS:
        return "what looks like an AWS secret key"
    for found in _NAMED.finditer(text):
        # In code, only a literal is one: `token=token` and `password = ask()` are none.
        literal = bool(found["quote"]) and found["rest"] == found["quote"]
        if literal or ("\n" not in text and not found["quote"] and found["rest"] not in ("(", "[", "{", "$")):
            return f"a secret in {found['name']!r}"
    return next(
        (f"{what} in a URI" for uri in _URI.findall(text) if "{{" not in uri and (what := credential_in(uri))), ""
    )


def names_secret(name: str) -> bool:
    """Whether a setting of this name holds a secret itself, and not where one lies."""
    said = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]
    pairs = {"".join(pair) for pair in pairwise(said)}
    holds = {*said, *pairs} & {
        "password",
        "passwd",
        "pwd",
        "token",
        "secret",
        "apikey",
        "accesskey",
        "secretkey",
        "credential",
        "credentials",
    }
    return bool(holds) and said[-1] not in _NOT_THE_SECRET


def _entropy(text: str) -> float:
    """Bits a character."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())

"""Where data comes from: listing a source, and getting exactly the files that were listed.

What kind of source it is, its URI's scheme tells; each kind is a module here with a class that keeps `Source`.
"""

import json
import re
from importlib import import_module

from kfp_ratchet.components.shared.credentials import refuse_credentials
from kfp_ratchet.components.shared.dataset import MAIN
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.sources.source import Memory, Source

__all__ = ["Memory", "Source", "open_source", "parse_source"]

_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")

_KINDS = {
    "": "files:Files",
    "file": "files:Files",
    "s3": "objects:Objects",
    "s3a": "objects:Objects",
    "dvc": "tracked:Tracked",
    "https": "web:Web",
    "http": "web:Web",
}
"""Module and class by scheme. Imported when needed: each brings libraries of its own."""


def open_source(uri: str) -> Source:
    """The source behind a URI or path.

    Raises:
        InputError: The scheme is not supported, or the URI holds a secret.
    """
    refuse_credentials(uri, "source")
    match = _SCHEME.match(uri)
    scheme = match[1].lower() if match else ""
    if scheme not in _KINDS:
        known = ", ".join(f"{kind}://" for kind in _KINDS if kind)
        raise InputError(f"source {uri!r}: {scheme}:// is not supported", f"give a path or one of {known}")
    module, _, name = _KINDS[scheme].partition(":")
    opened: Source = getattr(import_module(f"{__name__}.{module}"), name)(uri)
    return opened


def parse_source(text: str) -> dict[str, str]:
    """URIs by table, in the order given; the first is the main table, named `rows` when the source is a single URI.

    Raises:
        InputError: Empty, not valid JSON, or a table's name or URI cannot be one.
    """
    if not text.strip():
        raise InputError("source is empty", "say where the data is: a path, or a JSON object of paths by table")
    if not text.lstrip().startswith("{"):
        return {MAIN: text.strip()}
    try:
        pairs: list[tuple[str, object]] = json.loads(text, object_pairs_hook=list)
    except ValueError as error:
        raise InputError(f"source is not JSON: {error}", 'write e.g. {"flights": "data/flights"}') from None
    tables: dict[str, str] = {}
    for name, uri in pairs:
        if not _TABLE.fullmatch(name):
            raise InputError(f"source: {name!r} cannot be a table's name", "use letters, digits and underscores")
        if name in tables:
            raise InputError(f"source names the table {name!r} twice", "give each table one URI")
        if not isinstance(uri, str) or not uri:
            raise InputError(f"source: the URI of table {name!r} is not a text", "give a path")
        tables[name] = uri
    if not tables:
        raise InputError("source names no table", 'write e.g. {"flights": "data/flights"}')
    return tables

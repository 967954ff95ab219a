"""One call to the server, as the nouns read it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from kfp_ratchet.testing.kfp_server.answers import INVALID, Json, refusal, through_doubles

WHOLE_NUMBERS = ("max_concurrency", "interval_second")
"""Fields that are int64, which JSON has as strings; numbers are taken too."""


@dataclass(frozen=True)
class Call:
    """Query, body and uploaded file of a call."""

    query: Mapping[str, str]
    body: bytes = b""
    filename: str = ""
    upload: bytes = b""

    def json(self, model: str) -> Json:
        """The body, checked against a model of the API: its field names, in either spelling, become those with underscores.

        Args:
            model: Name of a class of `kfp_server_api`, e.g. "V2beta1Run".

        Raises:
            Refusal: 400 for what is no JSON or has a field the API does not know.
        """
        try:
            body = json.loads(self.body or b"{}", parse_constant=_no_constant)
        except ValueError as error:
            raise refusal(INVALID, f"invalid character looking for beginning of value: {error}") from None
        if not isinstance(body, dict):
            raise refusal(INVALID, "proto: syntax error: unexpected token")
        return _known(dict(through_doubles(body)), model)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _known(body: Json, model: str) -> Json:
    fields = _fields(model)
    if unknown := next((name for name in body if name not in fields), None):
        raise refusal(INVALID, f'proto: (line 1:1): unknown field "{unknown}"')
    known = {}
    for name, value in body.items():
        proper, kind = fields[name]
        if value is not None:
            known[proper] = _value(name, value, "int64" if proper in WHOLE_NUMBERS else kind)
    return known


def _value(name: str, value: Any, kind: str) -> Any:
    """A value of a field as the server keeps it."""
    wrong = refusal(INVALID, f"proto: (line 1:1): invalid value for field {name}: {value}")
    if kind == "int64":
        if isinstance(value, bool) or not isinstance(value, int | str) or not re.fullmatch(r"-?\d+", str(value)):
            raise wrong
        return str(value)
    if kind == "datetime":
        try:
            moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except (AttributeError, ValueError):
            raise wrong from None
        return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    model = _class(kind)
    if model is not None and hasattr(model, "allowable_values"):
        if value not in model.allowable_values:
            raise wrong
        return value
    expected = {"str": str, "bool": bool}.get(kind, list if kind.startswith("list[") else dict)
    if not isinstance(value, expected):
        raise wrong
    return _known(value, kind) if model is not None and isinstance(value, dict) else value


def _class(kind: str) -> Any:
    import kfp_server_api

    return getattr(kfp_server_api, kind, None) if kind.isidentifier() else None


@cache
def _fields(model: str) -> dict[str, tuple[str, str]]:
    """The fields of a model in both spellings, each with its proper name and type."""
    found = _class(model)
    fields = {}
    for name, kind in getattr(found, "openapi_types", {}).items():
        first, *rest = name.split("_")
        camel = first + "".join(part.capitalize() for part in rest)
        for spelling in (name, camel, found.attribute_map[name]):
            fields[spelling] = (name, kind)
    return fields

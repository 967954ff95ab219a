"""JSON parameters of steps, read into their models."""

import difflib
from collections.abc import Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from kfp_ratchet.components.shared.canonical import loads
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.names import shortened

Settings = TypeVar("Settings", bound=BaseModel)


def parse_parameter(model: type[Settings], text: str, parameter: str) -> Settings:
    """Read a parameter's JSON object into its model; an empty text means all defaults.

    Raises:
        InputError: Not JSON, an unknown key or a bad value; the message names `parameter` and the key.
    """
    try:
        return model.model_validate(loads(text or "{}"))
    except ValidationError as error:
        entries = error.errors()
        problems = [_explain(model, parameter, entry) for entry in entries]
        section = _section(model, entries[0]["loc"])
        raise InputError("; ".join(problems), f"known settings: {', '.join(section.model_fields)}") from None
    except ValueError as error:
        raise InputError(f"{parameter} is not JSON: {error}", "pass a JSON object, e.g. {}") from None


def _explain(model: type[BaseModel], parameter: str, entry: Any) -> str:
    location, kind = entry["loc"], entry["type"]
    place = ".".join([parameter, *map(str, location)])
    known = _section(model, location).model_fields
    if kind == "string_pattern_mismatch" and location[-1] in known:
        return f"{place}: {shortened(repr(entry['input']))} does not fit: {known[location[-1]].description}"
    if kind != "extra_forbidden":
        return f"{place}: {entry['msg'].removeprefix('Value error, ')}"
    near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.4)
    return f"{place} is not a setting" + (f" (did you mean {near[0]}?)" if near else "")


def _section(model: type[BaseModel], location: Sequence[Any]) -> type[BaseModel]:
    """The model that holds the last key of `location`."""
    for key in location[:-1]:
        field = model.model_fields.get(str(key))
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not inner:
            break
        model = inner[0]
    return model

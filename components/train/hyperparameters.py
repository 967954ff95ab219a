"""Hyperparameters: a JSON object in a text between steps, a workload's own model inside."""

import difflib
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from kfp_ratchet.components.shared.errors import InputError

Hyperparameters = TypeVar("Hyperparameters", bound=BaseModel)


def parse_hyperparameters(text: str) -> dict[str, Any]:
    """Hyperparameters from JSON.

    Raises:
        InputError: `text` is not a JSON object.
    """
    try:
        value = json.loads(text or "{}")
    except ValueError as error:
        raise InputError(f"parameters is not JSON: {error}", "pass a JSON object, e.g. {}") from None
    if not isinstance(value, dict):
        raise InputError(f"parameters is {text}, not a JSON object", 'pass e.g. {"epochs": 5}')
    return value


def read_hyperparameters(model: type[Hyperparameters], given: Mapping[str, Any], workload: str) -> Hyperparameters:
    """Check a workload's hyperparameters.

    Raises:
        InputError: One is unknown (the nearest name is suggested) or has a bad value.
    """
    for name in given:
        if name not in model.model_fields:
            near = difflib.get_close_matches(name, model.model_fields, n=1, cutoff=0)
            raise InputError(
                f"{workload} has no hyperparameter {name!r}; did you mean {near[0]!r}?",
                f"it has {', '.join(model.model_fields)}",
            )
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"hyperparameter {place!r} of {workload} is {first['input']!r}: {first['msg']}", "fix parameters"
        ) from None

"""Pipeline parameters that someone gives at the start of a run, held to the rules of `ratchet.yaml`."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from kfp_ratchet.components.shared.canonical import loads
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.window import Window, exclusive_end
from kfp_ratchet.components.validate.settings import Checks
from kfp_ratchet.pipelines.config import PARAMETERS, SECTIONS, Config, check_fit
from kfp_ratchet.pipelines.config_problems import problems_of
from kfp_ratchet.pipelines.config_yaml import KeyPath, Marked


def check_parameters(values: Mapping[str, str | int]) -> None:
    """Check parameters of `continuous_training` before a step has to.

    Columns and policy are also held against each other when both are there, so pass what the run will get, not only what is new.
    The text of `schema` is left to the step that imports pandera.

    Args:
        values: Value by parameter, as given on the command line: sections are JSON text.

    Raises:
        InputError: Something is wrong: every problem is listed with its parameter and key, and the nearest right one.
    """
    given = {name: _value(name, value) for name, value in values.items()}
    model = _model()
    try:
        # As `config.load` does: by way of JSON, and strict.
        model.model_validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        marked = Marked(given, dict.fromkeys(_paths(given), 0))
        problems = [text for _, text in problems_of(error, marked, model.model_json_schema())]
        raise InputError(
            "\n".join(problems), "fix what is named; docs/configuration.md of kfp-ratchet explains every key"
        ) from None


def _value(name: str, value: str | int) -> Any:
    """What a parameter's text says: the object when it is JSON, `source` only when it looks like one."""
    if not isinstance(value, str) or not (name in SECTIONS or (name == "source" and value.lstrip().startswith("{"))):
        return value
    try:
        return loads(value or "{}")
    except ValueError as error:
        raise InputError(
            f"{name} is not JSON: {error}", f"""pass a JSON object, e.g. -p {name}='{{"key": 1}}'"""
        ) from None


class _Fitting(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _sections_fit_each_other(self) -> "_Fitting":
        if {"policy", "columns"} <= self.model_fields_set:
            window, checks = getattr(self, "window", None), getattr(self, "checks", None)
            check_fit(self.columns, self.policy, window or Window(), checks or Checks())  # type: ignore[attr-defined]
        return self


@cache
def _model() -> type[_Fitting]:
    """Every parameter by name, none required; what has a key in `ratchet.yaml` is that key."""
    keys = {field.alias or name: field for name, field in Config.model_fields.items()}
    fields: dict[str, Any] = {
        name: (Annotated[key.annotation, Field(description=key.description), *key.metadata], None)
        for name in PARAMETERS
        if (key := keys.get({"model_name": "name"}.get(name, name))) is not None and name != "schema"
    }
    as_of = Annotated[str, AfterValidator(_moment)]
    return create_model(
        "parameters",
        __base__=_Fitting,
        **fields,
        row_schema=(str, Field(default="", alias="schema", description="The user's schema.")),
        as_of=(as_of, Field(default="", description="Leave out rows after this ISO month, date or time.")),
    )


def _moment(text: str) -> str:
    if text:
        exclusive_end(text)
    return text


def _paths(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from _paths(item, (*path, key))

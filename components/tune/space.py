"""The search space: which hyperparameters are searched, and where."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from kfp_ratchet.components.shared.errors import InputError

if TYPE_CHECKING:
    # The command reads configurations with this module, and optuna takes long to import.
    import optuna


class FloatDimension(BaseModel):
    """A real number in [low, high]."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["float"] = Field(description="What kind of values it takes.")
    low: float = Field(allow_inf_nan=False, description="Least value.")
    high: float = Field(allow_inf_nan=False, description="Largest value.")
    log: bool = Field(default=False, description="Search on a logarithmic scale.")
    step: float | None = Field(default=None, gt=0, description="Distance between values.")
    default: float | None = Field(default=None, description="Tried first.")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        _check_range(self.low, self.high, self.log, self.step, self.default)
        return self


class IntDimension(BaseModel):
    """A whole number in [low, high]."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["int"] = Field(description="What kind of values it takes.")
    low: int = Field(description="Least value.")
    high: int = Field(description="Largest value.")
    log: bool = Field(default=False, description="Search on a logarithmic scale.")
    step: int | None = Field(default=None, gt=0, description="Distance between values.")
    default: int | None = Field(default=None, description="Tried first.")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        _check_range(self.low, self.high, self.log, self.step, self.default)
        return self


class CategoricalDimension(BaseModel):
    """One of a few values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["categorical"] = Field(description="What kind of values it takes.")
    choices: tuple[str | int | float | bool | None, ...] = Field(min_length=1, description="The values.")
    default: str | int | float | bool | None = Field(default=None, description="Tried first.")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.default is not None and self.default not in self.choices:
            raise ValueError(f"default {self.default!r} is not one of the choices")
        return self


Dimension = Annotated[FloatDimension | IntDimension | CategoricalDimension, Field(discriminator="type")]
SearchSpace = dict[str, Dimension]
"""Dimension by hyperparameter; the section `search_space` of a `ratchet.yaml`."""

_ADAPTER: TypeAdapter[SearchSpace] = TypeAdapter(SearchSpace)


def parse_space(text: str) -> SearchSpace:
    """Read a search space from JSON; an empty one is empty.

    Raises:
        InputError: Not JSON, or not a search space; the message names the key.
    """
    try:
        return read_space(json.loads(text or "{}"), "search_space")
    except json.JSONDecodeError as error:
        raise InputError(f"search_space is not JSON: {error}", "pass a JSON object, e.g. {}") from None


def read_space(value: Any, where: str) -> SearchSpace:
    """Check a search space.

    Raises:
        InputError: It is not one; the message names `where` and the key.
    """
    try:
        return _ADAPTER.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([where, *(str(part) for part in first["loc"])])
        raise InputError(
            f"{place}: {first['msg'].removeprefix('Value error, ')}",
            'a dimension is e.g. {"type": "float", "low": 0.0001, "high": 0.01, "log": true}, an int with step, or a '
            "categorical with choices",
        ) from None


def suggest(trial: "optuna.Trial", space: SearchSpace) -> dict[str, Any]:
    """Let the sampler choose a value for each dimension."""
    return {name: _suggest(trial, name, dimension) for name, dimension in sorted(space.items())}


def defaults(space: Mapping[str, Dimension]) -> dict[str, Any]:
    """The dimensions' own defaults, of those that have one."""
    return {name: dimension.default for name, dimension in space.items() if dimension.default is not None}


def _suggest(trial: "optuna.Trial", name: str, dimension: Dimension) -> Any:
    if isinstance(dimension, CategoricalDimension):
        return trial.suggest_categorical(name, dimension.choices)
    if isinstance(dimension, IntDimension):
        return trial.suggest_int(name, dimension.low, dimension.high, log=dimension.log, step=dimension.step or 1)
    return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def _check_range(low: float, high: float, log: bool, step: float | None, default: float | None) -> None:
    if low > high:
        raise ValueError(f"low {low:g} is above high {high:g}")
    if log and low <= 0:
        raise ValueError(f"low must be above 0 on a logarithmic scale, not {low:g}")
    if log and step is not None:
        raise ValueError("log and step exclude each other")
    if default is not None and not low <= default <= high:
        raise ValueError(f"default {default:g} is outside [{low:g}, {high:g}]")

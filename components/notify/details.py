"""What the report draws of each step's details, read leniently: what is missing or misshapen is left out, never an error."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

Shape = TypeVar("Shape", bound=BaseModel)


class _Lenient(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)


class Trial(_Lenient):
    """One trial of `tune`."""

    number: int
    state: str = ""
    value: float | None = None
    parameters: dict[str, Any] = {}
    seconds: float | None = None
    epochs: int | None = None
    error: str = ""

    @property
    def pruned(self) -> bool:
        return self.state.lower() == "pruned"

    @property
    def failed(self) -> bool:
        return self.state.lower() in ("fail", "failed")


class TableCount(_Lenient):
    """Rows of one table that `validate` looked at."""

    rows: int | None = None
    accepted: int | None = None
    quarantined: int | None = None


class Finding(_Lenient):
    """One check of `validate` that failed: how many rows, or why when it is not about rows."""

    table: str = ""
    column: str = ""
    check: str = ""
    count: int | None = None
    share: float | None = None
    reason: str = ""
    examples: tuple[dict[str, Any], ...] = ()


class Rule(_Lenient):
    """A check of `validate` over whole tables."""

    name: str
    outcome: str = ""
    reason: str = ""


class Bin(_Lenient):
    """One bin of the calibration curve: mean prediction, and what was observed with its interval."""

    predicted: float
    observed: float
    low: float | None = None
    high: float | None = None
    count: int | None = None


class Importance(_Lenient):
    """How much a feature matters to the candidate."""

    feature: str
    importance: float
    low: float | None = None
    high: float | None = None


def each(shape: type[Shape], values: Any) -> list[Shape]:
    """Those of `values` (a list of objects) that have this shape."""
    found = []
    for value in values if isinstance(values, list | tuple) else ():
        try:
            found.append(shape.model_validate(value))
        except ValidationError:
            continue
    return found


def mapping(value: Any) -> dict[str, Any]:
    """`value` when it is an object, else an empty one."""
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


def numbers(value: Any) -> dict[str, float]:
    """The entries of an object that are numbers."""
    found = mapping(value)
    return {k: float(v) for k, v in found.items() if isinstance(v, int | float) and not isinstance(v, bool)}

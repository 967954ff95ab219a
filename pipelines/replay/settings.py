"""`replay.yaml`: which periods to replay, and how what had arrived by then comes to lie where `ratchet.yaml` looks."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.window import exclusive_end
from kfp_ratchet.pipelines.config import PARAMETERS
from kfp_ratchet.pipelines.config_problems import nearest, problems_of
from kfp_ratchet.pipelines.config_yaml import read_yaml

FILE = "replay.yaml"
MOVED: Mapping[str, str] = {
    "as_of": "the replay moves it from period to period",
    "source": "the replay reads what ratchet.yaml names",
    "model_name": "the replay reads its ledger under the name in ratchet.yaml",
    **dict.fromkeys(("store", "tracking_uri", "serving", "notifications"), "the replay keeps it inside its own folder"),
}
"""Parameters that no replay may be given, and why."""

_REMEDY = "write e.g. `periods: 2025-01..2025-12`, or give --periods 2025-01..2025-12"
_RANGE = re.compile(r"(\d{4})-(\d{2})\.\.(\d{4})-(\d{2})")
_MOST_PERIODS = 1000


def spelled_out(periods: Any) -> Any:
    """`2025-01..2025-12` as its months; a list as it is.

    Raises:
        ValueError: It is text of another form, or no month.
    """
    if not isinstance(periods, str):
        return tuple(periods) if isinstance(periods, list) else periods
    match = _RANGE.fullmatch(periods)
    if not match:
        raise ValueError(f"{periods!r} is no range of months such as 2025-01..2025-12, and no list of months or dates")
    first, last = (date(int(year), int(month), 1) for year, month in (match.group(1, 2), match.group(3, 4)))
    count = (last.year - first.year) * 12 + last.month - first.month + 1
    if count < 1:
        raise ValueError(f"{periods!r} ends before it begins")
    months = (first.year * 12 + first.month - 1 + index for index in range(min(count, _MOST_PERIODS + 1)))
    return tuple(f"{month // 12:04}-{month % 12 + 1:02}" for month in months)


class Replay(BaseModel):
    """What a replay does beyond `ratchet.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True, title=FILE)

    periods: Annotated[tuple[str, ...], BeforeValidator(spelled_out)] = Field(
        min_length=1,
        max_length=_MOST_PERIODS,
        description="The retrains in order, each an ISO month, date or time that stands for `as_of`: a list, or a range of months "
        "such as 2025-01..2025-12.",
    )
    feed: str = Field(
        default="",
        pattern=r"^$|^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="module:function, called with a period and the folder of the replay's copy of the project; it puts what had "
        "arrived by then where `source` looks. Without one the data is read as it is.",
    )
    incidents: dict[str, str] = Field(
        default={},
        description="What the feed injects, by period: shown beside what was found, never used to find it.",
    )
    parameters: dict[str, Any] = Field(
        default={}, description="Pipeline parameters that replace those of ratchet.yaml, as with `ratchet run -p`."
    )

    @field_validator("periods")
    @classmethod
    def _in_order(cls, periods: tuple[str, ...]) -> tuple[str, ...]:
        ends = [exclusive_end(period) for period in periods]
        for index in range(1, len(ends)):
            if ends[index] <= ends[index - 1]:
                raise ValueError(f"{periods[index]} does not come after {periods[index - 1]}")
        return periods

    @field_validator("incidents")
    @classmethod
    def _are_of_a_period(cls, incidents: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        periods = info.data.get("periods", incidents)
        for period in incidents:
            if period not in periods:
                raise ValueError(f"{period!r} is none of the periods{nearest(period, periods)}")
        return incidents

    @field_validator("parameters")
    @classmethod
    def _may_be_given(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        for name in parameters:
            if name not in PARAMETERS:
                raise ValueError(f"there is no parameter {name!r}{nearest(name, PARAMETERS)}")
            if name in MOVED:
                raise ValueError(f"{name} cannot be set: {MOVED[name]}")
        return {
            name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in parameters.items()
        }


def load(folder: Path, periods: str = "") -> Replay:
    """Settings of a project's replay: its `replay.yaml`, or `periods` alone.

    Args:
        folder: The project's.
        periods: From the command line; replaces those of the file. A range of months, or months and dates with commas between.

    Raises:
        InputError: Neither says what to replay, or something is wrong: every problem is listed with its line.
    """
    path = folder / FILE
    if not path.exists():
        if not periods:
            raise InputError(f"there is no {path}, so no period to replay", _REMEDY)
        return _checked({}, periods)
    try:
        marked = read_yaml(path)
    except InputError as error:
        raise InputError(error.message, _REMEDY) from None
    problems = list(marked.problems)
    settings = {key: value for key, value in marked.value.items() if value is not None}
    if periods:
        return _checked({**settings, "incidents": {}}, periods)
    try:
        replay = Replay.model_validate_json(json.dumps(settings), strict=True)
    except ValidationError as error:
        problems += problems_of(error, marked, Replay.model_json_schema())
    if problems:
        raise InputError("\n".join(f"{path}:{line}: {text}" for line, text in sorted(problems)))
    return replay


def until(periods: Sequence[str], last: str) -> tuple[str, ...]:
    """The periods up to and including `last`, all of them when it is "".

    Raises:
        InputError: `last` is not one of them.
    """
    if last and last not in periods:
        raise InputError(
            f"--until {last}: not one of the periods{nearest(last, periods)}", f"there are {', '.join(periods)}"
        )
    return tuple(periods[: periods.index(last) + 1] if last else periods)


def _checked(settings: dict[str, Any], periods: str) -> Replay:
    listed = periods if ".." in periods else [period.strip() for period in periods.split(",")]
    try:
        return Replay.model_validate({**settings, "periods": listed})
    except ValidationError as error:
        told = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise InputError(f"--periods {periods}: {told}", "write e.g. --periods 2025-01..2025-12") from None

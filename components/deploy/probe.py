"""Ask a model server real questions and compare its answers."""

import json
import math
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kfp_ratchet.components.shared.errors import RatchetError

TOLERANCE = 1e-5
"""Largest difference of two answers, relative for values above 1. A float32 network that scores other batches on another number of
threads differs by about 1e-6; a column read wrongly by far more."""

_HEALTH_SECONDS = 2
_ANSWER_SECONDS = 60


class Probe(BaseModel):
    """Raw rows and the answers the model gave to them."""

    model_config = ConfigDict(frozen=True)

    rows: dict[str, Any] = Field(description="pandas orient `split`: columns, data.")
    scores: list[Any] = Field(description="One score a row, or one list of scores (a class each) a row.")

    @classmethod
    def read(cls, path: Path) -> "Probe":
        """Read a probe file.

        Raises:
            RatchetError: The file is not a probe.
        """
        try:
            return cls.model_validate(json.loads(path.read_text()))
        except (OSError, ValueError) as error:
            raise RatchetError(f"{path} is not a probe: {error}", "pass the output `evidence` of evaluate") from error


class Answered(BaseModel):
    """How a server answered a probe."""

    model_config = ConfigDict(frozen=True)

    rows: int
    max_difference: float


def question(rows: dict[str, Any]) -> dict[str, Any]:
    """The body of a request for predictions."""
    return {"dataframe_split": {key: rows[key] for key in ("columns", "data")}}


def ask(url: str, rows: dict[str, Any]) -> list[Any]:
    """A server's predictions for raw rows.

    Raises:
        RatchetError: It does not answer, or with an error.
    """
    content = json.dumps(question(rows)).encode()
    request = urllib.request.Request(  # noqa: S310
        f"{url}/invocations", content, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as response:  # noqa: S310
            return list(json.load(response)["predictions"])
    except urllib.error.HTTPError as error:
        raise RatchetError(
            f"the model server answers with an error: {error.read()[:500].decode(errors='replace')}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RatchetError(
            f"the model server at {url} does not answer: {error}",
            "was it killed, or is memory short? See its server.log, then try again",
        ) from error


def check(url: str, probe: Probe) -> Answered:
    """Ask a server and compare its answers with the expected ones.

    Raises:
        RatchetError: It does not answer, or wrongly.
    """
    return compare(ask(url, probe.rows), probe)


def compare(answers: list[Any], probe: Probe) -> Answered:
    """Compare answers with the expected ones.

    Raises:
        RatchetError: An answer is missing, not finite, or differs by more than `TOLERANCE`; names the row.
    """
    if len(answers) != len(probe.scores):
        raise RatchetError(f"the model server gave {len(answers)} answers to {len(probe.scores)} rows")
    largest = 0.0
    for row, (answer, expected) in enumerate(zip(answers, probe.scores, strict=True)):
        pairs = list(zip(_numbers(answer), _numbers(expected), strict=False))
        same_shape = len(_numbers(answer)) == len(_numbers(expected))
        difference = max((abs(got - wanted) / max(1.0, abs(wanted)) for got, wanted in pairs), default=math.inf)
        if not same_shape or not difference <= TOLERANCE:
            raise RatchetError(
                f"the model server answers {answer} to row {row} of the probe; the model itself said {expected}",
                "the model does not survive being saved and served; compare its preprocessing of JSON values",
            )
        largest = max(largest, difference)
    return Answered(rows=len(answers), max_difference=largest)


def get_json(url: str) -> dict[str, Any] | None:
    """The JSON object at `url`, None when nothing answers in time."""
    try:
        with urllib.request.urlopen(url, timeout=_HEALTH_SECONDS) as response:  # noqa: S310
            content = json.load(response)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _numbers(answer: Any) -> list[float]:
    values = answer.values() if isinstance(answer, dict) else answer if isinstance(answer, list) else [answer]
    return [float("nan") if value is None else float(value) for value in values]

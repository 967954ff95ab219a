"""What the gate asks of a challenger: the section `policy:` of `ratchet.yaml`. Imports nothing heavy."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from kfp_ratchet.components.shared.canonical import digest, dumps
from kfp_ratchet.components.shared.columns import Problem
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.parameters import parse_parameter


@dataclass(frozen=True)
class Kind:
    """What a metric is good for; how it is computed stands in `metrics.py`."""

    greater_is_better: bool
    problems: tuple[Problem, ...]
    in_unit_interval: bool = False
    """Its values lie in [0, 1], so that a margin or floor beyond can never be met."""


_CLASSES: tuple[Problem, ...] = ("binary", "multiclass")
METRICS: Mapping[str, Kind] = {
    "roc_auc": Kind(True, ("binary",), True),
    "average_precision": Kind(True, ("binary",), True),
    "log_loss": Kind(False, _CLASSES),
    "brier": Kind(False, _CLASSES),
    "accuracy": Kind(True, _CLASSES, True),
    "balanced_accuracy": Kind(True, _CLASSES, True),
    "f1_macro": Kind(True, _CLASSES, True),
    "rmse": Kind(False, ("regression",)),
    "mae": Kind(False, ("regression",)),
    "r2": Kind(True, ("regression",)),
}
DEFAULT_METRIC: Mapping[Problem, str] = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}

_SETTINGS = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FirstModel(BaseModel):
    """What is asked when there is no champion yet."""

    model_config = _SETTINGS

    margin: float = Field(
        default=0.0,
        ge=0,
        description="How much the first model must beat the trivial one (prevalence, class shares or mean) by.",
    )


class Slices(BaseModel):
    """Look for values of columns.slices on which the candidate is shown to be worse than the champion."""

    model_config = _SETTINGS

    margin: float = Field(
        default=0.0,
        ge=0,
        description="Loss that is tolerated on a slice, in the metric's unit; only one that is shown to be larger refuses the candidate.",
    )
    min_rows: int = Field(default=200, ge=2, description="Smaller slices are named and never refuse.")


class Policy(BaseModel):
    """What the gate asks. A candidate is promoted only when every check passes."""

    model_config = _SETTINGS

    metric: str = Field(
        default="",
        description=f"What models are compared by: {', '.join(METRICS)}. When empty: roc_auc for binary, log_loss for multiclass, "
        "rmse for regression.",
    )
    margin: float = Field(
        default=0.0,
        ge=0,
        description="How much better than the champion the candidate must be, in the metric's unit; the whole interval of the gain must "
        "lie above it.",
    )
    first_model: FirstModel = Field(default=FirstModel(), description="What is asked when there is no champion yet.")
    confidence: float = Field(
        default=0.95,
        gt=0.5,
        lt=1,
        description="Confidence of each end of an interval by itself (one-sided); the ends together hold 2 * confidence - 1. At 0.95, "
        "of candidates that are no better about one in twenty is promoted.",
    )
    resamples: int = Field(default=2000, ge=200, le=100_000, description="Bootstrap resamples of the evaluation rows.")
    min_rows: int = Field(default=200, ge=2, description="With fewer rows to judge on the verdict is inconclusive.")
    min_class_rows: int = Field(
        default=20,
        ge=1,
        description="Classification: with fewer rows of any class the verdict is inconclusive.",
    )
    floors: dict[str, float] = Field(
        default={},
        description="Worst value of the candidate that is acceptable, by metric, e.g. {roc_auc: 0.65, log_loss: 0.6}; the whole "
        "interval must keep it.",
    )
    slices: Slices | None = Field(
        default=Slices(),
        description="Refuse a candidate that is shown to be worse on a value of one of columns.slices; null asks nothing of them.",
    )
    max_latency_ms: float | None = Field(
        default=None,
        gt=0,
        description="Most milliseconds that 95 % of single-row predictions may take; not asked when left out.",
    )

    @field_validator("metric")
    @classmethod
    def _metric_exists(cls, name: str) -> str:
        return _known(name) if name else name

    @field_validator("floors")
    @classmethod
    def _floors_can_be_met(cls, floors: dict[str, float]) -> dict[str, float]:
        for name, bound in floors.items():
            if METRICS[_known(name)].in_unit_interval and not 0 <= bound < 1:
                raise ValueError(f"no model can be shown to keep {name} = {bound:g}: {name} lies between 0 and 1")
        return floors

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a policy from JSON text.

        Raises:
            InputError: Not JSON, an unknown key (the nearest right one is named), or a value out of range.
        """
        return parse_parameter(cls, text, "policy")

    def metric_for(self, problem: Problem) -> str:
        """The metric to judge a kind of problem by.

        Raises:
            InputError: A named metric or floor does not fit the problem, or a margin can never be met.
        """
        metric = self.metric or DEFAULT_METRIC[problem]
        for key, name in (("metric", metric), *((f"floors.{name}", name) for name in self.floors)):
            if problem not in METRICS[name].problems:
                fitting = ", ".join(other for other, kind in METRICS.items() if problem in kind.problems)
                raise InputError(f"policy.{key}: {name} does not fit a {problem} target", f"use one of {fitting}")
        if METRICS[metric].in_unit_interval:
            for key, margin in (("margin", self.margin), ("first_model.margin", self.first_model.margin)):
                if margin >= 1:
                    raise InputError(
                        f"policy.{key}: {metric} lies between 0 and 1, so no model can be better by {margin:g}",
                        "give the margin in the metric's unit, e.g. 0.005",
                    )
        return metric

    def digest(self) -> str:
        """Digest of the whole policy, defaults included."""
        return digest(dumps(self.model_dump(mode="json")))


def _known(name: str) -> str:
    if name in METRICS:
        return name
    near = difflib.get_close_matches(name, METRICS, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"there is no metric {name!r}; {hint}there are {', '.join(METRICS)}")

"""What the gate asks of a challenger: the section `policy:` of `ratchet.yaml`. Imports nothing heavy."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from kfp_ratchet.components.gate.metric_kinds import DEFAULT_METRIC, METRICS, Kind, fitting, parse
from kfp_ratchet.components.shared.canonical import digest, dumps
from kfp_ratchet.components.shared.columns import Problem
from kfp_ratchet.components.shared.decision import Question
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.parameters import parse_parameter

NON_INFERIORITY_MARGIN = 0.005
"""What the preset `fresh` gives away at most, of a metric in [0, 1], when nothing is said."""
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

    margin: float | None = Field(
        default=None,
        ge=0,
        description="Loss that is tolerated on a slice, in the metric's unit; only one that is shown to be larger refuses the candidate. "
        "When left out: none by the preset strict, non_inferiority_margin by fresh.",
    )
    min_rows: int = Field(default=200, ge=2, description="Smaller slices are named and never refuse.")


class Budget(BaseModel):
    """What the candidate may cost to run. Each is shown to be kept, shown to be broken, or left open, as everything else."""

    model_config = _SETTINGS

    latency_p50_ms: float | None = Field(
        default=None, gt=0, description="Most milliseconds that half of single-row predictions may take."
    )
    latency_p95_ms: float | None = Field(
        default=None, gt=0, description="Most milliseconds that 95 % of single-row predictions may take."
    )
    memory_mb: float | None = Field(
        default=None,
        gt=0,
        description="Most megabytes by which a fresh process may grow when it loads the model and scores 2,000 rows.",
    )
    size_mb: float | None = Field(default=None, gt=0, description="Most megabytes that the model's weights may take.")
    times_champion: float | None = Field(
        default=None, gt=0, description="Most that latency, memory and size may be, as multiples of the champion's."
    )

    @property
    def of_operations(self) -> bool:
        """Is something asked that has to be measured anew each time?"""
        asked = (self.latency_p50_ms, self.latency_p95_ms, self.memory_mb, self.times_champion)
        return any(bound is not None for bound in asked)


class Policy(BaseModel):
    """What the gate asks. A candidate is promoted only when every check passes."""

    model_config = _SETTINGS

    preset: Literal["strict", "fresh"] = Field(
        default="strict",
        description="strict: the candidate must be shown to be better than the champion. fresh: shown to be no worse by "
        "non_inferiority_margin than the champion, nor than the last one that was shown to be better.",
    )
    metric: str = Field(
        default="",
        description=f"What models are compared by: {', '.join(METRICS)}, or package.module:function. precision, recall and f1 take a "
        "threshold (f1@0.3), precision and recall the rows of highest score (recall@top100, recall@top0.05), pinball its quantile "
        "(pinball@0.9). When empty: roc_auc for binary, log_loss for multiclass, rmse for regression.",
    )
    margin: float = Field(
        default=0.0,
        ge=0,
        description="How much better than the champion the candidate must be, in the metric's unit; the whole interval of the gain must "
        "lie above it. Of the preset strict.",
    )
    non_inferiority_margin: float | None = Field(
        default=None,
        gt=0,
        description="How much worse the candidate may be, in the metric's unit; the whole interval of the gain must lie above minus it. "
        f"Of the preset fresh; {NON_INFERIORITY_MARGIN:g} for metrics between 0 and 1 when left out.",
    )
    first_model: FirstModel = Field(default=FirstModel(), description="What is asked when there is no champion yet.")
    beats_baseline: bool = Field(
        default=True,
        description="Every candidate must be shown to beat the trivial model (prevalence, class shares or mean), not only the first.",
    )
    confidence: float = Field(
        default=0.95,
        gt=0.5,
        lt=1,
        description="Confidence of each end of an interval by itself (one-sided); the ends together hold 2 * confidence - 1. At 0.95, "
        "of candidates that are no better about one in twenty is promoted.",
    )
    resamples: int = Field(
        default=2000, ge=200, le=100_000, description="Bootstrap resamples, where intervals have no closed form."
    )
    min_rows: int = Field(default=200, ge=2, description="With fewer rows to judge on the verdict is inconclusive.")
    min_class_rows: int = Field(
        default=20,
        ge=1,
        description="Classification: with fewer rows of any class the verdict is inconclusive.",
    )
    min_clusters: int = Field(
        default=10, ge=2, description="With fewer values of columns.cluster the verdict is inconclusive."
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
    cost_matrix: tuple[tuple[float, ...], ...] = Field(
        default=(),
        description="For expected_cost: what an answer costs, one row for each true class, one column for each answer, in the classes' "
        "order, e.g. [[0, 1], [5, 0]] where a missed positive costs five times a false alarm.",
    )
    budget: Budget = Field(
        default=Budget(), description="What the candidate may cost to run; nothing is asked by default."
    )
    score_range: tuple[float, float] | None = Field(
        default=None,
        description="Least and largest score that the candidate may give; probabilities lie in [0, 1] anyway.",
    )
    max_churn: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Classification: largest share of rows whose likeliest class may differ from the champion's answer.",
    )
    approval: Literal["none", "required"] = Field(
        default="none", description="required: what the gate promotes waits until a person approves it."
    )
    on_inconclusive: Literal["keep", "fail"] = Field(
        default="keep",
        description="An inconclusive verdict keeps the champion; fail makes the run red as well. The exit code is 4 either way.",
    )

    @property
    def question(self) -> Question:
        """What has to be shown of the gain over a champion."""
        return "superiority" if self.preset == "strict" else "non_inferiority"

    @field_validator("metric")
    @classmethod
    def _metric_exists(cls, name: str) -> str:
        if name:
            parse(name)
        return name

    @field_validator("floors")
    @classmethod
    def _floors_can_be_met(cls, floors: dict[str, float]) -> dict[str, float]:
        for name, bound in floors.items():
            known = _built_in(name)
            if known is None or not known.in_unit_interval:
                continue
            side = 0 <= bound < 1 if known.greater_is_better else 0 < bound <= 1
            if not side:
                raise ValueError(f"no model can be shown to keep {name} = {bound:g}: {name} lies between 0 and 1")
        return floors

    @field_validator("score_range")
    @classmethod
    def _range_has_room(cls, bounds: tuple[float, float] | None) -> tuple[float, float] | None:
        if bounds and not bounds[0] < bounds[1]:
            raise ValueError(f"no score lies between {bounds[0]:g} and {bounds[1]:g}; give the least and the largest")
        return bounds

    @field_validator("cost_matrix")
    @classmethod
    def _matrix_is_square(cls, matrix: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
        if any(len(row) != len(matrix) for row in matrix) or len(matrix) == 1:
            raise ValueError("must have as many columns as rows, one for each class, at least two")
        if matrix and all(len(set(row)) == 1 for row in matrix):
            raise ValueError("every answer costs the same whatever is true, so no model can be better than another")
        return matrix

    @model_validator(mode="after")
    def _settings_fit_each_other(self) -> Self:
        if self.preset == "fresh" and self.margin:
            raise ValueError(
                "margin is of the preset strict, and preset is fresh; set non_inferiority_margin, or leave margin out"
            )
        if self.preset == "strict" and self.non_inferiority_margin is not None:
            raise ValueError("non_inferiority_margin is of the preset fresh; set preset: fresh, or leave it out")
        costs = [name for name in (self.metric, *self.floors) if name == "expected_cost"]
        if costs and not self.cost_matrix:
            raise ValueError("expected_cost needs cost_matrix, e.g. [[0, 1], [5, 0]]")
        if self.cost_matrix and not costs:
            raise ValueError("cost_matrix is of the metric expected_cost; set metric: expected_cost, or leave it out")
        return self

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a policy from JSON text.

        Raises:
            InputError: Not JSON, an unknown key (the nearest right one is named), or a value out of range.
        """
        return parse_parameter(cls, text, "policy")

    @classmethod
    def of(cls, given: Self | Mapping[str, Any]) -> Self:
        """A policy, or one with these keys and values.

        Raises:
            InputError: It is neither, or as in `parse`.
        """
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            raise InputError(f"policy is {given!r:.60}", "pass Policy(…), or a mapping of its keys")
        try:
            return cls.parse(json.dumps(dict(given)))
        except TypeError as error:
            raise InputError(f"policy: {error}", "pass numbers, text, lists and mappings") from None

    def metric_for(self, problem: Problem) -> str:
        """The metric to judge a kind of problem by.

        Raises:
            InputError: A metric, floor or setting does not fit the problem, a margin can never be met, or is missing.
        """
        metric = self.metric or DEFAULT_METRIC[problem]
        for key, name in (("metric", metric), *((f"floors.{name}", name) for name in self.floors)):
            known = _built_in(name)
            if known and problem not in known.problems:
                raise InputError(
                    f"policy.{key}: {name} does not fit a {problem} target", f"use one of {', '.join(fitting(problem))}"
                )
        if metric == "calibration_error" and self.beats_baseline:
            raise InputError(
                "policy.metric: the trivial model is calibrated best, so no model can beat it by calibration_error",
                "compare by log_loss, and set floors.calibration_error",
            )
        if self.max_churn is not None and problem == "regression":
            raise InputError(
                "policy.max_churn: a regression has no answers that flip", "leave it out, or set a floor instead"
            )
        if problem == "binary" and len(self.cost_matrix) > 2:
            raise InputError(
                f"policy.cost_matrix: it has {len(self.cost_matrix)} rows, and a binary target 2 classes",
                "give two rows of two costs",
            )
        if self.score_range and problem != "regression" and (self.score_range[0] >= 1 or self.score_range[1] <= 0):
            low, high = self.score_range
            raise InputError(
                f"policy.score_range: no probability lies between {low:g} and {high:g}",
                "give bounds within [0, 1], or leave it out",
            )
        self._check_margins(metric)
        return metric

    def loss_allowed(self, metric: str) -> float:
        """The non-inferiority margin, in the metric's unit; of the preset fresh.

        Raises:
            InputError: It is not given, and the metric has no unit in which a default would make sense.
        """
        if self.non_inferiority_margin is not None:
            return self.non_inferiority_margin
        known = _built_in(metric)
        if known is None or not known.in_unit_interval:
            raise InputError(
                f"policy.non_inferiority_margin: how much worse a candidate may be has no default for {metric}",
                f"set it in the unit of {metric}",
            )
        return NON_INFERIORITY_MARGIN

    def digest(self) -> str:
        """Digest of the whole policy, defaults included."""
        return digest(dumps(self.model_dump(mode="json")))

    def _check_margins(self, metric: str) -> None:
        asked = [("margin", self.margin), ("first_model.margin", self.first_model.margin)]
        if self.preset == "fresh":
            asked.append(("non_inferiority_margin", self.loss_allowed(metric)))
        known = _built_in(metric)
        for key, margin in asked:
            if known and known.in_unit_interval and margin >= 1:
                says = "no model can be worse" if key == "non_inferiority_margin" else "no model can be better"
                raise InputError(
                    f"policy.{key}: {metric} lies between 0 and 1, so {says} by {margin:g}",
                    "give the margin in the metric's unit, e.g. 0.005",
                )

    def functions(self) -> Iterator[str]:
        """The user's functions among metric and floors, `package.module:function`."""
        for name in (self.metric, *self.floors):
            if ":" in name:
                yield name


def _built_in(name: str) -> Kind | None:
    """What a built-in metric is good for; None for a function of the user's, which may not be importable here.

    Raises:
        ValueError: There is no such metric.
    """
    return METRICS.get(parse(name).base)

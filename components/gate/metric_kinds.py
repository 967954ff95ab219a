"""Which metrics there are, what they are good for, and how their names are read. Imports nothing heavy.

A name may carry a parameter: `precision@0.7` (threshold), `recall@top100` (rows of highest score), `recall@top0.05` (their share),
`pinball@0.9` (quantile). `package.module:function` names a function `(label, score, weight) -> float` of the user's, whose attribute
`greater_is_better` says its direction. How metrics are computed stands in `metrics.py`.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from kfp_ratchet.components.shared.columns import Problem
from kfp_ratchet.components.shared.errors import InputError

Parameter = Literal["none", "threshold", "threshold or top", "quantile"]


@dataclass(frozen=True)
class Kind:
    """What a metric is good for."""

    greater_is_better: bool
    problems: tuple[Problem, ...]
    in_unit_interval: bool = False
    """Its values lie in [0, 1], so that a margin or floor beyond can never be met."""
    parameter: Parameter = "none"

    @property
    def sign(self) -> Literal[1, -1]:
        """What a difference is multiplied by so that positive is better."""
        return 1 if self.greater_is_better else -1


@dataclass(frozen=True)
class Metric:
    """A metric's name, taken apart."""

    base: str
    """Key of `METRICS`; "" for a function of the user's."""
    function: str = ""
    """`package.module:function`."""
    level: float | None = None
    """Threshold above which a score is answered with class 1; quantile of `pinball`."""
    top: float | None = None
    """The rows of highest score that are answered with class 1: a number of rows from 1 on, a share of them below 1."""


_CLASSES: tuple[Problem, ...] = ("binary", "multiclass")
_ALL: tuple[Problem, ...] = ("binary", "multiclass", "regression")
METRICS: Mapping[str, Kind] = {
    "roc_auc": Kind(True, ("binary",), True),
    "average_precision": Kind(True, ("binary",), True),
    "log_loss": Kind(False, _CLASSES),
    "brier": Kind(False, _CLASSES),
    "accuracy": Kind(True, _CLASSES, True),
    "balanced_accuracy": Kind(True, _CLASSES, True),
    "f1": Kind(True, ("binary",), True, "threshold"),
    "f1_macro": Kind(True, _CLASSES, True),
    "precision": Kind(True, ("binary",), True, "threshold or top"),
    "recall": Kind(True, ("binary",), True, "threshold or top"),
    "calibration_error": Kind(False, _CLASSES, True),
    "expected_cost": Kind(False, _CLASSES),
    "rmse": Kind(False, ("regression",)),
    "mae": Kind(False, ("regression",)),
    "mape": Kind(False, ("regression",)),
    "pinball": Kind(False, ("regression",), False, "quantile"),
    "r2": Kind(True, ("regression",)),
}
DEFAULT_METRIC: Mapping[Problem, str] = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}
_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_EXAMPLE: Mapping[Parameter, str] = {
    "none": "",
    "threshold": "@0.3",
    "threshold or top": "@0.7, @top100 or @top0.05",
    "quantile": "@0.9",
}


def parse(name: str) -> Metric:
    """Take a metric's name apart. A function of the user's is not imported.

    Raises:
        ValueError: There is no such metric (the nearest one is named), or its parameter is missing, wrong or not its own.
    """
    if ":" in name:
        if not _FUNCTION.fullmatch(name):
            raise ValueError(f"{name!r} is no function's name; write package.module:function")
        return Metric(base="", function=name)
    base, at, given = name.partition("@")
    if base not in METRICS:
        near = difflib.get_close_matches(base, METRICS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0] + at + given!r}? " if near else ""
        raise ValueError(
            f"there is no metric {name!r}; {hint}there are {', '.join(METRICS)}, and package.module:function"
        )
    parameter = METRICS[base].parameter
    if parameter == "none" and at:
        raise ValueError(f"{base} takes no parameter, so {name!r} is no metric; write {base!r}")
    if not at:
        if parameter == "quantile":
            raise ValueError(f"{base} needs its quantile; write e.g. {base + _EXAMPLE[parameter]!r}")
        return Metric(base=base, level=None if parameter == "none" else 0.5)
    found = _parameter(base, parameter, given)
    if found is None:
        raise ValueError(f"{name!r}: {given!r} is no parameter of {base}; write e.g. {base}{_EXAMPLE[parameter]}")
    return found


def kind(name: str) -> Kind:
    """What a metric is good for; imports a function of the user's to learn its direction.

    Raises:
        ValueError: As `parse`.
        InputError: A function of the user's cannot be imported or does not say its direction.
    """
    metric = parse(name)
    if metric.base:
        return METRICS[metric.base]
    return Kind(bool(load(metric.function).greater_is_better), _ALL)


def load(function: str) -> Any:
    """The user's function behind `package.module:function`.

    Raises:
        InputError: It cannot be imported, is no function, or has no attribute `greater_is_better`.
    """
    module, _, attribute = function.partition(":")
    try:
        found = getattr(import_module(module), attribute, None)
    except Exception as error:  # whatever its module does when it is imported
        raise InputError(
            f"the metric {function} cannot be imported: {type(error).__name__}: {error}",
            "correct its module or install its package where the gate runs, or name another",
        ) from error
    if not callable(found):
        raise InputError(f"the metric {function}: {module} has no function {attribute!r}", "correct policy.metric")
    if not isinstance(getattr(found, "greater_is_better", None), bool):
        raise InputError(
            f"the metric {function} does not say whether greater is better",
            f"set {attribute}.greater_is_better = True (or False) beside it",
        )
    return found


def fitting(problem: Problem) -> list[str]:
    """Names of the built-in metrics that fit a kind of problem."""
    return [name for name, each in METRICS.items() if problem in each.problems]


def _parameter(base: str, parameter: Parameter, given: str) -> Metric | None:
    top = given.removeprefix("top")
    try:
        value = float(top)
    except ValueError:
        return None
    if top == given:
        return Metric(base=base, level=value) if 0 < value < 1 else None
    fits = parameter == "threshold or top" and (0 < value < 1 or (value >= 1 and value.is_integer()))
    return Metric(base=base, top=value) if fits else None

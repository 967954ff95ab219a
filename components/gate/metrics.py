"""Metrics that can be computed on thousands of weightings of the same rows at once, and say how much each row moves them.

Each is prepared once from labels and scores (sorting, losses by row). Values and conventions for ties, absent classes and weights are
scikit-learn's, which the tests compare with; importing it would cost a gate seconds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kfp_ratchet.components.gate import metric_kinds
from kfp_ratchet.components.shared.errors import InputError

Array = npt.NDArray[np.float64]
CostMatrix = Sequence[Sequence[float]]
"""Cost of an answer: `cost[true class][answered class]`."""

LINEAR = "first-order variance"
_EPS = float(np.finfo(np.float64).eps)
_MAPE_GUARD = 0.01


class Statistic(Protocol):
    """A metric of certain rows, as a function of their weights."""

    @property
    def form(self) -> str:
        """What the variance by `influence` is called."""
        ...

    def __call__(self, weights: Array) -> Array:
        """Weights (b, n) to the metric's values (b,); NaN where it is undefined, e.g. roc_auc of a single class."""
        ...

    def influence(self, weight: Array) -> Array | None:
        """What each row adds to the metric, to first order (Hampel 1974): its derivative in the row's weight times the total weight.

        Shape (n,), of weighted mean 0. None where there is no useful derivative, and only resampling says how the metric varies.
        """
        ...

    def contrary(self, weight: Array, other: "Statistic | None" = None) -> float:
        """How far one more row that goes the other way would move a share of rows; 0 for what is no such share.

        Where all of a few rows agree their variance is 0, and says nothing of the row that does not. With `other`, the part that
        remains in the difference to it: 0 when both are shares of the same rows, where a pair that disagrees tells the variance.
        """
        ...


def prepare(metric: str, label: Array, scores: Array, cost_matrix: CostMatrix | None = None) -> Statistic:
    """Make a metric ready to be computed under many weightings.

    Args:
        metric: A name as in `metric_kinds`, e.g. "roc_auc", "recall@top0.05" or "package.module:function".
        label: 0/1 for binary, class index for multiclass, value for regression; shape (n,).
        scores: Probability of class 1, or prediction, shape (n,); probabilities by class, shape (n, classes).
        cost_matrix: For `expected_cost` only.

    Raises:
        ValueError: There is no such metric.
        InputError: A function of the user's cannot be used; `expected_cost` without a cost matrix of the right size.
    """
    parsed = metric_kinds.parse(metric)
    if parsed.function:
        custom = _Custom(parsed.function, metric_kinds.load(parsed.function), label, scores)
        custom.check_weights()
        return custom
    if parsed.base == "expected_cost":
        return _expected_cost(label, scores, cost_matrix)
    if parsed.top is not None:
        from kfp_ratchet.components.gate.ranking import Top

        return Top(label, scores, parsed.top, of_positives=parsed.base == "recall")
    if parsed.level is not None:
        return _WITH_LEVEL[parsed.base](label, scores, parsed.level)
    return _PREPARE[parsed.base](label, scores)


def score(metric: str, label: Array, scores: Array, weight: Array, cost_matrix: CostMatrix | None = None) -> float:
    """A metric's value on weighted rows; `weight` has shape (n,)."""
    return float(prepare(metric, label, scores, cost_matrix)(weight[None, :])[0])


def ratio(numerator: Array, denominator: Array) -> Array:
    """Elementwise; NaN where the denominator is not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Array = np.where(denominator > 0, numerator / denominator, np.nan)
        return found


def one_of(weight: Array) -> float:
    """What one row counts for among rows of these weights, shape (n,): 1/n when they are alike (Kish 1965). 0 of no rows."""
    total = weight.sum()
    return float(((weight / total) ** 2).sum()) if total > 0 else 0.0


class NoShare:
    """What a metric that is no share of rows says of the rows that are not there: nothing."""

    def contrary(self, weight: Array, other: Statistic | None = None) -> float:
        return 0.0


@dataclass(frozen=True)
class _Ratios:
    """Mean of ratios of weighted sums, over the ratios whose denominator is not 0. Losses by row have one, recalls one a class."""

    numerator: Array
    denominator: Array
    """Both of shape (n, ratios)."""
    form: str = LINEAR
    share: bool = False
    """Does each ratio say which share of some rows is right?"""

    def __call__(self, weights: Array) -> Array:
        numerator, denominator = weights @ self.numerator, weights @ self.denominator
        defined = denominator > 0
        values = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=defined)
        return ratio(values.sum(axis=1), defined.sum(axis=1).astype(np.float64))

    def influence(self, weight: Array) -> Array:
        numerator, denominator = weight @ self.numerator, weight @ self.denominator
        defined = denominator > 0
        each = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=defined)
        slope = np.divide(weight.sum(), denominator, out=np.zeros_like(numerator), where=defined) / max(
            defined.sum(), 1
        )
        found: Array = self.numerator @ slope - self.denominator @ (each * slope)
        return found

    def contrary(self, weight: Array, other: Statistic | None = None) -> float:
        if not self.share or (isinstance(other, _Ratios) and np.array_equal(self.denominator, other.denominator)):
            return 0.0
        counted = np.array([one_of(weight * column) for column in self.denominator.T])
        return float(counted.max()) / max(int(np.count_nonzero(counted)), 1)


@dataclass(frozen=True)
class _Rmse(NoShare):
    squared: _Ratios
    form: str = LINEAR

    def __call__(self, weights: Array) -> Array:
        return np.sqrt(self.squared(weights))

    def influence(self, weight: Array) -> Array:
        value = float(self(weight[None, :])[0])
        return self.squared.influence(weight) / (2 * value) if value > 0 else np.zeros_like(weight)


@dataclass(frozen=True)
class _R2(NoShare):
    """One minus the residual share of the label's squares around its mean."""

    label: Array
    residual: Array
    form: str = LINEAR

    @cached_property
    def _columns(self) -> Array:
        centred = self.label - self.label.mean()  # so that the difference of squares below keeps its digits
        return np.column_stack([np.ones_like(centred), centred, centred**2, self.residual**2])

    def __call__(self, weights: Array) -> Array:
        total, first, second, left = (weights @ self._columns).T
        return 1 - ratio(left, second - ratio(first**2, total))

    def influence(self, weight: Array) -> Array:
        total = weight.sum()
        around = (self.label - weight @ self.label / total) ** 2
        whole, left = weight @ around, weight @ self.residual**2
        found: Array = (around * (left / whole) - self.residual**2) * (total / whole)
        return found


@dataclass(frozen=True)
class _Mape(NoShare):
    """Mean absolute error relative to the label's size, which counts as at least a hundredth of its mean.

    Without that guard one label near 0 would outweigh all others. Rows stand in the order of the label's size.
    """

    order: npt.NDArray[np.int64]
    size: Array
    error: Array
    form: str = LINEAR

    def _sums(self, weights: Array) -> tuple[Array, Array, Array, npt.NDArray[np.int64]]:
        """By weighting: total weight, least size, what the rows below it err, and how many these are."""
        total = weights.sum(axis=1)
        least = _MAPE_GUARD * ratio(weights @ self.size, total)
        small = np.searchsorted(self.size, least)
        return total, least, np.array([w[:k] @ self.error[:k] for w, k in zip(weights, small, strict=True)]), small

    def __call__(self, weights: Array) -> Array:
        ranked = np.take(weights, self.order, axis=1)
        total, least, below, small = self._sums(ranked)
        relative = np.divide(self.error, self.size, out=np.zeros_like(self.error), where=self.size > 0)
        above = np.array([w[k:] @ relative[k:] for w, k in zip(ranked, small, strict=True)])
        return ratio(above + ratio(below, least), total)

    def influence(self, weight: Array) -> Array:
        ranked = weight[None, self.order]
        total, least, below, _ = (each[0] for each in self._sums(ranked))
        own = self.error / np.maximum(self.size, least)
        guard = below / (least**2 * total) * _MAPE_GUARD * (self.size - ranked[0] @ self.size / total)
        found = np.empty_like(weight)
        found[self.order] = own - ranked[0] @ own / total - guard
        return found


@dataclass(frozen=True)
class _Custom(NoShare):
    """A function of the user's: as slow as it is, and its rows' influence unknown."""

    name: str
    function: Callable[[Array, Array, Array], float]
    label: Array
    scores: Array
    form: str = "bootstrap"

    def __call__(self, weights: Array) -> Array:
        try:
            return np.array([float(self.function(self.label, self.scores, weight)) for weight in weights])
        except Exception as error:
            raise InputError(
                f"the metric {self.name} fails on {len(self.label):,} rows: {type(error).__name__}: {error}",
                "it is called as function(label, score, weight) with arrays and must return a number, NaN where it is undefined",
            ) from error

    def influence(self, weight: Array) -> None:
        return None

    def check_weights(self) -> None:
        """Every resample is a weighting: a function that does not look at the weights would seem to know no chance at all.

        Raises:
            InputError: Leaving every other row out by its weight changes nothing, though leaving it out by hand does.
        """
        half = np.arange(len(self.label)) % 2
        if not half.any():
            return
        whole, weighted = self(np.array([np.ones(len(half)), half]))
        if whole != weighted:
            return
        kept = half == 1
        part = _Custom(self.name, self.function, self.label[kept], self.scores[kept])
        if float(part(np.ones((1, kept.sum())))[0]) != whole:
            raise InputError(
                f"the metric {self.name} does not use its third argument, the weights: its value stays {whole:g} when half the rows "
                "have weight 0",
                "weight every row by it, as in numpy.average(right, weights=weight): intervals come from weighting rows anew",
            )


def _log_loss(label: Array, scores: Array) -> Statistic:
    return _mean(-np.log(np.clip(_probability_of_label(label, scores), _EPS, 1 - _EPS)))


def _brier(label: Array, scores: Array) -> Statistic:
    """Mean squared error of the probabilities; for multiclass summed over classes, from 0 to 2 (Brier 1950)."""
    if scores.ndim == 1:
        return _mean((scores - label) ** 2)
    return _mean(((scores - (label[:, None] == np.arange(scores.shape[1]))) ** 2).sum(axis=1))


def _accuracy(label: Array, scores: Array) -> Statistic:
    return _mean((answer(scores) == label).astype(np.float64), "McNemar's variance", share=True)


def _balanced_accuracy(label: Array, scores: Array) -> Statistic:
    """Mean recall of the classes that occur."""
    true = _one_hot(label, scores)
    return _Ratios(true * (answer(scores) == label)[:, None], true, share=True)


def _f1_macro(label: Array, scores: Array) -> Statistic:
    """Mean F1 of the classes that occur or are answered; 0 for a class that is never hit."""
    true, answered = _one_hot(label, scores), _one_hot(answer(scores), scores)
    return _Ratios(2 * true * answered, true + answered)


def _f1(label: Array, scores: Array, threshold: float) -> Statistic:
    answered = (scores > threshold).astype(np.float64)
    return _Ratios((2 * label * answered)[:, None], (label + answered)[:, None])


def _precision(label: Array, scores: Array, threshold: float) -> Statistic:
    """Undefined where nothing is answered with class 1: no precision is not a bad one."""
    answered = (scores > threshold).astype(np.float64)
    return _Ratios((label * answered)[:, None], answered[:, None], share=True)


def _recall(label: Array, scores: Array, threshold: float) -> Statistic:
    return _Ratios((label * (scores > threshold))[:, None], label[:, None], share=True)


def _expected_cost(label: Array, scores: Array, cost_matrix: CostMatrix | None) -> Statistic:
    """Mean cost of answering with the class of least expected cost under the model's own probabilities (Elkan 2001)."""
    probability = np.column_stack([1 - scores, scores]) if scores.ndim == 1 else scores
    cost = np.asarray(cost_matrix if cost_matrix is not None else [], dtype=np.float64)
    classes = probability.shape[1]
    if cost.shape != (classes, classes):
        raise InputError(
            f"expected_cost of {classes} classes needs a cost matrix of {classes} rows and columns, not {cost.shape}",
            "give policy.cost_matrix[true class][answered class]",
        )
    return _mean(cost[label.astype(np.int64), (probability @ cost).argmin(axis=1)])


def _rmse(label: Array, scores: Array) -> Statistic:
    return _Rmse(_mean((label - scores) ** 2))


def _mae(label: Array, scores: Array) -> Statistic:
    return _mean(np.abs(label - scores))


def _mape(label: Array, scores: Array) -> Statistic:
    size = np.abs(label)
    order = np.argsort(size, kind="stable")
    return _Mape(order, size[order], np.abs(label - scores)[order])


def _pinball(label: Array, scores: Array, quantile: float) -> Statistic:
    missed = label - scores
    return _mean(np.maximum(quantile * missed, (quantile - 1) * missed))


def _r2(label: Array, scores: Array) -> Statistic:
    return _R2(label, label - scores)


def _roc_auc(label: Array, scores: Array) -> Statistic:
    from kfp_ratchet.components.gate.ranking import RocAuc

    return RocAuc.of(label, scores)


def _average_precision(label: Array, scores: Array) -> Statistic:
    from kfp_ratchet.components.gate.ranking import AveragePrecision

    return AveragePrecision(label, scores)


def _calibration_error(label: Array, scores: Array) -> Statistic:
    from kfp_ratchet.components.gate.ranking import CalibrationError

    if scores.ndim == 1:
        return CalibrationError(scores, scores - label)
    confidence: Array = scores.max(axis=1)
    return CalibrationError(confidence, confidence - (answer(scores) == label))


def answer(scores: Array) -> npt.NDArray[np.int64]:
    """The class that scores stand for: 1 above one half, or the likeliest."""
    return (scores > 0.5).astype(np.int64) if scores.ndim == 1 else np.argmax(scores, axis=1)


def _mean(by_row: Array, form: str = LINEAR, *, share: bool = False) -> _Ratios:
    return _Ratios(by_row[:, None], np.ones((len(by_row), 1)), form, share)


def _one_hot(label: npt.NDArray[Any], scores: Array) -> Array:
    classes = 2 if scores.ndim == 1 else scores.shape[1]
    members: Array = (label[:, None] == np.arange(classes)).astype(np.float64)
    return members


def _probability_of_label(label: Array, scores: Array) -> Array:
    if scores.ndim == 1:
        return np.abs(1 - label - scores)
    picked: Array = scores[np.arange(len(label)), label.astype(np.int64)]
    return picked


_PREPARE: Mapping[str, Callable[[Array, Array], Statistic]] = {
    "roc_auc": _roc_auc,
    "average_precision": _average_precision,
    "log_loss": _log_loss,
    "brier": _brier,
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "f1_macro": _f1_macro,
    "calibration_error": _calibration_error,
    "rmse": _rmse,
    "mae": _mae,
    "mape": _mape,
    "r2": _r2,
}
_WITH_LEVEL: Mapping[str, Callable[[Array, Array, float], Statistic]] = {
    "f1": _f1,
    "precision": _precision,
    "recall": _recall,
    "pinball": _pinball,
}

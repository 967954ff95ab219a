"""Metrics that can be computed on thousands of weightings of the same rows at once.

Each is prepared once from labels and scores (sorting, losses by row) and then takes weights of shape (b, n): one weighting a row. Values
and conventions for ties, absent classes and weights are scikit-learn's, which the tests compare with; importing it would cost a gate
seconds.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Statistic = Callable[[Array], Array]
"""Weights (b, n) to the metric's values (b,); NaN where it is undefined, e.g. roc_auc of a single class."""

_EPS = float(np.finfo(np.float64).eps)


def prepare(metric: str, label: Array, scores: Array) -> Statistic:
    """Make a metric ready to be computed under many weightings.

    Args:
        metric: A key of `policy.METRICS`.
        label: 0/1 for binary, class index for multiclass, value for regression; shape (n,).
        scores: Probability of class 1, or prediction, shape (n,); probabilities by class, shape (n, classes).
    """
    return _PREPARE[metric](label, scores)


def score(metric: str, label: Array, scores: Array, weight: Array) -> float:
    """A metric's value on weighted rows; `weight` has shape (n,)."""
    return float(prepare(metric, label, scores)(weight[None, :])[0])


def _roc_auc(label: Array, scores: Array) -> Statistic:
    """Probability that a positive row scores above a negative one, ties counting half (Mann-Whitney)."""
    positive, negative = np.flatnonzero(label == 1), np.flatnonzero(label != 1)
    negative = negative[np.argsort(scores[negative], kind="stable")]
    below = np.searchsorted(scores[negative], scores[positive], side="left")
    not_above = np.searchsorted(scores[negative], scores[positive], side="right")
    tied = bool((below != not_above).any())

    def statistic(weights: Array) -> Array:
        # Weight of the negatives that score less than each rank; the leading zero is rank 0.
        beaten = np.zeros((len(weights), len(negative) + 1))
        np.cumsum(np.take(weights, negative, axis=1), axis=1, out=beaten[:, 1:])
        wins = np.take(beaten, below, axis=1)
        if tied:
            wins = (wins + np.take(beaten, not_above, axis=1)) / 2
        own = np.take(weights, positive, axis=1)
        return _ratio(np.einsum("bi,bi->b", own, wins), own.sum(axis=1) * beaten[:, -1])

    return statistic


def _average_precision(label: Array, scores: Array) -> Statistic:
    """Mean precision over the steps of recall, not interpolated; equal scores are one step."""
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)
    hits = label[order] == 1

    def statistic(weights: Array) -> Array:
        ranked = np.take(weights, order, axis=1)
        taken = np.cumsum(ranked, axis=1)[:, last]
        found = np.cumsum(ranked * hits, axis=1)[:, last]
        precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
        gained = np.diff(found, axis=1, prepend=0.0)
        return _ratio(np.einsum("bi,bi->b", gained, precision), found[:, -1])

    return statistic


def _log_loss(label: Array, scores: Array) -> Statistic:
    return _mean(-np.log(np.clip(_probability_of_label(label, scores), _EPS, 1 - _EPS)))


def _brier(label: Array, scores: Array) -> Statistic:
    """Mean squared error of the probabilities; for multiclass summed over classes, from 0 to 2 (Brier 1950)."""
    if scores.ndim == 1:
        return _mean((scores - label) ** 2)
    return _mean(((scores - (label[:, None] == np.arange(scores.shape[1]))) ** 2).sum(axis=1))


def _accuracy(label: Array, scores: Array) -> Statistic:
    return _mean((_answer(scores) == label).astype(np.float64))


def _balanced_accuracy(label: Array, scores: Array) -> Statistic:
    """Mean recall of the classes that occur."""
    true = _one_hot(label, scores)
    hits = true * (_answer(scores) == label)[:, None]

    def statistic(weights: Array) -> Array:
        return _mean_of_defined(weights @ hits, weights @ true)

    return statistic


def _f1_macro(label: Array, scores: Array) -> Statistic:
    """Mean F1 of the classes that occur or are answered; 0 for a class that is never hit."""
    true, answered = _one_hot(label, scores), _one_hot(_answer(scores), scores)

    def statistic(weights: Array) -> Array:
        return _mean_of_defined(2 * (weights @ (true * answered)), weights @ true + weights @ answered)

    return statistic


def _rmse(label: Array, scores: Array) -> Statistic:
    squared = _mean((label - scores) ** 2)
    return lambda weights: np.sqrt(squared(weights))


def _mae(label: Array, scores: Array) -> Statistic:
    return _mean(np.abs(label - scores))


def _r2(label: Array, scores: Array) -> Statistic:
    centred = label - label.mean()  # so that the difference of squares below keeps its digits
    columns = np.column_stack([np.ones_like(label), centred, centred**2, (label - scores) ** 2])

    def statistic(weights: Array) -> Array:
        total, first, second, residual = (weights @ columns).T
        return 1 - _ratio(residual, second - _ratio(first**2, total))

    return statistic


def _mean(by_row: Array) -> Statistic:
    return lambda weights: _ratio(weights @ by_row, weights.sum(axis=1))


def _mean_of_defined(numerator: Array, denominator: Array) -> Array:
    defined = denominator > 0
    values = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=defined)
    return _ratio(values.sum(axis=1), defined.sum(axis=1).astype(np.float64))


def _ratio(numerator: Array, denominator: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Array = np.where(denominator > 0, numerator / denominator, np.nan)
        return ratio


def _answer(scores: Array) -> npt.NDArray[Any]:
    return (scores > 0.5).astype(np.int64) if scores.ndim == 1 else np.argmax(scores, axis=1)


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
    "rmse": _rmse,
    "mae": _mae,
    "r2": _r2,
}

"""Do a model's numbers mean what they say? Predicted beside observed, bin by bin."""

import math

import numpy as np
import numpy.typing as npt

from kfp_ratchet.components.evaluate.contender import Array
from kfp_ratchet.components.shared.columns import Problem

_BINS = 10
_LEAST_ROWS_A_BIN = 20
"""Of regression, where bins can be chosen by rows: fewer say little about a mean."""
_Z = 1.959964
"""97.5 % quantile of the normal distribution: both ends together hold with 95 %."""


def calibration(problem: Problem, label: Array, scores: Array, weight: Array) -> list[dict[str, float | None]]:
    """What a model said beside what came, in at most ten bins, by weight; bins without rows are left out.

    - binary: probability of the positive class beside the share of positives, in bins of equal width.
    - multiclass: probability of the likeliest class beside the share of rows where it was right (Guo et al. 2017), in the same bins.
    - regression: the prediction beside the value, in bins of about equally many rows.

    Args:
        problem: Kind of problem.
        label: 0/1, the class's index, or the value; shape (n,).
        scores: Shape (n,), or (n, classes) for multiclass.
        weight: Shape (n,).

    Returns:
        A bin each: `bin` (its number), `predicted`, `observed` (means), `low` and `high` (95 % interval of `observed`: Wilson's for a
        share (Wilson 1927), normal for a mean; None for a single row), `count` (rows). Empty when a score is not finite.
    """
    if not np.isfinite(scores).all():
        return []
    said, came = scores, label
    if problem == "multiclass":
        said, came = scores.max(axis=1), (scores.argmax(axis=1) == label).astype(np.float64)
    counted = weight > 0
    said, came, weight = said[counted], came[counted], weight[counted]
    bins = _by_rank(said) if problem == "regression" else np.clip((said * _BINS).astype(np.int64), 0, _BINS - 1)
    found: list[dict[str, float | None]] = []
    for index in np.unique(bins):
        inside = bins == index
        observed, rows = float(np.average(came[inside], weights=weight[inside])), _effective(weight[inside])
        low, high = (_mean if problem == "regression" else _wilson)(observed, rows, came[inside], weight[inside])
        found.append(
            {
                "bin": int(index),
                "predicted": float(np.average(said[inside], weights=weight[inside])),
                "observed": observed,
                "low": low,
                "high": high,
                "count": int(inside.sum()),
            }
        )
    return found


def _by_rank(said: Array) -> npt.NDArray[np.int64]:
    wanted = min(_BINS, max(1, len(said) // _LEAST_ROWS_A_BIN))
    ranks = np.empty(len(said), dtype=np.int64)
    ranks[np.argsort(said, kind="stable")] = np.arange(len(said))
    return ranks * wanted // max(len(said), 1)


def _effective(weight: Array) -> float:
    """As how many rows of equal weight these count (Kish 1965)."""
    return float(weight.sum() ** 2 / (weight**2).sum())


def _wilson(share: float, rows: float, came: Array, weight: Array) -> tuple[float, float]:
    centre, shrink = share + _Z**2 / (2 * rows), 1 + _Z**2 / rows
    reach = _Z * math.sqrt(share * (1 - share) / rows + _Z**2 / (4 * rows**2))
    return max(0.0, (centre - reach) / shrink), min(1.0, (centre + reach) / shrink)


def _mean(mean: float, rows: float, came: Array, weight: Array) -> tuple[float | None, float | None]:
    if len(came) < 2 or rows <= 1:
        return None, None
    variance = float(np.average((came - mean) ** 2, weights=weight)) * rows / (rows - 1)
    reach = _Z * math.sqrt(variance / rows)
    return mean - reach, mean + reach

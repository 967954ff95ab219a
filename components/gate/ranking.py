"""Metrics that depend on the order of the scores. Equal scores are one step of the order, whatever the rows' order."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from kfp_ratchet.components.gate.metrics import LINEAR, Array, NoShare, Statistic, one_of, ratio

IntArray = npt.NDArray[np.int64]
_BINS = 10


@dataclass(frozen=True)
class RocAuc:
    """Probability that a positive row scores above a negative one, ties counting half (Mann-Whitney)."""

    positive: IntArray
    negative: IntArray
    """Rows of each class by rising score."""
    negatives_below: IntArray
    negatives_to: IntArray
    """For each positive row: how many negative ones score less, and how many not more."""
    positives_below: IntArray
    positives_to: IntArray
    form: str = "DeLong's variance"

    @classmethod
    def of(cls, label: Array, scores: Array) -> Self:
        order = np.argsort(scores, kind="stable")
        positive, negative = order[label[order] == 1], order[label[order] != 1]
        up, down = scores[positive], scores[negative]
        return cls(
            positive,
            negative,
            np.searchsorted(down, up, side="left"),
            np.searchsorted(down, up, side="right"),
            np.searchsorted(up, down, side="left"),
            np.searchsorted(up, down, side="right"),
        )

    def __call__(self, weights: Array) -> Array:
        # Weight of the negatives that score less than each rank; the leading zero is rank 0.
        beaten = _running(np.take(weights, self.negative, axis=1))
        wins = np.take(beaten, self.negatives_below, axis=1)
        if (self.negatives_below != self.negatives_to).any():
            wins = (wins + np.take(beaten, self.negatives_to, axis=1)) / 2
        own = np.take(weights, self.positive, axis=1)
        with np.errstate(over="ignore"):  # `ratio` answers what overflows with NaN
            return ratio(np.einsum("bi,bi->b", own, wins), own.sum(axis=1) * beaten[:, -1])

    def influence(self, weight: Array) -> Array:
        """Placement values: the share of the other class that each row is on the right side of (DeLong et al. 1988)."""
        below = _running(weight[None, self.negative])[0]
        above = _running(weight[None, self.positive])[0]
        positives, negatives = above[-1], below[-1]
        won = (below[self.negatives_below] + below[self.negatives_to]) / (2 * negatives)
        lost = (above[self.positives_below] + above[self.positives_to]) / (2 * positives)
        value = weight[self.positive] @ won / positives
        found = np.empty_like(weight)
        found[self.positive] = (won - value) * (weight.sum() / positives)
        found[self.negative] = (1 - lost - value) * (weight.sum() / negatives)
        return found

    def contrary(self, weight: Array, other: Statistic | None = None) -> float:
        return 0.0 if other else max(one_of(weight[self.positive]), one_of(weight[self.negative]))


class AveragePrecision(NoShare):
    """Mean precision over the steps of recall, not interpolated; equal scores are one step."""

    form = LINEAR

    def __init__(self, label: Array, scores: Array) -> None:
        self._order, self._last = _falling(scores)
        self._hits = label[self._order] == 1

    def __call__(self, weights: Array) -> Array:
        ranked = np.take(weights, self._order, axis=1)
        taken = np.cumsum(ranked, axis=1)[:, self._last]
        found = np.cumsum(ranked * self._hits, axis=1)[:, self._last]
        precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
        gained = np.diff(found, axis=1, prepend=0.0)
        return ratio(np.einsum("bi,bi->b", gained, precision), found[:, -1])

    def influence(self, weight: Array) -> Array:
        """A row lowers, or as a positive one raises, the precision of its own step and of all later ones."""
        ranked = weight[self._order]
        taken = np.cumsum(ranked)[self._last]
        found = np.cumsum(ranked * self._hits)[self._last]
        precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
        gained = np.diff(found, prepend=0.0)
        by_taken = np.divide(gained, taken, out=np.zeros_like(found), where=taken > 0)
        later, drag = (np.cumsum(each[::-1])[::-1] for each in (by_taken, by_taken * precision))
        value = gained @ precision / found[-1]
        step = np.repeat(np.arange(len(self._last)), np.diff(self._last, prepend=-1))
        by_rank = self._hits * (precision + later - value)[step] - drag[step]
        influence = np.empty_like(weight)
        influence[self._order] = by_rank * (weight.sum() / found[-1])
        return influence


class Top:
    """Precision or recall when the rows of highest score are answered with class 1; of equal scores the share that is left."""

    form = LINEAR

    def __init__(self, label: Array, scores: Array, top: float, *, of_positives: bool) -> None:
        """`top`: a number of rows from 1 on, a share of them below 1."""
        self._order, self._last = _falling(scores)
        self._hits = label[self._order]
        self._top, self._of_positives = top, of_positives

    def __call__(self, weights: Array) -> Array:
        ranked = np.take(weights, self._order, axis=1)
        total = ranked.sum(axis=1)
        taken = self._taken(total)
        found = _upto(ranked, self._hits, self._last, taken[:, None])[:, 0]
        return ratio(found, ranked @ self._hits if self._of_positives else taken)

    def influence(self, weight: Array) -> Array | None:
        """Rows above the boundary count with what they add over a row at the boundary, which they push out.

        How often such a row is positive is taken from its neighbours: one row alone, 0 or 1, would not tell.
        """
        ranked = weight[self._order]
        total, positives = ranked.sum(), ranked @ self._hits
        taken = float(self._taken(np.array([total]))[0])
        if not 0 < taken < total:
            return None
        ends = np.cumsum(ranked)[self._last]
        step = int(np.searchsorted(ends, taken))
        first, last = (0 if step == 0 else int(self._last[step - 1]) + 1), int(self._last[step])
        reach = math.ceil(len(weight) ** 0.6 / 2)
        near = slice(min(first, max(last - reach, 0)), max(last, first + reach) + 1)
        at = ranked[near] @ self._hits[near] / ranked[near].sum()
        within = (taken - (ends[step] - ranked[first : last + 1].sum())) / ranked[first : last + 1].sum()
        answered = (np.arange(len(weight)) < first).astype(np.float64)
        answered[first : last + 1] = within
        by_rank = answered * (self._hits - at)
        if self._of_positives:
            by_rank -= self._hits * (ranked @ (answered * self._hits) / positives)
        by_rank *= total / (positives if self._of_positives else taken)
        influence = np.empty_like(weight)
        influence[self._order] = by_rank - ranked @ by_rank / total
        return influence

    def contrary(self, weight: Array, other: Statistic | None = None) -> float:
        if other:
            return 0.0
        ranked = weight[self._order]
        if self._of_positives:
            return one_of(ranked * self._hits)
        taken = float(self._taken(np.array([ranked.sum()]))[0])
        return float(ranked.max(initial=0.0)) / taken if taken > 0 else 0.0

    def _taken(self, total: Array) -> Array:
        return np.minimum(self._top, total) if self._top >= 1 else self._top * total


class CalibrationError(NoShare):
    """How far stated probability and observed share differ, on average over ten bins of equal weight (expected calibration error)."""

    form = "bootstrap"

    def __init__(self, probability: Array, excess: Array) -> None:
        """`excess`: the probability less what came true, 0 or 1."""
        self._order, self._last = _falling(probability)
        self._excess = excess[self._order]

    def __call__(self, weights: Array) -> Array:
        ranked = np.take(weights, self._order, axis=1)
        total = ranked.sum(axis=1)
        at = _upto(ranked, self._excess, self._last, total[:, None] * np.linspace(0, 1, _BINS + 1))
        return ratio(np.abs(np.diff(at, axis=1)).sum(axis=1), total)

    def influence(self, weight: Array) -> None:
        """None: an absolute value has no derivative at 0, which is where the bins of a good model are."""
        return


def _falling(scores: Array) -> tuple[IntArray, IntArray]:
    """Rows by falling score, and the last position of each run of equal scores."""
    order = np.argsort(-scores, kind="stable")
    return order, np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)


def _running(weights: Array) -> Array:
    """Sums of the first 0, 1, … n weights."""
    sums = np.zeros((len(weights), weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


def _upto(ranked: Array, values: Array, last: IntArray, mass: Array) -> Array:
    """Weighted sums of values over the first rows that together weigh `mass`, shape (b, masses); runs of equal scores are divided."""
    weight = _running(ranked)[:, np.concatenate([[0], last + 1])]
    sums = _running(ranked * values)[:, np.concatenate([[0], last + 1])]
    return np.stack([np.interp(*each) for each in zip(mass, weight, sums, strict=True)])

"""Is the candidate shown to be worse on a part of the rows?"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from kfp_ratchet.components.gate.intervals import Estimated, IntArray, Sampling, measure
from kfp_ratchet.components.gate.metric_kinds import kind
from kfp_ratchet.components.gate.metrics import prepare
from kfp_ratchet.components.gate.policy import Policy, Slices
from kfp_ratchet.components.gate.sound import Scored, codes
from kfp_ratchet.components.gate.wording import count, spread
from kfp_ratchet.components.shared.columns import Problem
from kfp_ratchet.components.shared.decision import Check

_NAMED = 5


@dataclass(frozen=True)
class _Judged:
    name: str
    rows: int
    gain: Estimated


def judge_slices(
    scored: Scored, problem: Problem, metric: str, policy: Policy, asked: Slices, margin: float
) -> list[Check]:
    """One check a slice that is large enough, and one that names the others; these never fail.

    A slice fails when its gain is shown to lie below `-margin`. Slices are many looks at the same question, so their p-values are
    corrected by Holm's step-down method (Holm 1979): the chance that a candidate that is worse on none fails on any is at most
    `1 - policy.confidence`.
    """
    judged: list[_Judged] = []
    small: list[str] = []
    for name, rows in _parts(scored):
        one = _judge(name, scored, rows, problem, metric, policy) if len(rows) >= asked.min_rows else None
        if one is None:
            small.append(f"{name} ({count(len(rows), 'row')})")
        else:
            judged.append(one)
    return [*_corrected(judged, margin, policy.confidence), *_too_small(small)]


def holm(p_values: Iterable[float]) -> list[float]:
    """Adjusted p-values in the order given; reject those at or below the level (Holm 1979)."""
    values = list(p_values)
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return adjusted


def _parts(scored: Scored) -> Iterator[tuple[str, IntArray]]:
    """Each slice's name and positions, sorted by column and value."""
    for column, values in scored.slices.items():
        by_row = codes(values)
        order = np.argsort(by_row, kind="stable")  # so that a slice's rows stay in id order
        ends = np.cumsum(np.bincount(by_row))[:-1]
        for value, rows in zip(values.unique().sort(), np.split(order, ends), strict=True):
            yield f"{column}={value}", rows


def _judge(name: str, scored: Scored, rows: IntArray, problem: Problem, metric: str, policy: Policy) -> _Judged | None:
    """The gain on one slice, None when it has too few of a class or of clusters, or the metric is undefined there."""
    label = scored.label[rows]
    # Other problems' metrics do not need every class in every slice.
    if problem == "binary" and min((label == 1).sum(), (label == 0).sum()) < policy.min_class_rows:
        return None
    cluster = None
    if scored.cluster is not None:
        found, cluster = np.unique(scored.cluster[rows], return_inverse=True)
        if len(found) < policy.min_clusters:
            return None
    statistics = {
        model: prepare(metric, label, scores[rows], policy.cost_matrix or None)
        for model, scores in (("candidate", scored.candidate), ("champion", scored.champion))
    }
    sampling = Sampling(scored.weight[rows], cluster, policy.confidence, policy.resamples, scored.seed)
    gain = measure(statistics, {"gain": ("candidate", "champion", kind(metric).sign)}, sampling)["gain"]
    return None if gain.interval.low is None else _Judged(name, len(rows), gain)


def _corrected(judged: list[_Judged], margin: float, confidence: float) -> list[Check]:
    checks = []
    bound = 0 - margin  # -0.0 would be written as it is
    for one, p in zip(judged, holm(one.gain.p_below(bound) for one in judged), strict=True):
        worse = p <= 1 - confidence
        checks.append(
            Check(
                name=f"slice {one.name}",
                outcome="fail" if worse else "pass",
                reason=f"on {one.name} ({count(one.rows, 'row')}) the gain is {spread(one.gain.interval)}: "
                f"{'' if worse else 'not '}shown to be below {bound:g} (p = {p:.2g} after Holm's correction for {len(judged)})",
                observed=one.gain.interval,
                bound=bound,
            )
        )
    return checks


def _too_small(small: list[str]) -> list[Check]:
    return [Check(name="slices", outcome="pass", reason=f"too small to judge: {_some(small)}")] if small else []


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")

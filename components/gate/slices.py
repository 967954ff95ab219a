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
    only_champion_defined: bool


def judge_slices(
    scored: Scored, problem: Problem, metric: str, policy: Policy, asked: Slices, margin: float
) -> list[Check]:
    """One check a slice that can be judged, and one that names the others: too small, or without an interval of the gain; these never
    fail. Where the metric is undefined for the candidate alone, e.g. its precision where it answers no row, the check is `unknown`.

    A slice fails when its gain is shown to lie below `-margin`. Slices are many looks at the same question, so their p-values are
    corrected by Holm's step-down method (Holm 1979): the chance that a candidate that is worse on none fails on any is at most
    `1 - policy.confidence`.
    """
    judged: list[_Judged] = []
    small: list[str] = []
    undefined: list[str] = []
    lost: list[Check] = []
    for name, rows in _parts(scored):
        one = _judge(name, scored, rows, problem, metric, policy) if len(rows) >= asked.min_rows else None
        if one is None:
            small.append(f"{name} ({count(len(rows), 'row')})")
        elif one.gain.interval.low is not None:
            judged.append(one)
        elif one.only_champion_defined:
            reason = f"on {name} ({count(len(rows), 'row')}) {metric} is undefined for the candidate, and not for the champion"
            lost.append(Check(name=f"slice {name}", outcome="unknown", reason=reason))
        else:
            undefined.append(f"{name} ({count(len(rows), 'row')})")
    unjudged = {"too small to judge": small, "undefined or without an interval": undefined}
    named = "; ".join(f"{why}: {_some(names)}" for why, names in unjudged.items() if names)
    others = [Check(name="slices", outcome="pass", reason=named)] if named else []
    return [*_corrected(judged, margin, policy.confidence), *lost, *others]


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
    """The gain on one slice, None when it has too few of a class or of clusters."""
    label = scored.label[rows]
    # Other problems' metrics do not need every class in every slice.
    if problem == "binary" and min((label == 1).sum(), (label == 0).sum()) < policy.min_class_rows:
        return None
    cluster = None
    if scored.cluster is not None:
        held, cluster = np.unique(scored.cluster[rows], return_inverse=True)
        if len(held) < policy.min_clusters:
            return None
    statistics = {
        model: prepare(metric, label, scores[rows], policy.cost_matrix or None)
        for model, scores in (("candidate", scored.candidate), ("champion", scored.champion))
    }
    sampling = Sampling(scored.weight[rows], cluster, policy.confidence, policy.resamples, scored.seed)
    found = measure(statistics, {"gain": ("candidate", "champion", kind(metric).sign)}, sampling)
    lost = found["candidate"].interval.value is None and found["champion"].interval.value is not None
    return _Judged(name, len(rows), found["gain"], lost)


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


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")

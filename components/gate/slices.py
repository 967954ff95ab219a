"""Is the candidate shown to be worse on a part of the rows?"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kfp_ratchet.components.gate.bootstrap import interval, resample
from kfp_ratchet.components.gate.metrics import prepare
from kfp_ratchet.components.gate.policy import METRICS, Policy, Slices
from kfp_ratchet.components.gate.sound import Scored
from kfp_ratchet.components.gate.wording import count, spread
from kfp_ratchet.components.shared.columns import Problem
from kfp_ratchet.components.shared.decision import Check, Interval

_NAMED = 5


@dataclass(frozen=True)
class _Judged:
    name: str
    rows: int
    gain: Interval
    p: float


def judge_slices(
    scored: Scored, problem: Problem, metric: str, policy: Policy, asked: Slices, seed: int
) -> list[Check]:
    """One check a slice that is large enough, and one that names the others; these never fail.

    A slice fails when its gain is shown to lie below `-asked.margin`. Slices are many looks at the same question, so their p-values
    (normal, with the bootstrap's standard error) are corrected by Holm's step-down method (Holm 1979): the chance that a candidate that
    is worse on none fails on any is at most `1 - policy.confidence`.
    """
    judged: list[_Judged] = []
    small: list[str] = []
    for column, values in scored.slices.items():
        array = np.asarray(values, dtype=object)
        for value, rows in sorted(Counter(values).items()):
            name = f"{column}={value}"
            picked = _subset(scored, array == value) if rows >= asked.min_rows else None
            one = None
            if picked is not None and _both_sides(picked, problem, policy.min_class_rows):
                one = _judge(name, picked, metric, policy, asked.margin, seed)
            if one is None:
                small.append(f"{name} ({count(rows, 'row')})")
            else:
                judged.append(one)
    return [*_corrected(judged, asked.margin, policy.confidence), *_too_small(small)]


def holm(p_values: Iterable[float]) -> list[float]:
    """Adjusted p-values in the order given; reject those at or below the level (Holm 1979)."""
    values = list(p_values)
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return adjusted


def _subset(scored: Scored, mask: npt.NDArray[np.bool_]) -> Scored:
    return Scored(
        scored.label[mask], scored.weight[mask], scored.candidate[mask], scored.champion[mask], keys=[], slices={}
    )


def _both_sides(rows: Scored, problem: Problem, least: int) -> bool:
    """Has a binary slice enough of both classes? Other problems' metrics do not need every class in every slice."""
    return problem != "binary" or min((rows.label == 1).sum(), (rows.label == 0).sum()) >= least


def _judge(name: str, rows: Scored, metric: str, policy: Policy, margin: float, seed: int) -> _Judged | None:
    """The gain on one slice, None when the metric is undefined there."""
    sign = 1 if METRICS[metric].greater_is_better else -1
    statistics = [prepare(metric, rows.label, scores) for scores in (rows.candidate, rows.champion)]
    candidate, champion = (float(statistic(rows.weight[None, :])[0]) for statistic in statistics)
    drawn = resample(statistics, rows.weight, policy.resamples, seed)
    gains = sign * (drawn[0] - drawn[1])
    gain = interval(sign * (candidate - champion), gains, policy.confidence)
    if gain.value is None or gain.low is None:
        return None
    error = float(gains.std())
    lost = gain.value + margin
    p = 0.5 * math.erfc(-lost / error / math.sqrt(2)) if error > 0 else float(lost >= 0)
    return _Judged(name, len(rows.label), gain, p)


def _corrected(judged: list[_Judged], margin: float, confidence: float) -> list[Check]:
    checks = []
    bound = 0 - margin  # -0.0 would be written as it is
    for one, p in zip(judged, holm(one.p for one in judged), strict=True):
        worse = p <= 1 - confidence
        checks.append(
            Check(
                name=f"slice {one.name}",
                outcome="fail" if worse else "pass",
                reason=f"on {one.name} ({count(one.rows, 'row')}) the gain is {spread(one.gain)}: "
                f"{'' if worse else 'not '}shown to be below {bound:g} (p = {p:.2g} after Holm's correction for {len(judged)})",
                observed=one.gain,
                bound=bound,
            )
        )
    return checks


def _too_small(small: list[str]) -> list[Check]:
    return [Check(name="slices", outcome="pass", reason=f"too small to judge: {_some(small)}")] if small else []


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")

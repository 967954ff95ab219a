"""What the candidate costs to run, against a budget and against the champion.

Latency is a quantile of samples, and its interval runs from one of the samples to another: how many lie below the true quantile is
binomial, whatever the distribution (Hahn & Meeker 1991, ch. 5). Memory is measured a few times; its interval is the smallest and the
largest. Size is known. A ratio of two intervals runs from the least that they allow to the most, each taken with half of the risk.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import bdtr

from kfp_ratchet.components.gate.intervals import rounded
from kfp_ratchet.components.gate.policy import Budget
from kfp_ratchet.components.gate.wording import count
from kfp_ratchet.components.shared.decision import Check, Interval
from kfp_ratchet.components.shared.evidence import Facts, Model, Operations

LEAST_LATENCIES = 20
"""Fewer samples say nothing about a 95 % quantile."""
LEAST_MEMORIES = 3
_LEAST_MB = 1.0
"""Growth of memory below it is noise of the allocator, and counts as this much when it is compared."""
_QUANTILES = {"latency p50": 0.5, "latency p95": 0.95}
_Measure = Literal["latency p50", "latency p95", "memory", "size"]
_SAYS: dict[_Measure, str] = {
    "latency p50": "half of single-row predictions take {} ms or less",
    "latency p95": "95 % of single-row predictions take {} ms or less",
    "memory": "a process grows by {} MB when it loads the model and scores",
    "size": "the model's weights take {} MB",
}


@dataclass(frozen=True)
class _Costs:
    """What was measured of all models."""

    facts: Facts
    operations: Operations

    def of(self, model: Model, measure: _Measure, confidence: float) -> Interval | str:
        """A measure with its interval, or why there is none."""
        if measure == "size":
            size = self.facts.size_mb.get(model)
            return "it is not in the evidence" if size is None else Interval(value=size, low=size, high=size)
        if measure == "memory":
            grown = self.operations.memory_mb.get(model, [])
            if len(grown) < LEAST_MEMORIES:
                return f"the evidence has {count(len(grown), 'measurement')}, fewer than the {LEAST_MEMORIES} it takes"
            return Interval(value=rounded(float(np.median(grown))), low=rounded(min(grown)), high=rounded(max(grown)))
        samples = self.operations.latency_ms.get(model, [])
        if len(samples) < LEAST_LATENCIES:
            return f"the evidence has {count(len(samples), 'sample')}, fewer than the {LEAST_LATENCIES} it takes"
        return quantile(samples, _QUANTILES[measure], confidence)


def judge_operations(facts: Facts, operations: Operations, budget: Budget, confidence: float) -> list[Check]:
    """One check for each thing the budget asks. What was not measured, or not often enough, is left open."""
    costs = _Costs(facts, operations)
    bounds: dict[_Measure, float | None] = {
        "latency p50": budget.latency_p50_ms,
        "latency p95": budget.latency_p95_ms,
        "memory": budget.memory_mb,
        "size": budget.size_mb,
    }
    checks = [
        _within_budget(measure, costs.of("candidate", measure, confidence), bound)
        for measure, bound in bounds.items()
        if bound is not None
    ]
    if budget.times_champion is not None and facts.champion_digest:
        checks += [_against_champion(costs, measure, budget.times_champion, confidence) for measure in _SAYS]
    return checks


def quantile(samples: list[float], share: float, confidence: float) -> Interval:
    """A quantile with its order-statistic interval, whose ends each hold with `confidence` by themselves.

    An end is None when there are too few samples for it: 59 bound a 95 % quantile from above at 0.95.
    """
    ordered, ranks = np.sort(samples), np.arange(len(samples))
    # The probability that at most `rank` of the samples lie below the true quantile.
    below = bdtr(ranks, len(samples), share)
    above, under = np.flatnonzero(below >= confidence), np.flatnonzero(below <= 1 - confidence)
    return Interval(
        value=rounded(float(np.quantile(ordered, share))),
        low=rounded(float(ordered[under[-1]])) if len(under) else None,
        high=rounded(float(ordered[above[0]])) if len(above) else None,
    )


def _within_budget(measure: _Measure, found: Interval | str, bound: float) -> Check:
    if isinstance(found, str):
        reason = f"{measure} of the candidate is not known: {found}"
        return Check(name=measure, outcome="unknown", reason=reason, bound=bound)
    return _bounded(measure, _SAYS[measure].format(_spread(found)), found, bound, f"{bound:g}")


def _against_champion(costs: _Costs, measure: _Measure, most: float, confidence: float) -> Check:
    name = f"{measure} ratio"
    halved = 1 - (1 - confidence) / 2
    found = {model: costs.of(model, measure, halved) for model in ("candidate", "champion")}
    for model, one in found.items():
        if isinstance(one, str):
            reason = f"{measure} of the {model} is not known: {one}"
            return Check(name=name, outcome="unknown", reason=reason, bound=most)
    own, other = (_at_least(one, _LEAST_MB if measure == "memory" else 0) for one in found.values())
    least, most_likely, largest = _over(own.low, other.high), _over(own.value, other.value), _over(own.high, other.low)
    ratio = Interval(value=most_likely, low=least, high=largest)
    return _bounded(name, f"{measure} is {_spread(ratio)} times the champion's", ratio, most, f"{most:g} times")


def _bounded(name: str, says: str, observed: Interval, bound: float, most: str) -> Check:
    if observed.high is not None and observed.high <= bound:
        return Check(name=name, outcome="pass", reason=f"{says}: at most {most}", observed=observed, bound=bound)
    if observed.low is not None and observed.low > bound:
        return Check(name=name, outcome="fail", reason=f"{says}: more than {most}", observed=observed, bound=bound)
    reason = f"{says}: not shown to be at most {most}, nor more"
    return Check(name=name, outcome="unknown", reason=reason, observed=observed, bound=bound)


def _at_least(interval: Interval | str, least: float) -> Interval:
    assert isinstance(interval, Interval)
    ends = {name: None if end is None else max(end, least) for name, end in interval.model_dump().items()}
    return Interval(**ends)


def _over(own: float | None, other: float | None) -> float | None:
    return None if own is None or not other else rounded(own / other)


def _spread(interval: Interval) -> str:
    value, low, high = ("?" if end is None else f"{end:.3g}" for end in (interval.value, interval.low, interval.high))
    return value if low == high == value else f"{value} [{low}, {high}]"

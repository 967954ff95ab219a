"""The gate: a pure function from evidence and policy to a decision."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import polars as pl

from kfp_ratchet.components.gate.bootstrap import interval, resample, rounded
from kfp_ratchet.components.gate.metrics import prepare
from kfp_ratchet.components.gate.policy import METRICS, Policy
from kfp_ratchet.components.gate.slices import judge_slices
from kfp_ratchet.components.gate.sound import Scored, examine
from kfp_ratchet.components.gate.wording import count, number, rows_to_decide, sentence, spread, width, worst
from kfp_ratchet.components.shared.decision import Check, Decision, Interval, Verdict
from kfp_ratchet.components.shared.evidence import Evidence

_LATENCY_SAMPLES = 20
"""Fewer samples say nothing about a 95 % quantile."""


@dataclass(frozen=True)
class _Measured:
    """The metric of both models and the gain of one over the other, positive when the candidate is better."""

    candidate: Interval
    champion: Interval
    gain: Interval
    floors: dict[str, Interval]


def decide(
    evidence: Evidence,
    rows: pl.DataFrame,
    policy: Policy,
    *,
    latency_ms: Sequence[float] = (),
    evidence_digest: str = "",
) -> Decision:
    """Judge a candidate by its evidence. Pure: the same arguments give the same decision; row order does not matter.

    With margin m and the interval [low, high] of the paired gain: low > m promotes, high <= m rejects, anything else, and anything
    missing, non-finite, odd or too small, is inconclusive. Every other check must pass too.

    Args:
        evidence: What `evaluate` says about the rows and the models.
        rows: Scored rows as described in `shared/evidence.py`, any order.
        policy: What is asked.
        latency_ms: Samples of the candidate's single-row latency, milliseconds.
        evidence_digest: Written into the decision.

    Raises:
        InputError: The policy's metric, floor or margin does not fit the evidence's kind of problem.
    """
    metric = policy.metric_for(evidence.problem)
    blank = _blank(evidence, policy, metric, evidence_digest)
    if evidence.candidate_digest and evidence.candidate_digest == evidence.champion_digest:
        reason = f"the candidate is the champion ({_version(evidence)}): the same model digest, nothing to promote"
        return blank.model_copy(update={"verdict": "reject", "reason": sentence("reject", reason), "unchanged": True})
    scored, checks = examine(evidence, rows, policy)
    if scored is None or any(check.outcome != "pass" for check in checks):
        return _concluded(blank, checks, len(scored.label) if scored else 0)

    seed = _seed(scored)
    measured = _measure(scored, metric, policy, seed)
    checks.append(_gain_check(evidence, metric, measured, blank.margin, len(scored.label)))
    checks.extend(_floor_check(name, measured.floors[name], bound) for name, bound in sorted(policy.floors.items()))
    if policy.slices and scored.slices:
        checks.extend(judge_slices(scored, evidence.problem, metric, policy, policy.slices, seed))
    if policy.max_latency_ms is not None:
        checks.append(_latency_check(latency_ms, policy.max_latency_ms))
    judged = blank.model_copy(
        update={"candidate": measured.candidate, "champion": measured.champion, "gain": measured.gain}
    )
    return _concluded(judged, checks, len(scored.label))


def unverifiable(policy: Policy, reason: str) -> Decision:
    """The decision on evidence that cannot even be read: inconclusive."""
    return Decision(
        verdict="inconclusive",
        reason=sentence("inconclusive", reason),
        checks=(Check(name="evidence", outcome="unknown", reason=reason),),
        metric=policy.metric,
        margin=policy.margin,
        confidence=policy.confidence,
        policy_digest=policy.digest(),
        policy=policy.model_dump(mode="json"),
    )


def _blank(evidence: Evidence, policy: Policy, metric: str, evidence_digest: str) -> Decision:
    """All that a decision says before anything is judged."""
    return Decision(
        verdict="inconclusive",
        reason="",
        metric=metric,
        margin=policy.margin if evidence.champion_digest else policy.first_model.margin,
        confidence=policy.confidence,
        rows=evidence.rows,
        accepted_rows=evidence.accepted_rows,
        candidate_digest=evidence.candidate_digest,
        champion_version=evidence.champion_version,
        champion_digest=evidence.champion_digest,
        revision=evidence.revision,
        evidence_digest=evidence_digest,
        policy_digest=policy.digest(),
        policy=policy.model_dump(mode="json"),
    )


def _concluded(decision: Decision, checks: list[Check], rows: int) -> Decision:
    """One failed check rejects, one unknown one leaves it open; promoted only when all pass."""
    failed = [check for check in checks if check.outcome == "fail"]
    unknown = [check for check in checks if check.outcome == "unknown"]
    verdict: Verdict = "reject" if failed else "inconclusive" if unknown else "promote"
    gain = [check for check in checks if check.name == "gain"]
    reason = sentence(verdict, worst(failed or unknown or gain))
    return decision.model_copy(update={"verdict": verdict, "reason": reason, "checks": tuple(checks), "rows": rows})


def _seed(scored: Scored) -> int:
    """A seed from what both models share, so that a pair and its swap see the same resamples."""
    shared = sha256("\n".join(scored.keys).encode())
    shared.update(scored.label.tobytes())
    shared.update(scored.weight.tobytes())
    return int.from_bytes(shared.digest()[:8])


def _measure(scored: Scored, metric: str, policy: Policy, seed: int) -> _Measured:
    prepared = [
        prepare(metric, scored.label, scored.candidate),
        prepare(metric, scored.label, scored.champion),
        *(prepare(name, scored.label, scored.candidate) for name in policy.floors),
    ]
    values = [float(statistic(scored.weight[None, :])[0]) for statistic in prepared]
    drawn = resample(prepared, scored.weight, policy.resamples, seed)
    sign = 1 if METRICS[metric].greater_is_better else -1
    candidate, champion, *floors = (
        interval(value, resampled, policy.confidence) for value, resampled in zip(values, drawn, strict=True)
    )
    with np.errstate(invalid="ignore"):
        gain = interval(sign * (values[0] - values[1]), sign * (drawn[0] - drawn[1]), policy.confidence)
    return _Measured(candidate, champion, gain, dict(zip(policy.floors, floors, strict=True)))


def _gain_check(evidence: Evidence, metric: str, measured: _Measured, margin: float, rows: int) -> Check:
    gain = measured.gain
    own, other = number(measured.candidate.value, width(gain)), number(measured.champion.value, width(gain))
    rival = (
        f"the champion's ({_version(evidence)}) {other}" if evidence.champion_digest else f"the trivial model's {other}"
    )
    subject = f"{metric} {own}" if evidence.champion_digest else f"first model; {metric} {own}"
    by, on = (f" by more than {margin:g}" if margin else ""), f"on {count(rows, 'row')}"
    if gain.value is None or gain.low is None or gain.high is None:
        reason = f"{metric} is undefined on some resamples of the {count(rows, 'row')}, so the gain has no interval"
        return Check(name="gain", outcome="unknown", reason=reason, observed=gain, bound=margin)
    if gain.low > margin:
        past = f", more than {margin:g}," if margin else ""
        reason = f"{subject} beats {rival} by {spread(gain)}{past} {on}"
        return Check(name="gain", outcome="pass", reason=reason, observed=gain, bound=margin)
    if gain.high <= margin:
        reason = f"{subject} does not beat {rival}{by}: the gain is {spread(gain)} {on}"
        return Check(name="gain", outcome="fail", reason=reason, observed=gain, bound=margin)
    more = rows_to_decide(rows, gain, margin)
    reason = f"{subject} is not shown to beat {rival}{by}, nor not to: the gain is {spread(gain)} {on}; {more}"
    return Check(name="gain", outcome="unknown", reason=reason, observed=gain, bound=margin)


def _floor_check(metric: str, observed: Interval, bound: float) -> Check:
    greater = METRICS[metric].greater_is_better
    name, side = f"floor {metric}", "at least" if greater else "at most"
    if observed.low is None or observed.high is None:
        reason = f"{metric} of the candidate is undefined on some resamples, so {side} {bound:g} cannot be shown"
        return Check(name=name, outcome="unknown", reason=reason, observed=observed, bound=rounded(bound))
    kept = observed.low >= bound if greater else observed.high <= bound
    lost = observed.high < bound if greater else observed.low > bound
    said = "is" if kept else "is not" if lost else "is not shown to be"
    return Check(
        name=name,
        outcome="pass" if kept else "fail" if lost else "unknown",
        reason=f"{metric} {spread(observed)} of the candidate {said} {side} {bound:g}",
        observed=observed,
        bound=rounded(bound),
    )


def _latency_check(samples: Sequence[float], most: float) -> Check:
    if len(samples) < _LATENCY_SAMPLES or not np.isfinite(samples).all():
        reason = f"the evidence has {count(len(samples), 'sound latency sample')}, fewer than the {_LATENCY_SAMPLES} it takes"
        return Check(name="latency", outcome="unknown", reason=reason, bound=most)
    observed = float(np.quantile(np.asarray(samples, dtype=np.float64), 0.95))
    within = observed <= most
    return Check(
        name="latency",
        outcome="pass" if within else "fail",
        reason=f"95 % of single-row predictions take {observed:.3g} ms or less; {'within' if within else 'more than'} {most:g} ms",
        observed=Interval(value=rounded(observed)),
        bound=most,
    )


def _version(evidence: Evidence) -> str:
    return f"v{evidence.champion_version}"

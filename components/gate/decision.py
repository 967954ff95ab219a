"""The gate: a pure function from evidence and policy to a decision."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kfp_ratchet.components.gate.intervals import Estimated, Sampling, detectable, measure, rounded, rows_to_decide
from kfp_ratchet.components.gate.metric_kinds import kind
from kfp_ratchet.components.gate.metrics import Array, Statistic, prepare
from kfp_ratchet.components.gate.operations import judge_operations
from kfp_ratchet.components.gate.policy import Policy
from kfp_ratchet.components.gate.slices import judge_slices
from kfp_ratchet.components.gate.sound import Scored, examine
from kfp_ratchet.components.gate.wording import count, more_rows, number, sentence, spread, width, worst
from kfp_ratchet.components.shared.decision import Check, Decision, Evaluation, Interval, Outcome, Verdict
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.evidence import Evidence, Facts


@dataclass(frozen=True)
class _Asked:
    """Evidence and policy, and what follows from both."""

    facts: Facts
    policy: Policy
    metric: str
    loss_allowed: float | None
    """The non-inferiority margin; None asks for superiority."""

    @property
    def margin(self) -> float:
        """What a gain must lie above to be one."""
        return self.policy.margin if self.facts.champion_digest else self.policy.first_model.margin

    @property
    def bound(self) -> float:
        """What the gain over the champion must lie above to promote."""
        return self.margin if self.loss_allowed is None else -self.loss_allowed


@dataclass(frozen=True)
class _Measured:
    """What the rows say, and how sure that is."""

    by_name: dict[str, Estimated]
    sampling: Sampling
    clusters: int

    @property
    def on(self) -> str:
        """What was measured on, in words."""
        rows = count(len(self.sampling.weight), "row")
        return f"{rows} in {count(self.clusters, 'cluster')}" if self.clusters else rows

    def __getitem__(self, name: str) -> Interval:
        return self.by_name[name].interval if name in self.by_name else Interval()

    def more(self, name: str, bound: float) -> str:
        """What it would take to decide on which side of a bound something lies."""
        found = self.by_name[name]
        return more_rows(rows_to_decide(found, bound, self.sampling), len(self.sampling.weight))


def decide(evidence: Evidence, policy: Policy | Mapping[str, Any]) -> Decision:
    """Judge a candidate by its evidence. Pure: the same arguments give the same decision; row order does not matter.

    With the interval [low, high] of the paired gain over the champion:
    - superiority (preset `strict`), margin m: low > m promotes, high <= m rejects;
    - non-inferiority (preset `fresh`), margin d: low > -d promotes, high <= -d rejects; and the same of the gain over the anchor;
    - anything else, and anything missing, non-finite, odd or too small, is inconclusive.
    Every other check must pass too. A first model is held against the trivial one, by superiority.

    Args:
        evidence: What `evaluate` saw; `Evidence.read` and `Evidence.of` make one.
        policy: What is asked, or its keys and values.

    Raises:
        InputError: What is given is no evidence or no policy, or a setting does not fit the evidence's kind of problem or classes.
    """
    if not isinstance(evidence, Evidence):
        raise InputError(f"evidence is {type(evidence).__name__}", "pass Evidence.of(label, candidate, champion)")
    policy = Policy.of(policy)
    facts = evidence.facts
    asked = _asked(facts, policy)
    blank = _blank(evidence, asked)
    if facts.candidate_digest and facts.candidate_digest == facts.champion_digest:
        reason = f"the candidate is the champion{_version(facts.champion_version)}: the same model digest, nothing to promote"
        return blank.model_copy(update={"verdict": "reject", "reason": sentence("reject", reason), "unchanged": True})
    scored, checks = examine(evidence, policy)
    if scored is None:
        return _concluded(blank, checks)
    seen = Evaluation(digest=scored.digest, start=facts.start, end=facts.end)
    blank = blank.model_copy(update={"evaluation": seen, "rows": len(scored.label)})
    if any(check.outcome != "pass" for check in checks):
        return _concluded(blank, checks)

    measured = _measure(scored, asked)
    # What decides comes first: the first check that does not pass is the sentence.
    checks = [*_questions(asked, measured), *checks, *_limits(asked, scored, measured)]
    if policy.slices and scored.slices:
        lost = policy.slices.margin if policy.slices.margin is not None else asked.loss_allowed or 0.0
        checks += judge_slices(scored, facts.problem, asked.metric, policy, policy.slices, lost)
    checks += judge_operations(facts, evidence.operations, policy.budget, policy.confidence)
    return _concluded(_with(blank, asked, measured), checks)


def unverifiable(policy: Policy, reason: str) -> Decision:
    """The decision on evidence that cannot even be read: inconclusive."""
    return Decision(
        verdict="inconclusive",
        reason=sentence("inconclusive", reason),
        checks=(Check(name="evidence", outcome="unknown", reason=reason),),
        sets_anchor=False,
        metric=policy.metric,
        question=policy.question,
        margin=policy.margin if policy.question == "superiority" else policy.non_inferiority_margin or 0.0,
        confidence=policy.confidence,
        policy_digest=policy.digest(),
        policy=policy.model_dump(mode="json"),
    )


def _asked(facts: Facts, policy: Policy) -> _Asked:
    metric = policy.metric_for(facts.problem)
    if policy.cost_matrix and facts.problem == "multiclass" and len(policy.cost_matrix) != len(facts.classes):
        raise InputError(
            f"policy.cost_matrix: it has {len(policy.cost_matrix)} rows, and there are {len(facts.classes)} classes "
            f"({', '.join(facts.classes)})",
            "give one row and one column for each, in this order",
        )
    fresh = policy.question == "non_inferiority" and bool(facts.champion_digest)
    return _Asked(facts, policy, metric, policy.loss_allowed(metric) if fresh else None)


def _blank(evidence: Evidence, asked: _Asked) -> Decision:
    """All that a decision says before anything is judged."""
    facts, policy = evidence.facts, asked.policy
    anchored = facts.anchor_digest not in ("", facts.champion_digest)
    return Decision(
        verdict="inconclusive",
        reason="",
        metric=asked.metric,
        question="superiority" if asked.loss_allowed is None else "non_inferiority",
        margin=asked.margin if asked.loss_allowed is None else asked.loss_allowed,
        anchor_version=facts.anchor_version if anchored else "",
        anchor_digest=facts.anchor_digest if anchored else "",
        sets_anchor=False,
        sampled_from=evidence.sampled_from,
        confidence=policy.confidence,
        rows=evidence.rows.height if evidence.sampled_from else facts.rows,
        accepted_rows=facts.accepted_rows,
        candidate_digest=facts.candidate_digest,
        champion_version=facts.champion_version,
        champion_digest=facts.champion_digest,
        revision=facts.revision,
        evidence_digest=evidence.digest,
        policy_digest=policy.digest(),
        policy=policy.model_dump(mode="json"),
    )


def _with(blank: Decision, asked: _Asked, measured: _Measured) -> Decision:
    """The same with all that was measured."""
    gain, anchor_gain = measured.by_name["gain"], measured["anchor gain"]
    better = [found.low is not None and found.low > asked.margin for found in (gain.interval, anchor_gain)]
    reach = detectable(gain)
    return blank.model_copy(
        update={
            "candidate": measured["candidate"],
            "champion": measured["champion"],
            "gain": gain.interval,
            "anchor_gain": anchor_gain,
            # An anchor that cannot be scored is given up for the next model that is better than the champion: kept, nothing would
            # ever pass it again.
            "sets_anchor": better[0] and (better[1] or not asked.facts.has_anchor),
            "churn": _flipped(measured["agreement"]),
            "method": gain.method,
            "detectable": rounded(asked.bound + reach),
        }
    )


def _concluded(decision: Decision, checks: list[Check]) -> Decision:
    """One failed check rejects, one unknown one leaves it open; promoted only when all pass."""
    failed = [check for check in checks if check.outcome == "fail"]
    unknown = [check for check in checks if check.outcome == "unknown"]
    verdict: Verdict = "reject" if failed else "inconclusive" if unknown else "promote"
    reason = sentence(verdict, worst(failed or unknown or checks[:1]))
    return decision.model_copy(update={"verdict": verdict, "reason": reason, "checks": tuple(checks)})


def _measure(scored: Scored, asked: _Asked) -> _Measured:
    """Everything on the same rows and resamples."""
    facts, policy = asked.facts, asked.policy

    def of(scores: Array, metric: str = asked.metric) -> Statistic:
        return prepare(metric, scored.label, scores, policy.cost_matrix or None)

    def trivial(scores: Array) -> Statistic:
        found = of(scores)
        if facts.problem == "binary" and not np.isfinite(found(scored.weight[None, :])).all():
            # It answers no row with class 1, and has no precision: held against one that answers every row so.
            return of(np.ones_like(scores))
        return found

    statistics = {
        "candidate": of(scored.candidate),
        "champion": of(scored.champion) if facts.champion_digest else trivial(scored.champion),
    }
    differences = {"gain": ("candidate", "champion", kind(asked.metric).sign)}
    if scored.anchor is not None:
        statistics["anchor"] = of(scored.anchor)
        differences["anchor gain"] = ("candidate", "anchor", kind(asked.metric).sign)
    if facts.champion_digest and policy.beats_baseline and scored.baseline is not None:
        statistics["baseline"] = trivial(scored.baseline)
        differences["baseline gain"] = ("candidate", "baseline", kind(asked.metric).sign)
    if facts.champion_digest and facts.problem != "regression":
        # One minus churn: how often the candidate is "right" when the champion's answers count as the truth.
        statistics["agreement"] = prepare("accuracy", _answers(scored.champion), scored.candidate)
    statistics |= {f"floor {name}": of(scored.candidate, name) for name in policy.floors}
    sampling = Sampling(scored.weight, scored.cluster, policy.confidence, policy.resamples, scored.seed)
    return _Measured(measure(statistics, differences, sampling), sampling, scored.clusters)


def _answers(scores: Array) -> Array:
    """The likeliest class."""
    answers: Array = ((scores > 0.5) if scores.ndim == 1 else scores.argmax(axis=1)).astype(np.float64)
    return answers


def _questions(asked: _Asked, measured: _Measured) -> Iterator[Check]:
    """What the gain must be: over champion or trivial model, over the anchor, and over the trivial model once more."""
    facts, policy = asked.facts, asked.policy
    if not facts.champion_digest:
        subject = f"first model; {asked.metric}"
        yield _superiority("gain", subject, "the trivial model's", "champion", asked.margin, measured)
        return
    champion = f"the champion's{_version(facts.champion_version)}"
    if asked.loss_allowed is None:
        yield _superiority("gain", asked.metric, champion, "champion", asked.margin, measured)
    else:
        yield _non_inferiority("gain", asked, champion, "champion", measured)
        if "anchor gain" in measured.by_name:
            anchor = f"the anchor's{_version(facts.anchor_version)}"
            yield _non_inferiority("anchor gain", asked, anchor, "anchor", measured)
        elif facts.anchor_problem:
            yield _without_anchor(facts, measured["gain"], asked.margin)
    if policy.beats_baseline:
        yield _baseline(asked, measured)


def _without_anchor(facts: Facts, gain: Interval, margin: float) -> Check:
    """Nothing says how much was lost since an anchor that cannot be scored: only what gains on the champion passes."""
    better = gain.low is not None and gain.low > margin
    instead = (
        "the candidate beats the champion, and becomes the anchor instead"
        if better
        else "until it can be, only a candidate that is shown to beat the champion is promoted, and becomes the anchor instead"
    )
    reason = f"the anchor{_version(facts.anchor_version)} cannot be scored ({facts.anchor_problem}); {instead}"
    return Check(name="anchor gain", outcome="pass" if better else "unknown", reason=reason)


def _baseline(asked: _Asked, measured: _Measured) -> Check:
    if "baseline" not in measured.by_name:
        reason = "the evidence has no sound trivial model that the candidate could beat"
        return Check(name="baseline gain", outcome="unknown", reason=reason)
    if measured["baseline"].value is None:
        remedy = "where that lies in the metric, set policy.beats_baseline: false"
        reason = f"{asked.metric} is undefined for the trivial model, so there is none to beat; {remedy}"
        return Check(name="baseline gain", outcome="unknown", reason=reason)
    return _superiority("baseline gain", asked.metric, "the trivial model's", "baseline", 0.0, measured)


def _superiority(name: str, subject: str, rival: str, rival_name: str, margin: float, measured: _Measured) -> Check:
    gain, on = measured[name], measured.on
    subject, rival = (
        f"{text} {number(measured[model].value, width(gain))}"
        for text, model in ((subject, "candidate"), (rival, rival_name))
    )
    by = f" by more than {margin:g}" if margin else ""
    if gain.low is None or gain.high is None:
        return _open(name, f"{subject} and {rival} have no interval of their difference on {on}", gain, margin)
    if gain.low > margin:
        past = f", more than {margin:g}," if margin else ""
        return _check(name, "pass", f"{subject} beats {rival} by {spread(gain)}{past} on {on}", gain, margin)
    if gain.high <= margin:
        says = f"{subject} does not beat {rival}{by}: the gain is {spread(gain)} on {on}"
        return _check(name, "fail", says, gain, margin)
    says = f"{subject} is not shown to beat {rival}{by}, nor not to: the gain is {spread(gain)} on {on}"
    return _open(name, f"{says}; {measured.more(name, margin)}", gain, margin)


def _non_inferiority(name: str, asked: _Asked, rival: str, rival_name: str, measured: _Measured) -> Check:
    gain, on, bound = measured[name], measured.on, asked.bound
    subject = f"{asked.metric} {number(measured['candidate'].value, width(gain))}"
    rival = f"{rival} {number(measured[rival_name].value, width(gain))}"
    if gain.low is None or gain.high is None:
        return _open(name, f"{subject} and {rival} have no interval of their difference on {on}", gain, bound)
    if gain.low > asked.margin:
        return _check(name, "pass", f"{subject} beats {rival} by {spread(gain)} on {on}", gain, bound)
    says = f"{-bound:g} against {rival}"
    seen = f"the gain is {spread(gain)} on {on}"
    if gain.low > bound:
        return _check(name, "pass", f"{subject} is shown to lose less than {says}: {seen}", gain, bound)
    if gain.high <= bound:
        return _check(name, "fail", f"{subject} is shown to lose at least {says}: {seen}", gain, bound)
    reason = f"{subject} is not shown to lose less than {says}, nor more: {seen}; {measured.more(name, bound)}"
    return _open(name, reason, gain, bound)


def _limits(asked: _Asked, scored: Scored, measured: _Measured) -> Iterator[Check]:
    """Floors, the range of scores, and churn."""
    policy = asked.policy
    for name, bound in sorted(policy.floors.items()):
        yield _floor(name, measured[f"floor {name}"], bound)
    if policy.score_range:
        least, most = policy.score_range
        low, high = float(scored.candidate.min()), float(scored.candidate.max())
        inside = least <= low and high <= most
        reason = f"the candidate's scores run from {low:.6g} to {high:.6g}, {'inside' if inside else 'not inside'} [{least:g}, {most:g}]"
        yield Check(name="score range", outcome="pass" if inside else "fail", reason=reason)
    if policy.max_churn is not None and asked.facts.champion_digest:
        churn = _flipped(measured["agreement"])
        bound = policy.max_churn
        says = f"the candidate answers otherwise than the champion on {_percent(churn)} of the rows"
        if churn.high is not None and churn.high <= bound:
            yield _check("churn", "pass", f"{says}, at most {bound:.4g} are allowed", churn, bound)
        elif churn.low is not None and churn.low > bound:
            yield _check("churn", "fail", f"{says}, more than {bound:.4g}", churn, bound)
        else:
            yield _open("churn", f"{says}, not shown to be at most {bound:.4g}, nor more", churn, bound)


def _floor(metric: str, observed: Interval, bound: float) -> Check:
    greater = kind(metric).greater_is_better
    name, side = f"floor {metric}", "at least" if greater else "at most"
    if observed.low is None or observed.high is None:
        reason = f"{metric} of the candidate has no interval, so {side} {bound:g} cannot be shown"
        return _open(name, reason, observed, bound)
    kept = observed.low >= bound if greater else observed.high <= bound
    lost = observed.high < bound if greater else observed.low > bound
    outcome: Outcome = "pass" if kept else "fail" if lost else "unknown"
    said = {"pass": "is", "fail": "is not", "unknown": "is not shown to be"}[outcome]
    reason = f"{metric} {spread(observed)} of the candidate {said} {side} {bound:g}"
    return _check(name, outcome, reason, observed, bound)


def _check(name: str, outcome: Outcome, reason: str, observed: Interval, bound: float) -> Check:
    return Check(name=name, outcome=outcome, reason=reason, observed=observed, bound=rounded(bound))


def _open(name: str, reason: str, observed: Interval, bound: float) -> Check:
    return _check(name, "unknown", reason, observed, bound)


def _flipped(share: Interval) -> Interval:
    """One minus a share."""
    value, low, high = (None if end is None else rounded(1 - end) for end in (share.value, share.high, share.low))
    return Interval(value=value, low=low, high=high)


def _percent(share: Interval) -> str:
    if share.value is None or share.low is None or share.high is None:
        return "an unknown share"
    return f"{100 * share.value:.3g} % [{100 * share.low:.3g}, {100 * share.high:.3g}]"


def _version(version: str) -> str:
    return f" (v{version})" if version else ""

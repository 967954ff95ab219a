"""The decision's figures, for its page and the run's report. Each returns trusted HTML, "" when there is nothing to draw."""

import math
from collections.abc import Sequence

from kfp_ratchet.components.gate.metric_kinds import METRICS
from kfp_ratchet.components.gate.wording import count
from kfp_ratchet.components.shared.charts import Row, chosen, intervals
from kfp_ratchet.components.shared.decision import Check, Decision, Interval

MOST_SLICES = 60
"""Slices that are shown: a page of five hundred is read by nobody."""


def comparison(decision: Decision) -> str:
    """Candidate and the model it was held against, in the metric's unit."""
    version = f" v{decision.champion_version}" if decision.champion_version else ""
    champion = f"champion{version}" if decision.champion_digest else "trivial model"
    rows = [_row("candidate", decision.candidate), _row(champion, decision.champion)]
    return intervals(decision.metric or "metric", rows, caption=_confidence(decision))


def gain(decision: Decision) -> str:
    """The paired gain, over champion and anchor, and what it has to clear."""
    version = f" v{decision.champion_version}" if decision.champion_version else ""
    other = f"champion{version}" if decision.champion_digest else "trivial model"
    rows = [_row(f"over the {other}", decision.gain)]
    if decision.anchor_gain.value is not None:
        rows.append(_row(f"over the anchor v{decision.anchor_version}", decision.anchor_gain))
    lost = decision.question == "non_inferiority"
    said = f"margin {chosen(decision.margin)}" if not lost else f"a loss of {chosen(decision.margin)} is allowed"
    return intervals(
        "Gain of the candidate",
        rows,
        bound=-decision.margin if lost else decision.margin,
        bound_label=f"{said}; to promote, the whole interval has to lie to its right",
        caption="Paired on the same rows; positive is better.",
    )


def slices(checks: Sequence[Check]) -> str:
    """The gain within each slice, with the bound they share."""
    shown = [check for check in checks if check.observed.value is not None]
    bounds = {check.bound for check in shown}
    bound = bounds.pop() if len(bounds) == 1 else None
    return intervals(
        "Gain by slice",
        [_row(check_name(check), check.observed, "fails" if check.outcome == "fail" else "") for check in shown],
        bound=bound,
        bound_label=f"bound {chosen(bound)}; a slice fails when its gain is shown to lie to the left"
        if bound is not None
        else "",
    )


def is_slice(check: Check) -> bool:
    """Is a check about slices of the rows?"""
    return check.name.startswith("slice")


def worst_slices(checks: Sequence[Check]) -> list[Check]:
    """The slices to show: those that failed, then by gain, lowest first; what could not be judged comes last."""
    order = {"fail": 0, "unknown": 1, "pass": 1}
    found = [check for check in checks if is_slice(check)]
    lowest = sorted(found, key=lambda check: math.inf if check.observed.value is None else check.observed.value)
    return sorted(lowest, key=lambda check: order[check.outcome])[:MOST_SLICES]


def check_name(check: Check) -> str:
    """A check's name, a slice's without the word that all of them start with."""
    return check.name.removeprefix("slices").removeprefix("slice").lstrip(" :._") or check.name


def _row(label: str, interval: Interval, note: str = "") -> Row:
    return Row(label, interval.value, interval.low, interval.high, note)


def _confidence(decision: Decision) -> str:
    rows = f" on {count(decision.rows, 'row')}, the same for both" if decision.rows else ""
    known = METRICS.get(decision.metric.partition("@")[0])
    better = f"{'Higher' if known.greater_is_better else 'Lower'} is better. " if known else ""
    return f"{better}Estimate and interval{rows}; each end holds with {100 * decision.confidence:g} % confidence by itself."

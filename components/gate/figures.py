"""The decision's figures, for its page and the run's report. Each returns trusted HTML, "" when there is nothing to draw."""

from collections.abc import Sequence

from kfp_ratchet.components.gate.wording import count
from kfp_ratchet.components.shared.charts import Row, chosen, intervals
from kfp_ratchet.components.shared.decision import Check, Decision, Interval


def comparison(decision: Decision) -> str:
    """Candidate and the model it was held against, in the metric's unit."""
    champion = f"champion v{decision.champion_version}" if decision.champion_version else "trivial baseline"
    rows = [_row("candidate", decision.candidate), _row(champion, decision.champion)]
    return intervals(decision.metric or "metric", rows, caption=_confidence(decision))


def gain(decision: Decision) -> str:
    """The paired gain, and the margin it has to clear."""
    other = "champion" if decision.champion_version else "baseline"
    return intervals(
        f"Gain over the {other}",
        [_row("gain", decision.gain)],
        bound=decision.margin,
        bound_label=f"margin {chosen(decision.margin)}; the whole interval has to lie to its right",
        caption="Paired on the same rows; positive is better.",
    )


def slices(checks: Sequence[Check]) -> str:
    """The gain within each slice, with the bound they share."""
    shown = [check for check in checks if check.observed.value is not None]
    bounds = {check.bound for check in shown}
    bound = bounds.pop() if len(bounds) == 1 else None
    return intervals(
        "Gain by slice",
        [_row(check_name(check), check.observed) for check in shown],
        bound=bound,
        bound_label=f"bound {chosen(bound)}; a slice fails when its gain is shown to lie to the left"
        if bound is not None
        else "",
    )


def check_name(check: Check) -> str:
    """A check's name, a slice's without the word that all of them start with."""
    return check.name.removeprefix("slices").removeprefix("slice").lstrip(" :._") or check.name


def _row(label: str, interval: Interval) -> Row:
    return Row(label, interval.value, interval.low, interval.high)


def _confidence(decision: Decision) -> str:
    rows = f" on {count(decision.rows, 'row')}" if decision.rows else ""
    return f"With confidence intervals{rows}, the same rows for both."

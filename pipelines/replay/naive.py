"""What the naive rule would have done: promote whenever the candidate's metric is better than the one the live model had when it was new.

It is what many pipelines do. Both numbers are points, each measured on rows of another month; it has no validation, no interval and no
margin.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kfp_ratchet.components.gate.metric_kinds import kind
from kfp_ratchet.pipelines.replay.story import Retrain


@dataclass(frozen=True)
class Choice:
    """What the naive rule would have done with one period's candidate."""

    period: str
    candidate: float | None
    """The candidate's metric on this period's rows; None when there was no candidate, or it could not be scored."""
    stored: float | None
    """What the rule's champion scored in the period that made it champion; None before the first."""
    promotes: bool | None
    """None when there was no candidate."""
    live_before: str
    """Version that the rule would have had live until then, "" for none."""
    live_after: str


def follow(retrains: Sequence[Retrain]) -> list[Choice]:
    """Apply the rule to the same candidates, one choice a retrain."""
    choices: list[Choice] = []
    live, stored = "", None
    for retrain in retrains:
        decision = retrain.decision if retrain.version else None
        if decision is None:
            choices.append(Choice(retrain.period, None, stored, None, live, live))
            continue
        value = decision.candidate.value
        better = value is not None and (stored is None or _is_better(decision.metric, value, stored))
        after = retrain.version if better else live
        choices.append(Choice(retrain.period, value, stored, better, live, after))
        if better:
            live, stored = after, value
    return choices


def _is_better(metric: str, value: float, other: float) -> bool:
    return value > other if kind(metric).greater_is_better else value < other

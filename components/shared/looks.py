"""How often the same rows have judged: each further look makes a promotion by luck more likely."""

from collections.abc import Iterable
from datetime import UTC, datetime

from kfp_ratchet.components.shared.decision import Evaluation
from kfp_ratchet.components.shared.entry import JUDGED, Draft


def looks(draft: Draft, earlier: Iterable[Draft]) -> int:
    """How many other models were judged before on the rows of `draft`, or on a time window that shares half of the shorter one.

    Args:
        draft: What is judged now.
        earlier: Entries before it; those about the same model do not count, and a model counts once.
    """
    return len(
        {
            entry.digest
            for entry in earlier
            if entry.kind in JUDGED and entry.digest != draft.digest and _same(entry.evaluation, draft.evaluation)
        }
    )


def _same(one: Evaluation, other: Evaluation) -> bool:
    if one.digest and one.digest == other.digest:
        return True
    first, second = _window(one), _window(other)
    if first is None or second is None:
        return False
    shared = min(first[1], second[1]) - max(first[0], second[0])
    shorter = min(first[1] - first[0], second[1] - second[0])
    return shared >= shorter / 2 and (shared > 0 or shorter == 0)


def _window(evaluation: Evaluation) -> tuple[float, float] | None:
    """Start and end in seconds; None where there is no time column."""
    try:
        start, end = (datetime.fromisoformat(text) for text in (evaluation.start, evaluation.end))
    except ValueError:
        return None
    seconds = [(time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() for time in (start, end)]
    return seconds[0], seconds[1]

"""Numbers and verdicts in words."""

import math
from typing import TYPE_CHECKING

from kfp_ratchet.components.shared.decision import Check, Interval, Verdict

if TYPE_CHECKING:
    from kfp_ratchet.components.gate.intervals import Needed

WORD: dict[Verdict, str] = {"promote": "Promoted", "reject": "Rejected", "inconclusive": "Inconclusive"}


def sentence(verdict: Verdict, reason: str) -> str:
    """The decision's one sentence."""
    return f"{WORD[verdict]}: {reason}."


def count(how_many: int, noun: str) -> str:
    """A number of things: `1 row`, `24,312 rows`."""
    return f"{how_many:,} {noun}{'' if how_many == 1 else 's'}"


def number(value: float | None, width: float = math.nan) -> str:
    """A number with as many decimals as an interval of this width makes worth reading; four when there is none."""
    if value is None:
        return "undefined"
    decimals = min(max(1 - math.floor(math.log10(width)), 0), 10) if math.isfinite(width) and width > 0 else 4
    return f"{value:,.{decimals}f}" if abs(value) < 1e9 else f"{value:.6g}"


def spread(interval: Interval) -> str:
    """An estimate and its interval: `0.0077 [0.0049, 0.0105]`."""
    if interval.low is None or interval.high is None:
        return number(interval.value)
    width = interval.high - interval.low
    return f"{number(interval.value, width)} [{number(interval.low, width)}, {number(interval.high, width)}]"


def width(interval: Interval) -> float:
    """Width of an interval, NaN when it has no ends."""
    return math.nan if interval.low is None or interval.high is None else interval.high - interval.low


def more_rows(needed: "Needed | None", rows: int) -> str:
    """How many rows would decide; `needed` is None when none in reach would."""
    if needed is None:
        return "no number of rows in reach would decide so small a difference"
    clusters = f" in {_about(needed.clusters):,} clusters" if needed.clusters else ""
    return (
        f"about {_about(max(needed.rows, rows + 1)):,} rows{clusters} would decide it with 80 % probability if the difference "
        "stayed as it is"
    )


def worst(checks: list[Check]) -> str:
    """The reason of the first of some checks, and how many more there are."""
    more = len(checks) - 1
    return checks[0].reason + (f" (and {more} more check{'s' if more > 1 else ''} did not pass)" if more else "")


def _about(value: int) -> int:
    """Rounded up to two digits."""
    step = int(10 ** max(len(str(value)) - 2, 0))
    return -(-value // step) * step

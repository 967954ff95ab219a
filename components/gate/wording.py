"""Numbers and verdicts in words."""

import math

from kfp_ratchet.components.shared.decision import Check, Interval, Verdict

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


def rows_to_decide(rows: int, interval: Interval, bound: float) -> str:
    """About how many rows would decide, if the estimate stayed as it is: an interval narrows with the square root of the rows."""
    if interval.value is None or interval.low is None or interval.high is None:
        return ""
    distance = abs(interval.value - bound)
    reach = interval.value - interval.low if interval.value > bound else interval.high - interval.value
    if distance == 0 or reach / distance > 1000:
        return "no number of rows in reach would decide so small a difference"
    needed = max(rows * (reach / distance) ** 2, rows + 1)
    step = 10 ** max(math.floor(math.log10(needed)) - 1, 0)
    return f"about {math.ceil(needed / step) * step:,} rows would decide it if the difference stayed as it is"


def worst(checks: list[Check]) -> str:
    """The reason of the first of some checks, and how many more there are."""
    more = len(checks) - 1
    return checks[0].reason + (f" (and {more} more check{'s' if more > 1 else ''} did not pass)" if more else "")

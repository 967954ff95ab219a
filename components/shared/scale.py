"""The arithmetic of an axis: what is drawn where, and which round numbers stand beside it."""

import math
from collections.abc import Iterable, Sequence

MINUS = "\N{MINUS SIGN}"
_LARGEST = 1e300


def round_ticks(low: float, high: float, count: int, least: float = 0.0) -> list[float]:
    """Round numbers within [low, high], about `count` of them: steps of 1, 2 or 5 times a power of ten, none below `least`."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = max(least, next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Ticks as text, all with the decimals that the finest of them needs."""
    if any(tick != 0 and not 1e-6 <= abs(tick) < 1e9 for tick in ticks):
        return [f"{tick:.6g}".replace("-", MINUS) for tick in ticks]
    decimals = max((len(f"{tick:.12g}".partition(".")[2]) for tick in ticks), default=0)
    return [f"{tick:,.{decimals}f}".replace("-", MINUS) for tick in ticks]


def padded(values: Iterable[float], share: float) -> tuple[float, float]:
    """The ends of a scale that holds all values and `share` of its length more on either side."""
    low, high = min(values := list(values)), max(values)
    # A single value still needs a scale that floats can tell apart.
    pad = (high - low) * share or max(abs(high) * 0.05, 1e-6)
    return low - pad, high + pad


def percent(value: float, low: float, high: float) -> float:
    """Where a value lies between `low` (0) and `high` (100)."""
    return 100 * (value - low) / (high - low)


def place(value: float, low: float, high: float) -> str:
    """The same as an attribute: `12.34%`."""
    return f"{percent(value, low, high):.2f}%"


def finite(*values: float | None) -> bool:
    """Can all of them be drawn?"""
    # Beyond the largest, the width of a scale overflows.
    return all(value is not None and abs(value) <= _LARGEST for value in values)

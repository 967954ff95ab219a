"""Figures as inline SVG in a `page`: interval charts, bars and curves.

Drawn in percentages of their box, so they fit any width while text keeps its size; colours are the page's CSS variables. Each returns
trusted HTML (`<figure class="chart">`); labels and titles are plain text and are escaped here. Numbers that are missing or not finite
are said, never drawn.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

_MARKS = ("var(--accent)", "var(--second)", "var(--muted)")
_PLOT_HEIGHT_PX = 220
_LARGEST = 1e300
_SMALL = 1e-4
_MINUS = "\N{MINUS SIGN}"
_DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Row:
    """One labelled estimate with its interval; all in the same unit within a figure."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """One named curve: points (x, y) in the order in which they are joined; `dots` joins none, `marked` is a line with dots."""

    name: str
    points: Sequence[tuple[float, float | None]]
    style: Literal["line", "dashed", "dots", "marked"] = "line"


def number(value: object, among: Iterable[float | None] = ()) -> str:
    """A number for people: thousands separated, about four significant digits; an en dash for what is missing or not finite.

    Beside larger numbers (`among`), one that is too small for four decimals is 0.0000, not a power of ten.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _DASH if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}".replace("-", _MINUS)
    if not math.isfinite(value):
        return _DASH
    size = abs(value)
    if value.is_integer() and size < 1e12:
        text = f"{value:,.0f}"
    elif size < _SMALL and any(_finite(other) and abs(other or 0) >= _SMALL for other in among):
        text = f"{round(value, 4) + 0.0:.4f}"
    elif size < _SMALL or size >= 1e12:
        text = f"{value:.2e}"
    else:
        decimals = 4 if size < 1 else 3 if size < 10 else 2 if size < 100 else 1 if size < 10_000 else 0
        text = f"{value:,.{decimals}f}"
    return text.replace("-", _MINUS)


def chosen(value: float | None) -> str:
    """A number that someone chose, such as a bound: with the digits it was given, not more."""
    return _DASH if value is None or not math.isfinite(value) else f"{value:,.6g}".replace("-", _MINUS)


def intervals(
    title: str, rows: Sequence[Row], bound: float | None = None, bound_label: str = "", caption: str = ""
) -> str:
    """A forest plot: a dot and its interval a row, and a dashed line at what they are held against."""
    return _rows(title, rows, bound, bound_label, caption, from_zero=False)


def bars(title: str, rows: Sequence[Row], caption: str = "") -> str:
    """Horizontal bars from zero, with a whisker where a row has an interval."""
    return _rows(title, rows, None, "", caption, from_zero=True)


def lines(title: str, series: Sequence[Series], x_label: str, y_label: str, caption: str = "") -> str:
    """Curves over a common x axis, both axes in data units; a missing y breaks its curve."""
    finite = [(x, y) for one in series for x, y in one.points if _finite(x, y) and y is not None]
    if not finite:
        return ""
    x_low, x_high = _padded([x for x, _ in finite], 0.03)
    # Room at the left for the labels of the y axis, which stand on its grid lines.
    x_low -= 0.08 * (x_high - x_low)
    y_low, y_high = _padded([y for _, y in finite], 0.08)
    # Trials and epochs are counted.
    whole = all(float(x).is_integer() for x, _ in finite)
    drawn = [_grid(y_low, y_high), _x_axis(x_low, x_high, whole)]
    for one, mark in zip(series, _cycle(len(series)), strict=True):
        runs = _runs(one.points)
        placed = [[(_percent(x, x_low, x_high), 100 - _percent(y, y_low, y_high)) for x, y in run] for run in runs]
        if one.style != "dots":
            drawn.append(
                '<svg width="100%" height="100%" viewBox="0 0 100 100" preserveAspectRatio="none" overflow="visible">'
                + "".join(
                    f'<polyline class="mark {one.style}" style="--mark:{mark}" points="{" ".join(f"{x:.2f},{y:.2f}" for x, y in run)}"/>'
                    for run in placed
                    if len(run) > 1
                )
                + "</svg>"
            )
        lonely = [point for run in placed for point in run if one.style in ("dots", "marked") or len(run) == 1]
        drawn.extend(
            f'<circle class="dot" style="--mark:{mark}" cx="{x:.2f}%" cy="{y:.2f}%" r="4.5"/>' for x, y in lonely
        )
    legend = "".join(
        f'<li class="{one.style}" style="--mark:{mark}">{escape(one.name)}</li>'
        for one, mark in zip(series, _cycle(len(series)), strict=True)
    )
    said = f"{y_label} over {x_label}: " + "; ".join(_said(one) for one in series)
    return (
        f'<figure class="chart">{_figcaption(title, caption)}<ul class="legend">{legend}</ul>'
        f'<svg role="img" height="{_PLOT_HEIGHT_PX + 60}">{_described(title, said)}'
        f'<text x="0" y="12">{escape(y_label)}</text>'
        f'<svg y="20" width="100%" height="{_PLOT_HEIGHT_PX}" overflow="visible">{"".join(drawn)}</svg>'
        f'<text x="100%" y="{_PLOT_HEIGHT_PX + 56}" text-anchor="end">{escape(x_label)}</text></svg></figure>'
    )


def _rows(
    title: str, rows: Sequence[Row], bound: float | None, bound_label: str, caption: str, *, from_zero: bool
) -> str:
    every = [n for row in rows for n in (row.value, row.low, row.high)] + [bound] + ([0.0] if from_zero else [])
    known = [n for n in every if n is not None and _finite(n)]
    if not any(_finite(row.value) for row in rows):
        return ""
    low, high = _padded(known, 0.06)
    low = max(low, 0.0) if from_zero and min(known) >= 0 else low
    ticks = _ticks(low, high, 4)
    grid = "".join(
        f'<line class="grid" x1="{p}" x2="{p}" y1="0" y2="100%"/>' for p in (_at(t, low, high) for t in ticks)
    )
    if bound is not None and _finite(bound):
        grid += f'<line class="bound" x1="{_at(bound, low, high)}" x2="{_at(bound, low, high)}" y1="0" y2="100%"/>'
    cells = []
    for row in rows:
        said = _estimate(row, known)
        cells.append(
            f'<span class="label">{escape(row.label)}</span><span class="value">{said}</span>'
            f'<svg class="plot" role="img" height="30">{_described(row.label, said)}{grid}{_marks(row, low, high, from_zero)}</svg>'
        )
    labels = "".join(
        f'<text x="{_at(tick, low, high)}" y="13" text-anchor="middle">{label}</text>'
        for tick, label in zip(ticks, _labels(ticks), strict=True)
    )
    held = f' <span class="muted">Dashed line: {escape(bound_label)}.</span>' if bound_label else ""
    return (
        f'<figure class="chart">{_figcaption(title, caption, held)}'
        f'<div class="forest">{"".join(cells)}<svg class="scale" height="18" aria-hidden="true">{labels}</svg></div></figure>'
    )


def _marks(row: Row, low: float, high: float, from_zero: bool) -> str:
    if row.value is None or not _finite(row.value):
        return ""
    at = _percent(row.value, low, high)
    drawn = ""
    if from_zero:
        zero = _percent(0.0, low, high)
        left, width = min(zero, at), abs(at - zero)
        drawn += f'<rect class="bar" x="{left:.2f}%" width="{width:.2f}%" y="7" height="16" rx="2"/>'
    if row.low is not None and row.high is not None and _finite(row.low, row.high):
        ends = (_at(row.low, low, high), _at(row.high, low, high))
        drawn += f'<line class="whisker" x1="{ends[0]}" x2="{ends[1]}" y1="15" y2="15"/>'
        drawn += "".join(f'<line class="whisker" x1="{end}" x2="{end}" y1="11" y2="19"/>' for end in ends)
    return drawn if from_zero else f'{drawn}<circle class="dot" cx="{at:.2f}%" cy="15" r="5.5"/>'


def _estimate(row: Row, among: Sequence[float]) -> str:
    if not _finite(row.value):
        return "not measured"
    value, low, high = (number(one, among) for one in (row.value, row.low, row.high))
    return f"{value} [{low}, {high}]" if _finite(row.low, row.high) else value


def _figcaption(title: str, caption: str, more: str = "") -> str:
    said = f' <span class="muted">{escape(caption)}</span>' if caption else ""
    return f"<figcaption>{escape(title)}{said}{more}</figcaption>"


def _described(title: str, description: str) -> str:
    return f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"


def _said(series: Series) -> str:
    points = [point for run in _runs(series.points) for point in run]
    if not points:
        return f"{series.name}: no values"
    (first_x, first_y), (last_x, last_y) = points[0], points[-1]
    return f"{series.name} from {number(first_y)} at {number(first_x)} to {number(last_y)} at {number(last_x)}"


def _grid(low: float, high: float) -> str:
    ticks = _ticks(low, high, 5)
    return "".join(
        f'<line class="grid" x1="0" x2="100%" y1="{y:.2f}%" y2="{y:.2f}%"/><text x="0" y="{y:.2f}%" dy="-4">{label}</text>'
        for y, label in zip((100 - _percent(tick, low, high) for tick in ticks), _labels(ticks), strict=True)
    )


def _x_axis(low: float, high: float, whole: bool) -> str:
    ticks = [tick for tick in _ticks(low, high, 6, 1.0 if whole else 0.0) if 3 < _percent(tick, low, high) < 98]
    return '<line class="axis" x1="0" x2="100%" y1="100%" y2="100%"/>' + "".join(
        f'<text x="{_at(tick, low, high)}" y="100%" dy="17" text-anchor="middle">{label}</text>'
        for tick, label in zip(ticks, _labels(ticks), strict=True)
    )


def _ticks(low: float, high: float, count: int, least: float = 0.0) -> list[float]:
    """Round numbers within [low, high], about `count` of them: steps of 1, 2 or 5 times a power of ten, none below `least`."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = max(least, next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def _labels(ticks: Sequence[float]) -> list[str]:
    """Ticks as text, all with the decimals that the finest of them needs."""
    if any(tick != 0 and not 1e-6 <= abs(tick) < 1e9 for tick in ticks):
        return [f"{tick:.6g}".replace("-", _MINUS) for tick in ticks]
    decimals = max((len(f"{tick:.12g}".partition(".")[2]) for tick in ticks), default=0)
    return [f"{tick:,.{decimals}f}".replace("-", _MINUS) for tick in ticks]


def _padded(values: Iterable[float], share: float) -> tuple[float, float]:
    low, high = min(values := list(values)), max(values)
    # A single value still needs a scale that floats can tell apart.
    pad = (high - low) * share or max(abs(high) * 0.05, 1e-6)
    return low - pad, high + pad


def _percent(value: float, low: float, high: float) -> float:
    return 100 * (value - low) / (high - low)


def _at(value: float, low: float, high: float) -> str:
    return f"{_percent(value, low, high):.2f}%"


def _finite(*values: float | None) -> bool:
    # Beyond the largest, the width of a scale overflows.
    return all(value is not None and abs(value) <= _LARGEST for value in values)


def _runs(points: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is not None and _finite(x, y):
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _cycle(count: int) -> list[str]:
    return [_MARKS[i % len(_MARKS)] for i in range(count)]

"""Figures as inline SVG in a `page`: interval charts, bars, curves and spans of time.

Drawn in percentages of their box, so they fit any width while text keeps its size; colours are the page's CSS variables. Each returns
trusted HTML (`<figure class="chart">`); labels and titles are plain text and are escaped here. Numbers that are missing or not finite
are said, never drawn; what colour tells, a shape, a dash or a word tells too.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle
from typing import Literal

from kfp_ratchet.components.shared.scale import MINUS, finite, padded, percent, place, round_ticks, tick_labels

_MARKS = ("var(--accent)", "var(--second)", "var(--muted)")
_PLOT_HEIGHT_PX = 220
_LONGEST_NAME, _LONGEST_TITLE, _LONGEST_AXIS = 72, 200, 40
_MOST_TOGETHER = 24
"""Rows of a figure that paper keeps on one page."""
_SHORTEST_SPAN = 0.001
"""Seconds; steps that all end within the clock's millisecond are drawn over this."""
_SMALL = 1e-4
_DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Row:
    """One labelled estimate with its interval; all in the same unit within a figure. With a `note` ("fails") it stands out."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Series:
    """One named curve: points (x, y) in the order in which they are joined, and intervals (x, low, high) of some of them.

    `dots` and `rings` (hollow) join none; `marked` is a line with dots, `ringed` a dashed one with rings; `faint` is for comparison.
    """

    name: str
    points: Sequence[tuple[float, float | None]]
    style: Literal["line", "dashed", "dots", "rings", "marked", "ringed", "faint"] = "line"
    intervals: Sequence[tuple[float, float | None, float | None]] = ()


@dataclass(frozen=True)
class Span:
    """What took from `start` to `end`, seconds after a common start; None where that is not known, and `said` alone stands there."""

    label: str
    start: float | None
    end: float | None
    said: str
    note: str = ""


def number(value: object, among: Iterable[float | None] = ()) -> str:
    """A number for people: thousands separated, about four significant digits; an en dash for what is missing or not finite.

    Beside larger numbers (`among`), one that is too small for four decimals is 0.0000, not a power of ten.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _DASH if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}".replace("-", MINUS)
    if not math.isfinite(value):
        return _DASH
    size = abs(value)
    if value.is_integer() and size < 1e12:
        text = f"{value:,.0f}"
    elif size < _SMALL and any(finite(other) and abs(other or 0) >= _SMALL for other in among):
        text = f"{round(value, 4) + 0.0:.4f}"
    elif size < _SMALL or size >= 1e12:
        text = f"{value:.2e}"
    else:
        decimals = 4 if size < 1 else 3 if size < 10 else 2 if size < 100 else 1 if size < 10_000 else 0
        text = f"{value:,.{decimals}f}"
    return text.replace("-", MINUS)


def chosen(value: float | None) -> str:
    """A number that someone chose, such as a bound: with the digits it was given, not more."""
    return _DASH if value is None or not math.isfinite(value) else f"{value:,.6g}".replace("-", MINUS)


def short_name(name: str, most: int = _LONGEST_NAME) -> str:
    """A name with its middle left out where it is too long: names that begin alike often differ at their ends."""
    return name if len(name) <= most else f"{name[: most - most // 3 - 1]}\N{HORIZONTAL ELLIPSIS}{name[-(most // 3) :]}"


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
    known = [(x, y) for one in series for x, y in one.points if finite(x, y) and y is not None]
    if not known:
        return ""
    spread = [[(x, low, high) for x, low, high in one.intervals if finite(x, low, high)] for one in series]
    x_low, x_high = padded([x for x, _ in known], 0.03)
    # Room at the left for the labels of the y axis, which stand on its grid lines.
    x_low -= 0.08 * (x_high - x_low)
    y_low, y_high = padded([y for _, y in known] + [y or 0.0 for one in spread for ends in one for y in ends[1:]], 0.08)
    # Trials and epochs are counted.
    whole = all(float(x).is_integer() for x, _ in known)
    drawn = [_grid(y_low, y_high), _x_axis(x_low, x_high, whole)]
    legend = []
    for one, ends, mark in zip(series, spread, _colours(series), strict=True):
        runs = _runs(one.points)
        placed = [[(percent(x, x_low, x_high), 100 - percent(y, y_low, y_high)) for x, y in run] for run in runs]
        drawn.extend(
            f'<line class="whisker" style="--mark:{mark}" x1="{place(x, x_low, x_high)}" x2="{place(x, x_low, x_high)}" '
            f'y1="{100 - percent(low or 0.0, y_low, y_high):.2f}%" y2="{100 - percent(high or 0.0, y_low, y_high):.2f}%"/>'
            for x, low, high in ends
            if x_low <= x <= x_high
        )
        if one.style not in ("dots", "rings"):
            drawn.append(
                '<svg width="100%" height="100%" viewBox="0 0 100 100" preserveAspectRatio="none" overflow="visible">'
                + "".join(
                    f'<polyline class="mark {one.style}" style="--mark:{mark}" points="{" ".join(f"{x:.2f},{y:.2f}" for x, y in run)}"/>'
                    for run in placed
                    if len(run) > 1
                )
                + "</svg>"
            )
        dotted, hollow = one.style in ("dots", "rings", "marked", "ringed"), one.style in ("rings", "ringed")
        drawn.extend(
            f'<circle class="{"ring" if hollow else "dot"}" style="--mark:{mark}" cx="{x:.2f}%" cy="{y:.2f}%" r="4.5"/>'
            for run in placed
            for x, y in run
            if dotted or len(run) == 1
        )
        legend.append(f'<li class="{one.style}" style="--mark:{mark}">{escape(short_name(one.name))}</li>')
    said = f"{short_name(y_label)} over {short_name(x_label)}: " + "; ".join(_said(one) for one in series)
    return (
        f'<figure class="chart">{_figcaption(title, caption)}<ul class="legend">{"".join(legend)}</ul>'
        f'<svg role="img" height="{_PLOT_HEIGHT_PX + 66}">{_described(title, said)}'
        f'<text x="0" y="12">{escape(short_name(y_label, _LONGEST_AXIS))}</text>'
        f'<svg y="30" width="100%" height="{_PLOT_HEIGHT_PX}" overflow="visible">{"".join(drawn)}</svg>'
        f'<text x="100%" y="{_PLOT_HEIGHT_PX + 62}" text-anchor="end">{escape(short_name(x_label, _LONGEST_AXIS))}</text></svg></figure>'
    )


def spans(title: str, rows: Sequence[Span], caption: str = "") -> str:
    """What took how long, one below the other over a common clock."""
    ends = [row.end for row in rows if row.end is not None and finite(row.start, row.end)]
    if not ends:
        return ""
    end = max(*ends, _SHORTEST_SPAN)
    unit, seconds = next(((name, size) for name, size in (("h", 3600), ("min", 60)) if end > 2 * size), ("s", 1))
    ticks = round_ticks(0.0, end / seconds, 4)
    grid = _rules(ticks, 0.0, end / seconds)
    cells = []
    for row in rows:
        bar = ""
        if row.start is not None and row.end is not None and finite(row.start, row.end):
            left, right = (min(max(percent(at, 0.0, end), 0.0), 100.0) for at in (row.start, row.end))
            kind, width = "span odd" if row.note else "span", max(right - left, 0.3)
            bar = f'<rect class="{kind}" x="{min(left, 99.7):.2f}%" width="{width:.2f}%" y="8" height="14" rx="2"/>'
        cells.append(_cell(row.label, row.note, row.said, grid + bar))
    labels = [f"{label} {unit}" for label in tick_labels(ticks)]
    return _forest(title, caption, "", cells, _scale(ticks, labels, 0.0, end / seconds))


def _rows(
    title: str, rows: Sequence[Row], bound: float | None, bound_label: str, caption: str, *, from_zero: bool
) -> str:
    every = [n for row in rows for n in (row.value, row.low, row.high)] + [bound] + ([0.0] if from_zero else [])
    known = [n for n in every if n is not None and finite(n)]
    if not any(finite(row.value) for row in rows):
        return ""
    low, high = padded(known, 0.06)
    low = max(low, 0.0) if from_zero and min(known) >= 0 else low
    ticks = round_ticks(low, high, 4)
    grid = _rules(ticks, low, high)
    if bound is not None and finite(bound):
        grid += f'<line class="bound" x1="{place(bound, low, high)}" x2="{place(bound, low, high)}" y1="0" y2="100%"/>'
    cells = [
        _cell(row.label, row.note, _estimate(row, known), grid + _marks(row, low, high, from_zero)) for row in rows
    ]
    held = f' <span class="muted">Dashed line: {escape(bound_label)}.</span>' if bound_label else ""
    return _forest(title, caption, held, cells, _scale(ticks, tick_labels(ticks), low, high))


def _forest(title: str, caption: str, more: str, cells: Sequence[str], scale: str) -> str:
    long = " long" if len(cells) > _MOST_TOGETHER else ""
    return (
        f'<figure class="chart{long}">{_figcaption(title, caption, more)}<div class="forest">{"".join(cells)}'
        f'<svg class="scale" height="18" aria-hidden="true">{scale}</svg></div></figure>'
    )


def _cell(label: str, note: str, said: str, drawn: str) -> str:
    name = escape(short_name(label)) + (f' <span class="note">{escape(note)}</span>' if note else "")
    return (
        f'<span class="label">{name}</span><span class="value">{escape(said)}</span>'
        f'<svg class="plot" role="img" height="30">{_described(label, f"{said}, {note}" if note else said)}{drawn}</svg>'
    )


def _rules(ticks: Sequence[float], low: float, high: float) -> str:
    return "".join(
        f'<line class="grid" x1="{p}" x2="{p}" y1="0" y2="100%"/>' for p in (place(t, low, high) for t in ticks)
    )


def _scale(ticks: Sequence[float], labels: Sequence[str], low: float, high: float) -> str:
    return "".join(
        f'<text x="{place(tick, low, high)}" y="13" text-anchor="{_anchor(tick, low, high)}">{label}</text>'
        for tick, label in zip(ticks, labels, strict=True)
    )


def _anchor(tick: float, low: float, high: float) -> str:
    """Labels at the ends of a scale stay within it."""
    at = percent(tick, low, high)
    return "start" if at < 4 else "end" if at > 96 else "middle"


def _marks(row: Row, low: float, high: float, from_zero: bool) -> str:
    if row.value is None or not finite(row.value):
        return ""
    at = percent(row.value, low, high)
    drawn = ""
    if from_zero:
        zero = percent(0.0, low, high)
        left, width = min(zero, at), abs(at - zero)
        drawn += f'<rect class="bar" x="{left:.2f}%" width="{width:.2f}%" y="7" height="16" rx="2"/>'
    if row.low is not None and row.high is not None and finite(row.low, row.high):
        ends = (place(row.low, low, high), place(row.high, low, high))
        drawn += f'<line class="whisker" x1="{ends[0]}" x2="{ends[1]}" y1="15" y2="15"/>'
        drawn += "".join(f'<line class="whisker" x1="{end}" x2="{end}" y1="11" y2="19"/>' for end in ends)
    if from_zero:
        return drawn
    if row.note:
        diamond = '<path class="dot odd" d="M0-7 7 0 0 7-7 0z"/>'
        return f'{drawn}<svg x="{at:.2f}%" y="15" overflow="visible">{diamond}</svg>'
    return f'{drawn}<circle class="dot" cx="{at:.2f}%" cy="15" r="5.5"/>'


def _estimate(row: Row, among: Sequence[float]) -> str:
    if not finite(row.value):
        return "not measured"
    value, low, high = (number(one, among) for one in (row.value, row.low, row.high))
    return f"{value} [{low}, {high}]" if finite(row.low, row.high) else value


def _figcaption(title: str, caption: str, more: str = "") -> str:
    said = f' <span class="muted">{escape(caption)}</span>' if caption else ""
    return f"<figcaption>{escape(short_name(title))}{said}{more}</figcaption>"


def _described(title: str, description: str) -> str:
    return f"<title>{escape(short_name(title, _LONGEST_TITLE))}</title><desc>{escape(description)}</desc>"


def _said(series: Series) -> str:
    points, name = [point for run in _runs(series.points) for point in run], short_name(series.name)
    if not points:
        return f"{name}: no values"
    (first_x, first_y), (last_x, last_y) = points[0], points[-1]
    return f"{name} from {number(first_y)} at {number(first_x)} to {number(last_y)} at {number(last_x)}"


def _grid(low: float, high: float) -> str:
    ticks = round_ticks(low, high, 5)
    return "".join(
        f'<line class="grid" x1="0" x2="100%" y1="{y:.2f}%" y2="{y:.2f}%"/><text x="0" y="{y:.2f}%" dy="-4">{label}</text>'
        for y, label in zip((100 - percent(tick, low, high) for tick in ticks), tick_labels(ticks), strict=True)
    )


def _x_axis(low: float, high: float, whole: bool) -> str:
    ticks = [tick for tick in round_ticks(low, high, 6, 1.0 if whole else 0.0) if 3 < percent(tick, low, high) < 98]
    return '<line class="axis" x1="0" x2="100%" y1="100%" y2="100%"/>' + "".join(
        f'<text x="{place(tick, low, high)}" y="100%" dy="17" text-anchor="middle">{label}</text>'
        for tick, label in zip(ticks, tick_labels(ticks), strict=True)
    )


def _runs(points: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is not None and finite(x, y):
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _colours(series: Sequence[Series]) -> list[str]:
    """A colour each; `faint` ones take none of those that tell curves apart."""
    apart = cycle(_MARKS)
    return ["var(--muted)" if one.style == "faint" else next(apart) for one in series]

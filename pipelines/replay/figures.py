"""Figures of the year: verdicts, metrics and what was live, each over the same periods side by side.

Each returns trusted HTML; all text is escaped here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from itertools import groupby

from kfp_ratchet.components.shared.charts import number
from kfp_ratchet.components.shared.decision import Interval
from kfp_ratchet.components.shared.scale import padded, percent, round_ticks, tick_labels
from kfp_ratchet.pipelines.replay.naive import Choice
from kfp_ratchet.pipelines.replay.story import Retrain

SIGNS = {
    "promoted": "\N{CHECK MARK}",
    "rejected": "\N{MULTIPLICATION X}",
    "inconclusive": "?",
    "blocked": "\N{BLACK SQUARE}",
    "pending": "\N{HORIZONTAL ELLIPSIS}",
}
TONES = {
    "promoted": "promote",
    "rejected": "reject",
    "inconclusive": "inconclusive",
    "blocked": "blocked",
    "pending": "inconclusive",
}

_PLOT_PX = 250
_LANE_PX = 30
# Room at the left for the labels of the y axis, in percent.
_LEFT = 9.0
_MOST_LABELS = 14


@dataclass(frozen=True)
class Estimates:
    """One estimate a period under a name; None where there was none."""

    name: str
    values: Sequence[Interval | None]
    shape: str
    """`dot`, `diamond` or `bar`."""
    mark: str
    """CSS colour."""
    offset: float = 0.0
    """Where within the period's column, in columns."""


def short(period: str) -> str:
    """A period as it fits under a column: `Jan`, `15 Jan`."""
    try:
        return (
            f"{date.fromisoformat(f'{period}-01'):%b}"
            if len(period) == 7
            else f"{date.fromisoformat(period[:10]):%d %b}"
        )
    except ValueError:
        return period


def metrics(title: str, retrains: Sequence[Retrain], series: Sequence[Estimates], metric: str, caption: str) -> str:
    """Estimates with their intervals over the periods; a period that was blocked is shaded."""
    known = [end for one in series for it in one.values if it for end in (it.value, it.low, it.high) if end is not None]
    if not known:
        return ""
    low, high = padded(known, 0.1)
    grid = round_ticks(low, high, 5)
    drawn = [_shades(retrains)]
    drawn += [
        f'<line class="grid" x1="0" x2="100%" y1="{_y(tick, low, high)}" y2="{_y(tick, low, high)}"/>'
        f'<text x="0" y="{_y(tick, low, high)}" dy="-4">{label}</text>'
        for tick, label in zip(grid, tick_labels(grid), strict=True)
    ]
    for one in series:
        for index, value in enumerate(one.values):
            if value is not None and value.value is not None:
                drawn.append(_estimate(one, value, _column(index + 0.5 + one.offset, len(retrains)), low, high))
    legend = "".join(f'<li class="{one.shape}s" style="--mark:{one.mark}">{escape(one.name)}</li>' for one in series)
    said = "; ".join(
        f"{retrain.period}: " + ", ".join(f"{one.name} {_said(one.values[index])}" for one in series)
        for index, retrain in enumerate(retrains)
    )
    return (
        f'<figure class="chart">{_caption(title, caption)}<ul class="legend">{legend}</ul>'
        f'<svg role="img" height="{_PLOT_PX + 44}"><title>{escape(title)}</title><desc>{escape(said)}</desc>'
        f'<text x="0" y="12">{escape(metric)}</text>'
        f'<svg y="20" width="100%" height="{_PLOT_PX}" overflow="visible">{"".join(drawn)}{_axis(retrains)}</svg></svg></figure>'
    )


def lives(title: str, retrains: Sequence[Retrain], choices: Sequence[Choice], caption: str) -> str:
    """Which version was live after each period's retrain, by the gate and by the naive rule."""
    lanes = (("gate", [one.live_after for one in retrains]), ("naive rule", [one.live_after for one in choices]))
    drawn, said, top = [_shades(retrains)], [], 0
    for name, versions in lanes:
        drawn.append(f'<text x="0" y="{top + 13}" class="lane">{name}</text>')
        spans = list(_spans(versions))
        for index, (version, start, end) in enumerate(spans):
            left, right = _column(start, len(versions)), _column(end, len(versions))
            if version:
                tone = "odd" if index % 2 else "even"
                drawn.append(
                    f'<rect class="live {tone}" x="{left:.2f}%" width="{right - left:.2f}%" y="{top + 18}" height="{_LANE_PX - 4}" rx="3"/>'
                    f'<text class="version" x="{(left + right) / 2:.2f}%" y="{top + 36}" text-anchor="middle">v{escape(version)}</text>'
                )
        said.append(
            f"{name}: "
            + ", ".join(
                f"{f'v{version}' if version else 'nothing'} from {retrains[start].period}"
                for version, start, _ in spans
            )
        )
        top += _LANE_PX + 24
    return (
        f'<figure class="chart">{_caption(title, caption)}'
        f'<svg role="img" height="{top + 22}"><title>{escape(title)}</title><desc>{escape("; ".join(said))}</desc>'
        f'<svg width="100%" height="{top}" overflow="visible">{"".join(drawn)}{_axis(retrains)}</svg></svg></figure>'
    )


def _estimate(one: Estimates, value: Interval, x: float, low: float, high: float) -> str:
    at, style = f"{x:.2f}%", f'style="--mark:{one.mark}"'
    centre = _y(value.value or 0.0, low, high)
    drawn = ""
    if value.low is not None and value.high is not None:
        drawn = f'<line class="whisker" {style} x1="{at}" x2="{at}" y1="{_y(value.low, low, high)}" y2="{_y(value.high, low, high)}"/>'
    if one.shape == "bar":
        return (
            f'{drawn}<svg x="{at}" y="{centre}" overflow="visible"><line class="level" {style} x1="-9" x2="9"/></svg>'
        )
    if one.shape == "diamond":
        return f'{drawn}<svg x="{at}" y="{centre}" overflow="visible"><path class="dot" {style} d="M0-5 5 0 0 5-5 0z"/></svg>'
    return f'{drawn}<circle class="dot" {style} cx="{at}" cy="{centre}" r="3.8"/>'


def _shades(retrains: Sequence[Retrain]) -> str:
    """A shade and a sign over what was blocked."""
    width = (100 - _LEFT) / len(retrains)
    return "".join(
        f'<rect class="shade" x="{_column(index, len(retrains)):.2f}%" width="{width:.2f}%" y="0" height="100%"/>'
        for index, one in enumerate(retrains)
        if one.outcome == "blocked"
    )


def _axis(retrains: Sequence[Retrain]) -> str:
    every = -(-len(retrains) // _MOST_LABELS)
    return '<line class="axis" x1="0" x2="100%" y1="100%" y2="100%"/>' + "".join(
        f'<text x="{_column(index + 0.5, len(retrains)):.2f}%" y="100%" dy="17" text-anchor="middle">{escape(short(one.period))}</text>'
        for index, one in enumerate(retrains)
        if index % every == 0
    )


def _spans(versions: Sequence[str]) -> Iterable[tuple[str, int, int]]:
    start = 0
    for version, group in groupby(versions):
        end = start + len(list(group))
        yield version, start, end
        start = end


def _caption(title: str, caption: str) -> str:
    return f'<figcaption>{escape(title)} <span class="muted">{escape(caption)}</span></figcaption>'


def _said(value: Interval | None) -> str:
    if value is None or value.value is None:
        return "none"
    ends = f" [{number(value.low)}, {number(value.high)}]" if value.low is not None and value.high is not None else ""
    return number(value.value) + ends


def _column(column: float, columns: int) -> float:
    """Where a column's left edge is, in percent of the width."""
    return _LEFT + column * (100 - _LEFT) / columns


def _y(value: float, low: float, high: float) -> str:
    return f"{100 - percent(value, low, high):.2f}%"

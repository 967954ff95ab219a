"""The run in the terminal: a live table, or one line a change where there is no terminal."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from kfp_ratchet.components.shared.journal import Record
from kfp_ratchet.pipelines.cli.terminal import plain

_LOOK = {
    "waiting": ("·", "dim"),
    "running": ("▸", "bold cyan"),
    "cached": ("=", "dim"),
    "succeeded": ("✓", "green"),
    "failed": ("✗", "bold red"),
}
_NARROW = 60
"""Columns below which what a step says stands in a line of its own."""


class Board(AbstractContextManager["Board"]):
    """Shows each step's state, time and one line of what it found; without a terminal, one line a change and a minute.

    Args:
        console: Where to draw.
        steps: Names of the pipeline's steps in order; empty when they are not known beforehand.
    """

    def __init__(self, console: Console, steps: Sequence[str]) -> None:
        self._console = console
        self._steps = list(steps)
        self._records: dict[str, Record] = {}
        self._told: set[tuple[str, str, int]] = set()
        self._began = time.monotonic()
        self._over = False
        self._spinner = Spinner("line" if console.options.ascii_only else "dots", style="cyan")
        # A terminal that cannot move its cursor would show nothing before the end.
        self._live = (
            Live(console=console, get_renderable=self._draw, refresh_per_second=4)
            if console.is_terminal and console.is_interactive
            else None
        )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._over = True
            self._live.stop()

    def show(self, records: dict[str, Record]) -> None:
        """Draw the run as its journal has it."""
        self._records = records
        if self._live:
            return
        for step, state in self._states().items():
            record = records.get(step)
            minutes = int(_passed(record) // 60) if record and state == "running" else 0
            news = (step, state, minutes)
            if state == "waiting" or news in {*self._told, (step, "running", 0)}:
                continue
            self._told.add(news)
            mark, style = _LOOK[state]
            text = Text.assemble((mark, style), f" {step:<10}{_seconds(record):>8}  ", _line(state, record))
            self._console.print(text, soft_wrap=True)

    def _states(self) -> dict[str, str]:
        return step_states(self._steps or list(self._records), self._records)

    def _draw(self) -> RenderableType:
        """All steps. While they run each has one line, so that the one at work is never below the terminal's last line."""
        states = self._states()
        draw = _lines if self._console.width < _NARROW else _table
        if self._over:
            return draw({step: _ended(state, states) for step, state in states.items()}, self._records, True)
        room = max(1, self._console.height - 2)
        at_work = max((index for index, state in enumerate(states.values()) if state != "waiting"), default=0)
        first = max(0, min(at_work + 2, len(states)) - room)
        shown = dict(list(states.items())[first : first + room])
        self._spinner.update(text=Text(_duration(time.monotonic() - self._began), "dim"))
        return Group(draw(shown, self._records, False), self._spinner)


def step_states(steps: Sequence[str], records: dict[str, Record]) -> dict[str, str]:
    """State by step: a step without a record is cached when a later one has begun, else waiting."""
    last = max((index for index, step in enumerate(steps) if step in records and step != "notify"), default=-1)
    return {
        step: records[step].state if step in records else "cached" if index < last else "waiting"
        for index, step in enumerate(steps)
    }


def _ended(state: str, states: dict[str, str]) -> str:
    """A step's state once the run is over."""
    if state != "waiting":
        return state
    return "not reached" if "failed" in states.values() or states.get("notify") != "succeeded" else "not needed"


def _line(state: str, record: Record | None) -> str:
    if record is None:
        return {"cached": "unchanged: served from the cache", "waiting": ""}.get(state, state)
    # The whole of a long error is told at the end of the run.
    attempt = f"attempt {len(record.attempts) + 1}: " if record.attempts else ""
    return plain(attempt + next(iter(record.line.splitlines()), ""))


def _passed(record: Record) -> float:
    if record.state != "running":
        return record.seconds
    return (datetime.now(UTC) - datetime.fromisoformat(record.started)).total_seconds()


def _seconds(record: Record | None) -> str:
    return _duration(_passed(record)) if record else ""


def _duration(seconds: float) -> str:
    """At most eight characters."""
    if seconds < 60:
        return f"{max(0.0, seconds):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m {rest:02d}s" if minutes < 60 else f"{minutes // 60}h {minutes % 60:02d}m"


def _name(step: str, state: str) -> Text:
    mark, style = _LOOK.get(state, _LOOK["waiting"])
    return Text.assemble((mark, style), " ", (step, style))


def _said(state: str, record: Record | None, whole: bool) -> Text:
    """What a step says, cut to one line unless the whole is asked for; an error always is."""
    text = Text(_line(state, record), "dim" if record is None else "")
    if not whole or state == "failed":
        text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _table(states: dict[str, str], records: dict[str, Record], whole: bool) -> Table:
    """The steps with what they say beside them."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False, expand=True)
    table.add_column(width=2 + max(map(len, states), default=1), no_wrap=True)
    table.add_column(width=8, justify="right", no_wrap=True, style="dim")
    table.add_column(ratio=1, overflow="fold")
    for step, state in states.items():
        record = records.get(step)
        table.add_row(_name(step, state), _seconds(record), _said(state, record, whole))
    return table


def _lines(states: dict[str, str], records: dict[str, Record], whole: bool) -> Group:
    """The steps with what they say below them; while they run, only that of the one at work."""
    rows: list[RenderableType] = []
    for step, state in states.items():
        record = records.get(step)
        said = _said(state, record, whole)
        below = record is not None or state == "cached"
        beside = Text(_seconds(record).rjust(9), "dim") if below else said
        rows.append(Text.assemble(_name(f"{step:<10}", state), beside))
        if below and (whole or state == "running"):
            rows.append(Padding(said, (0, 0, 0, 2)))
    return Group(*rows)

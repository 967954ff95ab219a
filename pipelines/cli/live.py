"""The run in the terminal: a live table, or one line a change where there is no terminal."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kfp_ratchet.components.shared.journal import Record

_LOOK = {
    "waiting": ("·", "dim"),
    "running": ("▸", "bold cyan"),
    "cached": ("=", "dim"),
    "succeeded": ("✓", "green"),
    "failed": ("✗", "bold red"),
}


class Board(AbstractContextManager["Board"]):
    """Shows each step's state, time and one line of what it found; without a terminal, one line a change and a minute.

    Args:
        console: Where to draw.
        steps: Names of the pipeline's steps in order; empty when they are not known beforehand.
    """

    def __init__(self, console: Console, steps: Sequence[str]) -> None:
        self._console = console
        self._steps = list(steps)
        self._told: set[tuple[str, str, int]] = set()
        self._live = Live(console=console, refresh_per_second=8, transient=False) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.__exit__(kind, error, trace)

    def show(self, records: dict[str, Record]) -> None:
        """Draw the run as its journal has it."""
        states = step_states(self._steps or list(records), records)
        if self._live:
            self._live.update(_table(states, records))
            return
        for step, state in states.items():
            record = records.get(step)
            minutes = int(_passed(record) // 60) if record and state == "running" else 0
            news = (step, state, minutes)
            if state == "waiting" or news in {*self._told, (step, "running", 0)}:
                continue
            self._told.add(news)
            mark, style = _LOOK[state]
            text = Text.assemble((mark, style), f" {step:<10}{_seconds(record):>8}  ", _line(state, record))
            self._console.print(text, soft_wrap=True)


def step_states(steps: Sequence[str], records: dict[str, Record]) -> dict[str, str]:
    """State by step: a step without a record is cached when a later one has begun, else waiting."""
    last = max((index for index, step in enumerate(steps) if step in records and step != "notify"), default=-1)
    return {
        step: records[step].state if step in records else "cached" if index < last else "waiting"
        for index, step in enumerate(steps)
    }


def _line(state: str, record: Record | None) -> str:
    return record.line if record else "unchanged: served from the cache" if state == "cached" else ""


def _passed(record: Record) -> float:
    if record.state != "running":
        return record.seconds
    return (datetime.now(UTC) - datetime.fromisoformat(record.started)).total_seconds()


def _seconds(record: Record | None) -> str:
    return f"{_passed(record):.1f} s" if record else ""


def _table(states: dict[str, str], records: dict[str, Record]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1), expand=True)
    table.add_column(width=1)
    table.add_column(width=max(map(len, states), default=1), no_wrap=True)
    table.add_column(width=8, justify="right", no_wrap=True, style="dim")
    table.add_column(ratio=1, overflow="fold")
    for step, state in states.items():
        mark, style = _LOOK[state]
        record = records.get(step)
        table.add_row(
            Text(mark, style),
            Text(step, style),
            _seconds(record),
            Text(_line(state, record), "dim" if state == "cached" else ""),
        )
    return table

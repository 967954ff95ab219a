"""Numbers and foreign values in words that fit the report."""

import json
from datetime import datetime
from typing import Any

from kfp_ratchet.components.notify.run_view import RunView, StepView
from kfp_ratchet.components.shared.attempts import told
from kfp_ratchet.components.shared.charts import number
from kfp_ratchet.components.shared.journal import Record

MOST_COLUMNS = 24
"""Columns of a foreign table that are shown."""

_LONGEST_CELL = 60


def state(run: RunView, view: StepView) -> str:
    """How a step stands now that the run is over."""
    if view.state == "running":
        return "never ended"
    return "blocked" if view.state == "failed" and run.outcome == "blocked" else view.state


def attempts(record: Record) -> str:
    return told(record.attempts)


def when(text: str) -> str:
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return text


def duration(seconds: float | None) -> str:
    if seconds is None:
        return number(None)
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def memory(megabytes: float) -> str:
    return f"{megabytes:,.0f} MB" if megabytes < 10_000 else f"{megabytes / 1024:,.1f} GB"


def percent(share: float | None) -> str:
    if share is None:
        return number(None)
    return f"{share:.2%}" if share >= 0.0001 or share == 0 else "< 0.01%"


def setting(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    return (
        number(None)
        if value is None
        else shortened(value if isinstance(value, str) else json.dumps(value, default=str))
    )


def shortened(value: object, most: int = _LONGEST_CELL) -> str:
    text = str(value)
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def cell(value: object) -> str:
    return "null" if value is None else shortened(value)


def ending(text: str, most: int) -> str:
    return text[-most:]


def column_names(examples: tuple[dict[str, Any], ...]) -> list[str]:
    return list(dict.fromkeys(name for example in examples for name in example))[:MOST_COLUMNS]

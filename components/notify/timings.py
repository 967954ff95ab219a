"""When a run began, how long it took, and what its steps used."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from kfp_ratchet.components.notify.run_view import RunView, StepView
from kfp_ratchet.components.shared.journal import Record


@dataclass(frozen=True)
class Timings:
    """Of the steps that this run executed itself; seconds, and megabytes."""

    began: str
    """ISO time; empty when no step has one."""
    wall_seconds: float | None
    """From the first step's start to the last one's end, waiting between them included."""
    cpu_seconds: float
    peak_memory_mb: float
    """Of the largest step."""
    spans: dict[str, tuple[float, float]]
    """Start and end of each step, seconds after the first one's start."""

    @classmethod
    def of(cls, run: RunView) -> Self:
        """Read them from the run's records."""
        own = [record for view in run.steps if (record := executed(run, view)) is not None]
        spans = {record.step: span for record in own if (span := _span(record)) is not None}
        first = min((start for start, _ in spans.values()), default=0.0)
        return cls(
            began=min((record.started for record in own if record.started), default=""),
            wall_seconds=max(end for _, end in spans.values()) - first if spans else None,
            cpu_seconds=sum(record.cpu_seconds for record in own),
            peak_memory_mb=max((record.peak_memory_mb for record in own), default=0.0),
            spans={step: (start - first, end - first) for step, (start, end) in spans.items()},
        )


def executed(run: RunView, view: StepView) -> Record | None:
    """A step's record when this run executed it, None when it came from the cache or was not reached."""
    return view.record if view.record is not None and view.record.run == run.run else None


def _span(record: Record) -> tuple[float, float] | None:
    try:
        start = datetime.fromisoformat(record.started).timestamp()
    except ValueError:
        return None
    return start, start + record.seconds

"""What `ratchet lint` finds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a compiled pipeline."""

    rule: str
    """Short name; `docs/lint.md` explains each."""
    task: str
    """Path of the task through nested pipelines, loops and branches; `pipeline` for what concerns no single task."""
    message: str
    remedy: str
    file: str = ""

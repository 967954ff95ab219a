"""A file of a table."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TableFile:
    """A verified file of a table."""

    path: Path
    name: str
    """Its path inside the source."""
    shown: str
    """What messages call it."""

"""What a step gives a UI to draw: numbers and curves in the metadata of artifacts, which KFP's classes keep.

Numbers that are not finite are left out: they are no JSON, and a step that gave one out would fail.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from kfp_ratchet.components.shared.canonical import dumps


class Shown(Protocol):
    """An artifact that consists of its metadata."""

    path: str
    metadata: dict[str, Any]


class Scalars(Shown, Protocol):
    """Numbers by name: `kfp.dsl.Metrics`."""

    def log_metric(self, metric: str, value: float) -> None:
        """Keep a number."""


class Curves(Shown, Protocol):
    """`kfp.dsl.ClassificationMetrics`."""

    def log_roc_curve(self, fpr: list[float], tpr: list[float], threshold: list[float]) -> None:
        """Keep a curve, from the highest threshold down."""

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None:
        """Keep counts: a row for each class, a column for each answer."""


def show(scalars: Scalars, values: Mapping[str, float]) -> None:
    """Log what is finite of some numbers, and write the artifact's file."""
    for name, value in values.items():
        if math.isfinite(value):
            scalars.log_metric(name, float(value))
    write(scalars)


def write(artifact: Shown) -> None:
    """Write an artifact's metadata to its file. Without one, a cache on this machine takes the step for one that was never finished."""
    path = Path(artifact.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dumps(artifact.metadata))

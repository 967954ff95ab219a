"""The workload protocol: how a user brings a model. `kfp_ratchet.testing.check_workload` tests a class against it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import polars as pl

from kfp_ratchet.components.shared.columns import Columns


class FitContext(Protocol):
    """What a fit may use of its surroundings; the same for a trial and for the final fit."""

    seed: int
    device: str
    """A torch device name, already resolved: cpu, cuda, cuda:1."""

    def report(self, epoch: int, scores: Mapping[str, float], epochs: int = 0) -> None:
        """Report one epoch's scores on the validation rows; `scores["loss"]` is what tuning minimises.

        Args:
            epoch: Counts from 1.
            scores: Finite numbers by name.
            epochs: How many there can be at most, 0 when that is not known.

        Raises:
            Pruned: The trial is not worth going on with; let it pass through.
            RatchetError: The loss is NaN or infinite.
        """

    def load_checkpoint(self) -> bytes | None:
        """The last saved checkpoint of this very fit, None when there is none.

        A fit is the same when rows, roles, hyperparameters, seed, kind of device and code are: on a cluster, that of a pod that was
        preempted. A fit that goes on from it must give the bytes of an uninterrupted one.
        """

    def save_checkpoint(self, content: Callable[[], bytes]) -> None:
        """Keep a checkpoint when one is due, every ten seconds: `content` is called for its bytes only then.

        Call it wherever the fit could go on from: after every batch or boosting round, not only after an epoch that may take an hour.
        What lies between two calls, or ten seconds of them, is what a preempted pod loses.

        Raises:
            PreemptedError: The process was told to end, and this checkpoint is kept; let it pass through.
        """


class Workload(Protocol):
    """A model with its preprocessing. Takes raw rows, before and after fitting.

    Scores have shape (n,) for binary (probability of the positive class, the last of `classes`) and regression, and (n, classes) for
    multiclass. Missing values and categories never seen in training must be handled.
    """

    classes: list[str]
    """Class names in score order, as text; empty for regression."""

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """What `tune` searches when the user names nothing; see `kfp_ratchet.components.tune.space`."""

    @classmethod
    def fit(
        cls,
        rows: pl.DataFrame,
        validation: pl.DataFrame,
        columns: Columns,
        parameters: Mapping[str, Any],
        context: FitContext,
    ) -> Self:
        """Fit on `rows`, stop early on `validation` (the time-ordered tail of the training window).

        Args:
            rows: Raw training rows with all columns, target included.
            validation: Raw rows to stop on, same columns; never used to fit weights or preprocessing.
            columns: Roles of columns; `columns.features(rows.columns)` are the features.
            parameters: Hyperparameters; missing ones take the class's defaults.
            context: Seed, device, progress, checkpoints.

        Raises:
            InputError: An unknown hyperparameter.
            RatchetError: The data cannot be fitted, or the loss diverges.
        """

    def predict(self, rows: pl.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Scores for raw rows; the target column need not be there."""

    def save(self, folder: Path) -> None:
        """Write everything needed to load, deterministically and without pickle."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load what `save` wrote, for prediction on the CPU; executes nothing from the folder."""

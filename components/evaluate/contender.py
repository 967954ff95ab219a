"""A model that is scored: its card, its class, and its scores in the right shape or an error that says why not."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.manifest import counted
from kfp_ratchet.components.shared.model import Card, load_model, model_digest
from kfp_ratchet.components.shared.model_folder import WORKLOAD

if TYPE_CHECKING:
    from kfp_ratchet.components.train.workload import Workload

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Contender:
    """A loaded model and the name that errors call it by."""

    name: str
    folder: Path
    digest: str
    card: Card
    workload: "Workload"

    @classmethod
    def load(cls, name: str, folder: str | Path, columns: Columns) -> Self:
        """Load a model folder and check that it predicts the column that is judged.

        Raises:
            RatchetError: It is no model, or predicts something else.
            InputError: Its workload class cannot be imported.
        """
        card = Card.read(folder)
        theirs = card.columns
        if (theirs.target, theirs.problem) != (columns.target, columns.problem):
            raise RatchetError(
                f"the {name} predicts {theirs.target!r} ({theirs.problem}), but {columns.target!r} ({columns.problem}) is judged",
                "train the new target under another model name",
            )
        return cls(name, Path(folder), model_digest(folder), card, load_model(folder))

    @property
    def size_mb(self) -> float:
        """What the workload saved takes on disk, megabytes."""
        saved = (path for path in (self.folder / WORKLOAD).rglob("*") if path.is_file())
        return round(sum(path.stat().st_size for path in saved) / 1e6, 6)

    def raw(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The columns the model takes, in its order.

        Raises:
            RatchetError: One is missing.
        """
        present = set(rows.columns)
        missing = [feature for feature in self.card.features if feature not in present]
        if missing:
            raise RatchetError(
                f"feature {missing[0]!r} that the {self.name} takes is missing from the evaluation rows (has: "
                f"{', '.join(rows.columns)})",
                "bring the column back in the source or in prepare until a model without it is champion",
            )
        return rows.select(list(self.card.features))

    def scores(self, rows: pl.DataFrame) -> Array:
        """Scores of raw rows, shape (n,), or (n, classes) in the order of the card's classes for multiclass.

        Raises:
            RatchetError: The model cannot score these rows, or answers in another shape.
        """
        raw = self.raw(rows)
        try:
            answer = np.asarray(self.workload.predict(raw), dtype=np.float64)
        except RatchetError:
            raise
        except Exception as error:
            raise RatchetError(
                f"the {self.name} cannot score the evaluation rows: {type(error).__name__}: {error}",
                f"it was trained on {self._types()}; check that the columns still hold these types",
            ) from error
        wanted: tuple[int, ...] = (raw.height,)
        if self.card.columns.problem == "multiclass":
            wanted = (raw.height, len(self.card.classes))
        if answer.shape != wanted:
            raise RatchetError(
                f"the {self.name} answers {counted(raw.height, 'row')} with scores of shape {answer.shape} instead of {wanted}",
                "fix predict of its workload; kfp_ratchet.testing.check_workload finds this",
            )
        return answer

    def aligned(self, rows: pl.DataFrame, classes: list[str]) -> Array:
        """Scores as evidence wants them: probability of `classes[1]`, one column each of `classes`, or the prediction.

        A class that the model does not know gets 0.

        Raises:
            RatchetError: See `scores`; or a binary model tells other classes apart.
        """
        return align(self.scores(rows), self.card.classes, classes, self.name)

    def _types(self) -> str:
        return ", ".join(f"{name}: {dtype}" for name, dtype in self.card.features.items())


def align(scores: Array, own: list[str], classes: list[str], name: str) -> Array:
    """Match a model's scores to `classes` by name; see `Contender.aligned`."""
    if scores.ndim == 1:
        if own == classes:
            return scores
        if own == classes[::-1]:
            return 1 - scores
        raise RatchetError(
            f"the {name} tells {' from '.join(own)} apart, but {' from '.join(classes)} are judged",
            "train the new target under another model name",
        )
    matched = np.zeros((len(scores), len(classes)))
    matched[:, [classes.index(one) for one in own]] = scores
    return matched


def same(one: Array, other: Array) -> bool:
    """Equal up to the float arithmetic of another batch size."""
    size: Any = np.nanmax(np.abs(one), initial=0.0)
    return bool(np.allclose(one, other, rtol=1e-4, atol=1e-6 * size, equal_nan=True))

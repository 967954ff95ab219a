"""What a fit reports to: the journal's progress line, and checkpoints in the store."""

import math
from collections.abc import Callable, Mapping

from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.components.train.checkpoints import EVERY_SECONDS, Checkpoints


class Pruned(Exception):  # noqa: N818
    """A trial is not worth going on with. Not an error: a workload lets it pass through."""


def checked(epoch: int, scores: Mapping[str, float]) -> dict[str, float]:
    """The scores as plain floats.

    Raises:
        RatchetError: There is no loss, or a score is NaN or infinite.
    """
    if "loss" not in scores:
        raise RatchetError(f"epoch {epoch} was reported without a loss", "a workload reports scores['loss']")
    for name, value in scores.items():
        if not math.isfinite(value):
            raise RatchetError(
                f"the fit diverged: {name} is {value} in epoch {epoch}",
                "lower learning_rate, or look for extreme values in the features and the target",
            )
    return {name: float(value) for name, value in scores.items()}


class TrainContext:
    """The context of the final fit: progress lines, a curve, checkpoints that are due every few seconds.

    Args:
        seed: Seed of the fit.
        device: Resolved torch device name.
        progress: Takes a progress line.
        store: Where checkpoints go; None keeps none.
        key: Names this very fit.
        every_seconds: Least time between two checkpoints.
    """

    def __init__(
        self,
        seed: int,
        device: str,
        progress: Callable[[str], None],
        store: Store | None = None,
        key: str = "",
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        self.seed = seed
        self.device = device
        self.curve: list[dict[str, float]] = []
        self._progress = progress
        self.checkpoints = Checkpoints(store, f"checkpoints/{key}/fit", every_seconds)

    def report(self, epoch: int, scores: Mapping[str, float], epochs: int = 0) -> None:
        """Keep an epoch's scores and say them; see `FitContext.report`."""
        plain = checked(epoch, scores)
        self.curve.append({"epoch": epoch, **plain})
        shown = "".join(f" · {name} {value:.4f}" for name, value in plain.items() if name != "train_loss")
        self._progress(f"epoch {epoch}{f'/{epochs}' if epochs else ''}{shown}")

    def load_checkpoint(self) -> bytes | None:
        """The last checkpoint of this fit."""
        content = self.checkpoints.load()
        if content is not None:
            self._progress("going on from a checkpoint")
        return content

    def save_checkpoint(self, content: Callable[[], bytes]) -> None:
        """Write a checkpoint when the last one is old enough, or when the process was told to end.

        Raises:
            PreemptedError: It was, and this one is written.
        """
        self.checkpoints.save(content)

    def finish(self) -> None:
        """Remove the checkpoint of a fit that has succeeded."""
        self.checkpoints.finish()

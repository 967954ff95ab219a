"""Fit the candidate model."""

from kfp import dsl

from kfp_ratchet.components._image import TRAIN
from kfp_ratchet.components.shared.step import step


@step(TRAIN)
def train(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    workload: str = "tabular",
    columns: str = "{}",
    window: str = "{}",
    parameters: str = "{}",
    seed: int = 0,
    device: str = "auto",
    store: str = "",
) -> None:
    """Fit the candidate model on the training window.

    Checkpoints go to the store; a killed fit goes on from the last one, with the result of an uninterrupted fit.

    Args:
        dataset: Model rows.
        model: MLflow model folder with its preprocessing and `ratchet.json`; loads without unpickling anything.
        metrics: Its metrics on the held-out tail of the training window, to look at.
        workload: `tabular`, or `package.module:Class` that follows the workload protocol.
        columns: Roles of columns as JSON; see `Columns`.
        window: Training and evaluation window as JSON; evaluation rows are never touched.
        parameters: Hyperparameters as JSON, from `tune`.
        seed: Seed of every random choice; on a CPU the same seed gives the same model.
        device: auto, cpu, cuda or cuda:N.
        store: Folder or bucket of journal and checkpoints; empty keeps none.
    """
    from kfp_ratchet.components.train.fit import train_workload

    train_workload(
        dataset.path,
        dataset.uri,
        workload,
        columns,
        window,
        parameters,
        seed,
        device,
        store,
        model.path,
        model.uri,
        metrics,
    )

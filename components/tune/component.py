"""Search for the best hyperparameters."""

from kfp import dsl

from kfp_ratchet.components._image import TRAIN
from kfp_ratchet.components.shared.step import step


@step(TRAIN)
def tune(
    dataset: dsl.Input[dsl.Dataset],
    study: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    workload: str = "tabular",
    columns: str = "{}",
    window: str = "{}",
    parameters: str = "{}",
    search_space: str = "{}",
    trials: int = 0,
    seed: int = 0,
    device: str = "auto",
    store: str = "",
) -> str:
    """Search for the best hyperparameters on the training window.

    Trials are pruned and kept in a persistent study in the store: after a kill, finished trials are neither lost nor repeated.

    Args:
        dataset: Model rows.
        study: Every trial with its parameters, score and state (JSON).
        report: History and importance of parameters, to look at.
        workload: `tabular`, or `package.module:Class` that follows the workload protocol.
        columns: Roles of columns as JSON; see `Columns`.
        window: Training and evaluation window as JSON; evaluation rows are never touched.
        parameters: Fixed hyperparameters as JSON; they are not searched.
        search_space: What to search as JSON; the workload's own space when empty.
        trials: How many trials the study has at the end; 0 takes the workload's defaults.
        seed: Seed of sampler and training.
        device: auto, cpu, cuda or cuda:N.
        store: Folder or bucket of journal and study; empty keeps the study in memory.

    Returns:
        The best hyperparameters, fixed ones included, as JSON.
    """
    from kfp_ratchet.components.tune.search import tune_workload

    return tune_workload(
        dataset.path,
        dataset.uri,
        workload,
        columns,
        window,
        parameters,
        search_space,
        trials,
        seed,
        device,
        store,
        study.path,
        study.uri,
        report.path,
    )

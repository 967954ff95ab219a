"""Score candidate and champion on the same rows."""

from kfp import dsl

from kfp_ratchet.components._image import TRAIN
from kfp_ratchet.components.shared.step import step


@step(TRAIN)
def evaluate(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    evidence: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    curves: dsl.Output[dsl.ClassificationMetrics],
    columns: str = "{}",
    window: str = "{}",
    model_name: str = "",
    champion_version: str = "",
    champion_digest: str = "",
    anchor_version: str = "",
    anchor_digest: str = "",
    tracking_uri: str = "",
    store: str = "",
) -> None:
    """Score candidate and champion, and the anchor where there is one, on the same rows of the evaluation window.

    Args:
        dataset: Model rows.
        model: The candidate.
        evidence: Label, weight, cluster, slices and all scores row by row (`rows.parquet`), what was seen (`evidence.json`), latency and
            memory (`operations.json`), and a few raw rows with the candidate's answers to probe a server with (`probe.json`).
        metrics: Metrics of candidate and champion on these rows, to look at.
        curves: The candidate's ROC curve and confusion matrix, to look at; empty for a regression.
        columns: Roles of columns as JSON; see `Columns`.
        window: Training and evaluation window as JSON; see `Window`.
        model_name: Registered name of the model.
        champion_version: Pinned version of the live model; empty when there is none.
        champion_digest: Pinned digest of the live model, checked after it is fetched.
        anchor_version: Pinned version of the last champion that was shown to be better; empty when that is the live model.
        anchor_digest: Pinned digest of that model.
        tracking_uri: MLflow tracking URI the champion is fetched from.
        store: Folder or bucket of the run journal; empty keeps none.
    """
    from kfp_ratchet.components.evaluate.scoring import evaluate_models

    evaluate_models(
        dataset.path,
        dataset.uri,
        model.path,
        model.uri,
        columns,
        window,
        model_name,
        champion_version,
        champion_digest,
        anchor_version,
        anchor_digest,
        tracking_uri,
        store,
        evidence.path,
        evidence.uri,
        metrics,
        curves,
    )

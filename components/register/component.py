"""Keep the candidate in the model registry, whatever the verdict."""

from kfp import dsl

from kfp_ratchet.components._image import SLIM
from kfp_ratchet.components.shared.step import step


@step(SLIM)
def register(
    model: dsl.Input[dsl.Model],
    evidence: dsl.Input[dsl.Artifact],
    decision: dsl.Input[dsl.Artifact],
    registration: dsl.Output[dsl.Artifact],
    model_name: str,
    tracking_uri: str,
    store: str,
    epoch: int = 0,
    provenance: str = "{}",
) -> str:
    """Keep the candidate in the model registry, whatever the verdict.

    Rejected and inconclusive candidates become versions too, tagged and without an alias, and an entry in the ledger. A candidate that
    is the champion makes no new version. Running it again changes nothing.

    Args:
        model: The candidate.
        evidence: What the decision was taken on; kept in the store, so that it can be taken again.
        decision: The gate's decision.
        registration: Version, digest and links (JSON).
        model_name: Registered name of the model.
        tracking_uri: MLflow tracking URI.
        store: Folder or bucket of ledger and journal.
        epoch: Champion epoch the candidate was judged against, from `pin`.
        provenance: What only the submitter knows, as JSON: commit, dirty, repository, yaml_digest, submitted_by; see `Provenance`.

    Returns:
        The version in the registry.
    """
    from kfp_ratchet.components.register.registration import register_model

    return register_model(
        model.path,
        model.uri,
        evidence.path,
        evidence.uri,
        decision.path,
        decision.uri,
        model_name,
        tracking_uri,
        store,
        epoch,
        provenance,
        registration.path,
        registration.uri,
    )

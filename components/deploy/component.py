"""Put a promoted version live, or leave everything as it was."""

from kfp import dsl

from kfp_ratchet.components._image import SLIM
from kfp_ratchet.components.shared.step import step


@step(SLIM)
def deploy(
    evidence: dsl.Input[dsl.Artifact],
    decision: dsl.Input[dsl.Artifact],
    deployment: dsl.Output[dsl.Artifact],
    model_name: str,
    version: str,
    tracking_uri: str,
    store: str,
    epoch: int = 0,
    serving: str = "{}",
) -> str:
    """Put a promoted version live, or leave everything as it was.

    Starts the version beside the live one, compares its answers on real rows with the model's, switches, and commits to the ledger. On
    any failure the old version keeps serving. If the champion has moved since `pin`, nothing is applied. Where the policy requires
    approval, a version that nobody has approved is only noted as pending: `ratchet model approve`, or the pipeline `approve`, puts it live.

    Args:
        evidence: From `evaluate`: the rows to probe with and the model's answers.
        decision: The gate's decision; its verdict must be promote.
        deployment: Endpoint, version and ledger entry (JSON).
        model_name: Registered name of the model.
        version: Version in the registry, from `register`.
        tracking_uri: MLflow tracking URI.
        store: Folder or bucket of ledger and journal.
        epoch: Champion epoch the candidate was judged against, from `pin`.
        serving: Where and how to serve as JSON; see `Serving` (this machine) and `KubernetesServing`.

    Returns:
        The endpoint's URL; empty when the version waits for approval.
    """
    from kfp_ratchet.components.deploy.deployment import deploy_version

    return deploy_version(
        evidence.path,
        evidence.uri,
        decision.path,
        decision.uri,
        model_name,
        version,
        tracking_uri,
        store,
        epoch,
        serving,
        deployment.path,
        deployment.uri,
    )

"""Put versions live that waited for a person's approval."""

from kfp import dsl

from kfp_ratchet.components._image import SLIM
from kfp_ratchet.components.shared.step import step


@step(SLIM)
def approve(
    deployment: dsl.Output[dsl.Artifact],
    model_name: str,
    store: str,
    tracking_uri: str,
    version: str = "",
    by: str = "",
    reason: str = "",
    serving: str = "{}",
) -> str:
    """Put a version live that waited for a person's approval.

    With `by`, approves `version` first. Without, only what was approved before, in the ledger or by the tag `ratchet.approval` in MLflow,
    goes live. It is started and asked before any traffic moves. An approval expires when the champion moves: that is refused, with the
    reason. Running it again changes nothing.

    Args:
        deployment: Endpoint, version and ledger entry (JSON).
        model_name: Registered name of the model.
        store: Folder or bucket of ledger and journal.
        tracking_uri: MLflow tracking URI.
        version: Version that waits; the newest that is approved when empty.
        by: Who approves `version`; empty approves nothing.
        reason: Why, for the history.
        serving: Where and how to serve as JSON; see `Serving` (this machine) and `KubernetesServing`.

    Returns:
        The endpoint's URL; empty when nothing went live.
    """
    from kfp_ratchet.components.approve.approving import approve_version

    return approve_version(
        model_name, version, by, reason, store, tracking_uri, serving, deployment.path, deployment.uri
    )

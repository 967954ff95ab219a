"""Put a version live that waited for a person's approval; for whoever approves on a cluster, or on a schedule for tags in MLflow."""

from collections.abc import Mapping
from typing import Any

from kfp import dsl

from kfp_ratchet.components import ops
from kfp_ratchet.pipelines.kubernetes_settings import KubernetesSettings
from kfp_ratchet.pipelines.settings import effect_step

DEFAULTS: Mapping[str, Any] = {
    "model_name": "",
    "serving": "{}",
    "notifications": "{}",
    "store": "",
    "tracking_uri": "",
}


def build(
    defaults: Mapping[str, Any] | None = None, name: str = "approval", settings: KubernetesSettings | None = None
) -> Any:
    """The pipeline.

    Args:
        defaults: Default by parameter, for a pipeline of one model.
        name: Name of the pipeline: lower case, digits and dashes.
        settings: What the pods ask of a cluster; the package's defaults when None.
    """
    d = {**DEFAULTS, **(defaults or {})}
    settings = (settings or KubernetesSettings()).labelled(model=d["model_name"])

    # Not `approve`: KFP takes a pipeline for the component of the same name.
    @dsl.pipeline(name=name, description=" ".join((__doc__ or "").split()))
    def approve(
        model_name: str = d["model_name"],
        version: str = "",
        by: str = "",
        reason: str = "",
        serving: str = d["serving"],
        notifications: str = d["notifications"],
        store: str = d["store"],
        tracking_uri: str = d["tracking_uri"],
    ) -> None:
        """Put a version live that waited for a person's approval.

        Args:
            model_name: Registered name of the model.
            version: Version that waits; the newest that is approved when empty.
            by: Who approves it; empty takes only what was approved before, in the ledger or by a tag in MLflow.
            reason: Why, for the history.
            serving: Where and how to serve, as JSON.
            notifications: What to send and where, as JSON.
            store: Folder or bucket of ledger and journal.
            tracking_uri: MLflow tracking URI.
        """
        told = effect_step(ops.notify(model_name=model_name, store=store, notifications=notifications), settings)
        with dsl.ExitHandler(told, name="approval"):
            effect_step(
                ops.approve(
                    model_name=model_name,
                    version=version,
                    by=by,
                    reason=reason,
                    store=store,
                    tracking_uri=tracking_uri,
                    serving=serving,
                ),
                settings,
            )

    return approve

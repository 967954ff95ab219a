"""Put a version live that waited for a person's approval; for whoever approves on a cluster, or on a schedule for tags in MLflow."""

from typing import Any

from kfp import dsl

from kfp_ratchet.components import ops
from kfp_ratchet.pipelines.settings import effect_step


def build() -> Any:
    """The pipeline."""

    # Not `approve`: KFP takes a pipeline for the component of the same name.
    @dsl.pipeline(name="approval", description=" ".join((__doc__ or "").split()))
    def approve(
        model_name: str = "",
        version: str = "",
        by: str = "",
        reason: str = "",
        serving: str = "{}",
        notifications: str = "{}",
        store: str = "",
        tracking_uri: str = "",
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
        told = effect_step(ops.notify(model_name=model_name, store=store, notifications=notifications))
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
                )
            )

    return approve

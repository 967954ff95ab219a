"""The target that a section `serving` names."""

from typing import Any

from kfp_ratchet.components.deploy.serving import KubernetesServing, Serving
from kfp_ratchet.components.deploy.target import Target


def target_of(serving: Serving | KubernetesServing, model: str, tracking_uri: str = "") -> Target[Any]:
    """Where a model is served.

    Args:
        serving: The settings.
        model: Registered name of the model, already checked.
        tracking_uri: MLflow tracking URI, where servers fetch their model themselves; not needed to look.
    """
    if isinstance(serving, KubernetesServing):
        from kfp_ratchet.components.deploy.kubernetes.target import KubernetesTarget

        return KubernetesTarget(serving, model, tracking_uri)
    from kfp_ratchet.components.deploy.local import LocalTarget

    return LocalTarget(serving, model)

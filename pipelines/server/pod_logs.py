"""What the pods of a run printed, where Kubernetes may be asked."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from kfp_ratchet.components.shared.errors import RatchetError

_STEP_LABEL = "kfp-ratchet/step"
_CONTAINER = "main"


@dataclass(frozen=True)
class PodLog:
    """The end of what one pod printed."""

    step: str
    """"" where no label says which: a driver's, or that of another's pipeline."""
    pod: str
    phase: str
    text: str


def pod_logs(run_id: str, namespace: str = "", lines: int = 50) -> Iterator[PodLog]:
    """Logs of a run's pods, oldest pod first.

    Args:
        run_id: Whose.
        namespace: Where they are; that of the account or the kubeconfig when "".
        lines: How many of the last ones of each.

    Raises:
        RatchetError: Kubernetes cannot be asked, or refuses.
    """
    from kfp_ratchet.components.deploy.kubernetes.api import Api

    api = Api(namespace)
    path = f"/api/v1/namespaces/{api.namespace}/pods"
    pods = api.items(path, f"pipeline/runid={run_id}")
    for pod in sorted(pods, key=lambda one: str(one["metadata"].get("creationTimestamp"))):
        metadata = pod["metadata"]
        containers = [one["name"] for one in pod.get("spec", {}).get("containers", [])]
        container = _CONTAINER if _CONTAINER in containers else next(iter(containers), "")
        try:
            said = api.ask(
                "GET", f"{path}/{metadata['name']}/log", query=[("container", container), ("tailLines", str(lines))]
            )
            text = str(said.get("content", said))
        except RatchetError as error:
            text = f"({error.message})"
        labels = metadata.get("labels") or {}
        yield PodLog(labels.get(_STEP_LABEL, ""), metadata["name"], pod.get("status", {}).get("phase", ""), text)


def pod_logs_at_once(run_id: str, namespace: str = "", lines: int = 20, seconds: float = 10) -> list[PodLog]:
    """The same as far as it can be had within some seconds: a kubeconfig may be of another cluster, or of one that is away."""
    found: list[PodLog] = []

    def read() -> None:
        with suppress(Exception):
            found.extend(pod_logs(run_id, namespace, lines))

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    reading.join(seconds)
    return list(found)

"""What a cluster says of a run's pods: the reason of a death that the step itself could not write down.

Asked where it may be: inside a cluster, when the run's service account may list pods. Elsewhere nothing is known, silently.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_STEP_LABEL = "kfp-ratchet/step"
_TIMEOUT_SECONDS = 5
_WAITING = {
    "ErrImagePull": "push the image, or give the pods a pull secret (kubernetes.image_pull_secrets)",
    "ImagePullBackOff": "push the image, or give the pods a pull secret (kubernetes.image_pull_secrets)",
    "InvalidImageName": "correct the section images of ratchet.yaml",
    "CreateContainerConfigError": "create the Secret or ConfigMap that it names, or make it optional",
    "CreateContainerError": "look at the pod's events",
}
_ENDED = {
    "OOMKilled": "raise kubernetes.steps.{step}.memory_limit in ratchet.yaml, or let it use less: a lower batch_size, a shorter window",
    "Evicted": "the node ran short: raise kubernetes.steps.{step}.memory to what the step uses, then start the run again",
    "DeadlineExceeded": "raise kubernetes.steps.{step}.timeout in ratchet.yaml, or give the step less to do",
    "Unschedulable": "ask for less in kubernetes.steps.{step}, or add a node that has it",
}
_LOST = "the cluster took its node or its place; start the run again, finished steps come from the cache"


class PodTrouble(BaseModel):
    """Why a step's pod did not end well."""

    model_config = ConfigDict(frozen=True)

    step: str
    pod: str
    reason: str
    message: str = ""

    @property
    def sentence(self) -> str:
        """Reason, pod, and what the cluster said."""
        return f"{self.reason} (pod {self.pod}{': ' + self.message if self.message else ''})"

    @property
    def lost(self) -> bool:
        """Whether the cluster took the pod away, for no fault of the step's."""
        return self.reason not in _WAITING and self.reason not in _ENDED

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return {**_WAITING, **_ENDED}.get(self.reason, _LOST).replace("{step}", self.step)


def pod_troubles(run: str) -> dict[str, PodTrouble]:
    """By step, the last trouble that the cluster tells of a run's pods; {} where it may not be asked or does not answer."""
    if "KUBERNETES_SERVICE_HOST" not in os.environ or not _NAMESPACE.exists():
        return {}
    from kubernetes import client, config
    from urllib3.exceptions import HTTPError

    settings = client.Configuration()
    settings.retries = False
    try:
        config.load_incluster_config(client_configuration=settings)
        core = client.CoreV1Api(client.ApiClient(settings))
        pods = core.list_namespaced_pod(
            _NAMESPACE.read_text().strip(), label_selector=f"pipeline/runid={run}", _request_timeout=_TIMEOUT_SECONDS
        ).items
    except (client.ApiException, config.ConfigException, HTTPError, OSError):
        return {}
    found = [trouble for pod in sorted(pods, key=_age) for trouble in _of(pod)]
    return {trouble.step: trouble for trouble in found}


def _age(pod: Any) -> str:
    return str(pod.metadata.creation_timestamp)


def _of(pod: Any) -> Iterator[PodTrouble]:
    """What is wrong with a pod, the most telling last."""
    name, status = pod.metadata.name, pod.status
    step = (pod.metadata.labels or {}).get(_STEP_LABEL, name)
    for condition in status.conditions or []:
        lost = condition.type == "DisruptionTarget" and condition.status == "True"
        unplaced = condition.type == "PodScheduled" and condition.reason == "Unschedulable"  # Waiting still.
        if lost or unplaced:
            yield PodTrouble(step=step, pod=name, reason=condition.reason or "", message=condition.message or "")
    if status.reason in _ENDED:
        yield PodTrouble(step=step, pod=name, reason=status.reason, message=status.message or "")
    for container in [*(status.init_container_statuses or []), *(status.container_statuses or [])]:
        waiting, ended = container.state.waiting, container.state.terminated
        if waiting is not None and waiting.reason in _WAITING:
            yield PodTrouble(step=step, pod=name, reason=waiting.reason, message=waiting.message or "")
        if ended is not None and ended.reason in _ENDED:
            yield PodTrouble(step=step, pod=name, reason=ended.reason, message=ended.message or "")

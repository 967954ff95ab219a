"""Wait for a Deployment's pods, and say early why they do not come."""

import time
from collections.abc import Iterator
from typing import Any

from kfp_ratchet.components.deploy.kubernetes import objects
from kfp_ratchet.components.deploy.kubernetes.api import Api, Object
from kfp_ratchet.components.deploy.serving import KubernetesServing
from kfp_ratchet.components.deploy.target import Say
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.log import last_line

_POLL_SECONDS = 0.5
_NO_IMAGE = {"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
_NO_CONTAINER = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
_CHARACTERS = 500


def wait_available(
    api: Api, path: str, pool: str, generation: int, serving: KubernetesServing, say: Say = lambda line: None
) -> float:
    """Wait until every pod of the Deployment as it was last applied is ready; returns how long that took, in seconds.

    Raises:
        RatchetError: They will not be, or are not in time, and why.
    """
    began, told = time.monotonic(), ""
    while True:
        found = api.get(path)
        if found is None:
            raise RatchetError(f"Deployment {pool} was removed while it started", "another deploy came between")
        waited = time.monotonic() - began
        if _is_available(found, generation):
            return round(waited, 1)
        pods = _pods(api, pool)
        _refuse(found, pods, serving)
        state = "; ".join(dict.fromkeys(filter(None, map(_state, pods))))
        if state and state != told:
            say(f"{pool}: {state}")
            told = state
        if waited > serving.startup_seconds:
            raise RatchetError(
                f"the pods of {pool} are not ready after {serving.startup_seconds} s: {state or 'there are none'}",
                _slow_remedy(state),
            )
        time.sleep(_POLL_SECONDS)


def restarts(api: Api, pool: str) -> tuple[int, str]:
    """How often containers of a Deployment's pods have ended so far, and how the last one did."""
    statuses = [status for pod in _pods(api, pool) for status in _statuses(pod, "containerStatuses")]
    ended = [said for status in statuses for said in [_ended(status)] if said]
    return sum(int(status.get("restartCount", 0)) for status in statuses), " / ".join(ended)


def _is_available(found: Object, generation: int) -> bool:
    status, wanted = found.get("status", {}), found["spec"]["replicas"]
    # Before the controller has seen this generation, what it says is about the one before.
    return int(status.get("observedGeneration", 0)) >= generation and all(
        status.get(key, 0) == wanted for key in ("replicas", "updatedReplicas", "availableReplicas")
    )


def _refuse(found: Object, pods: list[Object], serving: KubernetesServing) -> None:
    """Raise what waiting cannot mend."""
    for condition in found.get("status", {}).get("conditions", []):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            raise RatchetError(
                f"its pods may not be made: {condition.get('message', condition.get('reason'))}",
                "raise the namespace's quota, or lower serving.cpu, serving.memory or serving.replicas",
            )
    for pod in pods:
        for key in ("initContainerStatuses", "containerStatuses"):
            for status in _statuses(pod, key):
                _refuse_container(status, serving)


def _refuse_container(status: Object, serving: KubernetesServing) -> None:
    waiting = status.get("state", {}).get("waiting") or {}
    reason, said = waiting.get("reason", ""), str(waiting.get("message", ""))[:_CHARACTERS]
    if reason in _NO_IMAGE:
        raise RatchetError(
            f"the image {serving.image} cannot be pulled: {said or reason}",
            "check serving.image, push it (`ratchet images push`), and name serving.pull_secrets where the registry wants them",
        )
    if reason in _NO_CONTAINER:
        raise RatchetError(f"its container {status['name']} cannot be made: {said or reason}", _secret_remedy(said))
    ended = _ended(status)
    if ended and status["name"] == objects.FETCH:
        raise RatchetError(
            f"its pod cannot fetch the model: {ended}",
            "check that tracking_uri and the store of its artifacts are reached from the cluster, and serving.fetch_secrets",
        )
    if ended:
        remedy = "raise serving.memory" if "OOMKilled" in ended else "see the server's log: kubectl logs --previous"
        raise RatchetError(f"its model server ended before it was ready: {ended}", remedy)


def _ended(status: Object) -> str:
    """How a container failed, now or the last time; "" when it did not."""
    for state in (status.get("state", {}), status.get("lastState", {})):
        ended = state.get("terminated")
        if ended and (ended.get("exitCode") or ended.get("reason") not in ("Completed", None)):
            said = last_line(str(ended.get("message", "")))[-_CHARACTERS:]
            return f"{ended.get('reason', 'Error')}, exit code {ended.get('exitCode')}" + (f": {said}" if said else "")
        if ended and status["name"] == objects.SERVER:
            return "it ended by itself"
    return ""


def _state(pod: Object) -> str:
    """What a pod waits for."""
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"no node takes it: {condition.get('message', condition.get('reason'))}"
    for key in ("initContainerStatuses", "containerStatuses"):
        for status in _statuses(pod, key):
            waiting = status.get("state", {}).get("waiting") or {}
            if waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
                return f"{status['name']}: {waiting['reason']} {waiting.get('message', '')}".strip()[:_CHARACTERS]
            if status.get("state", {}).get("running") and not status.get("ready"):
                return "it fetches the model" if status["name"] == objects.FETCH else "it loads the model"
    return "its containers are being made"


def _slow_remedy(state: str) -> str:
    if "no node" in state:
        return "lower serving.cpu or serving.memory, add nodes, or check serving.node_selector and serving.tolerations"
    return "raise serving.startup_seconds if the image is large or the model slow to load; see the log: kubectl logs"


def _secret_remedy(said: str) -> str:
    return (
        "make that Secret, or correct serving.fetch_secrets"
        if "secret" in said.lower()
        else "see: kubectl describe pod"
    )


def _pods(api: Api, pool: str) -> list[Object]:
    found = api.items(f"/api/v1/namespaces/{api.namespace}/pods", f"{objects.OWN}={pool}")
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def _statuses(pod: Object, key: str) -> Iterator[Any]:
    yield from pod.get("status", {}).get(key) or []

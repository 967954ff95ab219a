"""What a cluster says of a run's pods, in the run's reason and remedy."""

import json
from types import SimpleNamespace

import pytest
from kubernetes import client

from kfp_ratchet.components.notify import cluster
from kfp_ratchet.components.notify.run_view import RunView, StepView
from kfp_ratchet.components.shared.journal import Record


def pod(**status):
    status = {"conditions": [], "containerStatuses": [], **status}
    metadata = {"name": "train-x1", "labels": {"kfp-ratchet/step": "train"}}
    # As the API server's answer is read.
    body = {"metadata": metadata, "spec": {"containers": [{"name": "main"}]}, "status": status}
    answer = SimpleNamespace(data=json.dumps(body))
    return client.ApiClient().deserialize(answer, "V1Pod")


def container(**state):
    return [{"name": "main", "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": state}]


@pytest.mark.parametrize(
    ("status", "reason", "remedy"),
    [
        (
            {"containerStatuses": container(terminated={"exitCode": 137, "reason": "OOMKilled"})},
            "OOMKilled",
            "kubernetes.steps.train.memory_limit",
        ),
        (
            {"phase": "Failed", "reason": "Evicted", "message": "low on resource: memory"},
            "Evicted",
            "kubernetes.steps.train.memory ",
        ),
        ({"phase": "Failed", "reason": "DeadlineExceeded"}, "DeadlineExceeded", "kubernetes.steps.train.timeout"),
        (
            {"containerStatuses": container(waiting={"reason": "ImagePullBackOff", "message": "Back-off"})},
            "ImagePullBackOff",
            "push the image",
        ),
        (
            {
                "containerStatuses": container(
                    waiting={"reason": "CreateContainerConfigError", "message": 'secret "s3" not found'}
                )
            },
            "CreateContainerConfigError",
            "create the Secret",
        ),
        (
            {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]},
            "PreemptionByScheduler",
            "start the run again",
        ),
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
                ]
            },
            "Unschedulable",
            "ask for less",
        ),
    ],
)
def test_a_pod_whose_death_is_not_explained(status, reason, remedy):
    (trouble,) = cluster._of(pod(**status))
    assert (trouble.step, trouble.pod, trouble.reason) == ("train", "train-x1", reason)
    assert remedy in trouble.remedy + " "
    died = StepView(step="train", state="running", run="r", record=Record(run="r", step="train", line="epoch 3/9"))
    view = RunView(run="r", steps=(died,), pods={"train": trouble})
    assert view.reason.startswith(f"train began and never ended: {reason} (pod train-x1") and "epoch 3/9" in view.reason
    assert (
        view.outcome == ("interrupted" if reason.startswith("Preemption") else "failed")
        and view.remedy == trouble.remedy
    )
    waiting = RunView(run="r", steps=(StepView(step="train", state="not reached"),), pods={"train": trouble})
    assert waiting.reason.startswith(f"train did not begin: {reason}")


def test_a_healthy_pod_that_is_called_ill():
    done = {"phase": "Succeeded", "containerStatuses": container(terminated={"exitCode": 0, "reason": "Completed"})}
    placed = {"conditions": [{"type": "PodScheduled", "status": "True"}]}
    assert not list(cluster._of(pod(**done, **placed)))


def test_outside_a_cluster_nobody_is_asked(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert cluster.pod_troubles("r") == {}

"""What the pods of a run printed, asked of a real API server."""

import os
import time

import pytest

from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.pipelines.server.pod_logs import pod_logs

pytestmark = pytest.mark.slow
RUN = "7e199a39-5f53-48ca-8f50-614cad7c54f1"


@pytest.fixture
def image() -> str:
    return os.environ.get("RATCHET_TEST_BASE", "localhost:5000/base:bookworm")


def pod(core, namespace: str, image: str, name: str, script: str, labels: dict[str, str]):
    from kubernetes import client

    container = client.V1Container(name="main", image=image, command=["sh", "-c", script])
    beside = client.V1Container(name="wait", image=image, command=["sh", "-c", "echo not this"])
    spec = client.V1PodSpec(containers=[beside, container], restart_policy="Never")
    core.create_namespaced_pod(
        namespace, client.V1Pod(metadata=client.V1ObjectMeta(name=name, labels=labels), spec=spec)
    )


def test_the_main_container_of_each_pod_of_the_run_is_read(api, namespace, kubeconfig, image, monkeypatch):
    from kubernetes import client

    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    core = client.CoreV1Api(api)
    labels = {"pipeline/runid": RUN, "kfp-ratchet/step": "train"}
    pod(core, namespace, image, "train-1", "for i in 1 2 3; do echo line $i ü; done; exit 3", labels)
    pod(core, namespace, image, "other-1", "echo other", {"pipeline/runid": "another"})
    end = time.monotonic() + 120
    while core.read_namespaced_pod("train-1", namespace).status.phase not in ("Succeeded", "Failed"):
        assert time.monotonic() < end
        time.sleep(0.5)
    [found] = pod_logs(RUN, namespace, lines=2)
    assert (found.step, found.pod, found.phase) == ("train", "train-1", "Failed")
    assert found.text == "line 2 ü\nline 3 ü\n"


def test_a_right_that_is_missing_is_named(api, namespace, kubeconfig, monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(RatchetError):
        list(pod_logs(RUN, namespace))

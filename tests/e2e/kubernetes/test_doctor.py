"""`ratchet doctor` against a real API server: what pods ask for is looked for where they run."""

import pytest

from kfp_ratchet.pipelines.doctor import cluster
from kfp_ratchet.pipelines.doctor.check import look
from kfp_ratchet.pipelines.pipeline_text import PipelineText

pytestmark = pytest.mark.slow


def test_a_missing_secret_is_found_before_a_pod_waits_for_it(api, namespace, kubeconfig, monkeypatch):
    from kubernetes import client

    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    core = client.CoreV1Api(api)
    for name in ("there",):
        core.create_namespaced_secret(namespace, client.V1Secret(metadata=client.V1ObjectMeta(name=name)))
    asked = [{"secretName": "there"}, {"secretName": "missing"}, {"secretName": "spare", "optional": True}]
    executors = {"exec-pin": {"secretAsEnv": asked, "configMapAsEnv": [{"configMapName": "settings"}]}}
    spec = {"platform_spec": {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}}
    found = {one.name: one for one in look(cluster.looks([PipelineText("", spec)], namespace), 30)}
    assert {name: one.state for name, one in found.items()} == {
        "Secret there": "ok",
        "Secret missing": "failed",
        "Secret spare": "warning",
        "ConfigMap settings": "failed",
    }
    assert "needed by pin" in found["Secret missing"].said
    assert namespace in found["Secret missing"].remedy

"""A training pod that is deleted, with and without grace, and one that runs out of memory: the next attempt, and what is told."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import obstore
import pytest
from kfp import compiler, dsl, kubernetes
from kubernetes import client
from runner import Cluster, PodRun
from tables import COLUMNS, SCHEMA, put, rows

from kfp_ratchet.components import ops
from kfp_ratchet.components.notify.run_view import RunView
from kfp_ratchet.components.shared.journal import Origin, Record, read_record
from kfp_ratchet.components.shared.store import Store

pytestmark = pytest.mark.slow

EATER = '''
class Eater:
    """Takes memory until there is none."""

    classes = ["0", "1"]

    @classmethod
    def search_space(cls):
        return {}

    @classmethod
    def fit(cls, rows, validation, columns, parameters, context):
        import time

        taken = []
        while True:
            taken.append(bytearray(b"x" * 16_000_000))
            context.report(len(taken), {"loss": 1.0})
            time.sleep(0.05)

    predict = save = load = fit
'''


@dsl.pipeline(name="fit")
def fit(source: str, store: str, schema: str, columns: str, workload: str, parameters: str) -> None:
    told = ops.notify(model_name="small", store=store)
    with dsl.ExitHandler(told):
        window = "{}"
        pins = ops.pin(source=source, model_name="small", store=store, columns=columns, window=window).outputs
        rows = ops.ingest(
            source=source, revision=pins["revision"], columns=columns, window=pins["window"], schema=schema, store=store
        )
        fitted = {"workload": workload, "columns": columns, "window": pins["window"], "parameters": parameters}
        train = ops.train(dataset=rows.outputs["dataset"], seed=3, device="cpu", store=store, **fitted)
        kubernetes.add_pod_label(train, "kfp-ratchet/step", "train")
        train.set_retry(5, "1s", 1.0).set_memory_limit("1200Mi").set_cpu_limit("1")


@pytest.fixture
def package(tmp_path: Path) -> str:
    path = tmp_path / "fit.yaml"
    compiler.Compiler().compile(fit, str(path))
    return path.read_text()


def submit(cluster: Cluster, package: str, folder: Path, source: str, workload: str = "tabular") -> str:
    # Long enough for a checkpoint to be due in the second attempt, with epochs of seconds: it falls within one.
    parameters = (
        {} if workload != "tabular" else {"epochs": 10, "patience": 10, "batch_size": 64, "hidden": 1024, "layers": 3}
    )
    arguments = {
        "source": source,
        "store": f"{cluster.outside.bucket}/preempted",
        "schema": SCHEMA,
        "columns": COLUMNS,
        "workload": workload,
        "parameters": json.dumps(parameters),
    }
    return cluster.submit(package, arguments, folder)


def trained(cluster: Cluster, run: str) -> Record:
    record = read_record(Store(f"{cluster.outside.bucket}/preempted"), Origin(run=run, step="train"))
    assert record is not None, [(pod.step, pod.phase, pod.log[-1000:]) for pod in cluster.pods]
    return record


def until_fitting(cluster: Cluster, attempt: int) -> None:
    for _ in range(300):
        with suppress(AssertionError):
            record = trained(cluster, cluster.run)
            if len(record.attempts) == attempt - 1 and record.line.startswith(("fitting", "going on")):
                return
        time.sleep(0.2)
    raise AssertionError("train did not begin to fit")


def test_a_training_pod_deleted_twice_gives_the_model_of_an_uninterrupted_fit(cluster, package, tmp_path) -> None:
    core, store = client.CoreV1Api(cluster.api), Store(f"{cluster.outside.bucket}/preempted")
    source = put(cluster, "many", rows(60_000), tmp_path)

    def checkpoint() -> str | None:
        return next(
            (str(obstore.head(cluster.bucket(), f"preempted/{key}")["e_tag"]) for key in store.keys("checkpoints")),
            None,
        )

    def disturb(pod: PodRun) -> None:
        attempt = len(cluster.of("train"))
        if pod.step != "train" or attempt > 2:
            return
        until_fitting(cluster, attempt)
        if attempt == 1:
            # Told to end, before any checkpoint was due: SIGTERM reaches Python, which saves one.
            time.sleep(2)
            assert checkpoint() is None
            core.delete_namespaced_pod(pod.name, cluster.namespace, grace_period_seconds=20)
            return
        before = checkpoint()
        assert before is not None
        for _ in range(300):
            if checkpoint() not in (before, None):
                break
            time.sleep(0.3)
        core.delete_namespaced_pod(pod.name, cluster.namespace, grace_period_seconds=0)

    def forward(pod: dict[str, Any], step: str, attempt: int) -> None:
        if step == "train" and attempt == 1:
            pod["spec"]["containers"][0]["env"].append({"name": "RATCHET_TEST_FORWARD", "value": "1"})

    whole = trained(cluster, submit(cluster, package, tmp_path, source))
    assert whole.state == "succeeded" and whole.attempts == ()
    assert whole.memory_limit_mb == 1200.0 and whole.environment.cores == 1, "the pod's limits are not seen"
    cluster.watched, cluster.alter = disturb, forward
    again = trained(cluster, submit(cluster, package, tmp_path, source))
    # One attempt more may fail: this test's S3 server was seen not to answer for half a minute after a pod was cut off.
    phases = [pod.phase for pod in cluster.of("train")]
    assert (phases[:2], phases[-1]) == (["Failed", "Deleted"], "Succeeded"), again.attempts
    assert [attempt.failure for attempt in again.attempts][:2] == ["preempted", ""], again.attempts
    assert again.details["digest"] == whole.details["digest"], "not the model of an uninterrupted fit"
    assert again.details["curve"] == whole.details["curve"]
    assert checkpoint() is None
    report = store.get(f"runs/{cluster.run}/report.html")
    assert report is not None and f"went on in attempt {len(again.attempts) + 1}".encode() in report


@pytest.fixture
def readable(api, namespace) -> Iterator[str]:
    """A service account that may read pods."""
    core, rbac = client.CoreV1Api(api), client.RbacAuthorizationV1Api(api)
    core.create_namespaced_service_account(namespace, {"metadata": {"name": "reader"}})
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
    rbac.create_namespaced_role(namespace, {"metadata": {"name": "reader"}, "rules": [rule]})
    binding = {
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}],
    }
    rbac.create_namespaced_role_binding(namespace, binding)
    return "reader"


def test_a_fit_that_takes_more_memory_than_its_limit_is_called_that(cluster, package, tmp_path, readable) -> None:
    core, store = client.CoreV1Api(cluster.api), Store(f"{cluster.outside.bucket}/preempted")
    core.create_namespaced_config_map(cluster.namespace, {"metadata": {"name": "own"}, "data": {"eater.py": EATER}})

    def own(pod: dict[str, Any], step: str, attempt: int) -> None:
        spec = pod["spec"]
        spec["volumes"].append({"name": "own", "configMap": {"name": "own"}})
        spec["containers"][0]["volumeMounts"].append({"name": "own", "mountPath": "/own"})
        spec["containers"][0]["env"].append({"name": "PYTHONPATH", "value": "/own"})

    cluster.alter, cluster.service_account = own, readable
    package = package.replace("maxRetryCount: 5", "maxRetryCount: 1")
    run = submit(cluster, package, tmp_path, put(cluster, "few", rows(1000), tmp_path), "eater:Eater")
    assert [pod.phase for pod in cluster.of("train")] == ["Failed", "Failed"]
    record = trained(cluster, run)
    assert record.state == "running", record.error
    assert record.memory_mb is not None and record.memory_mb > 900
    (first,) = record.attempts
    assert first.ending == "probably ran out of memory (limit 1,200 MiB)"
    view = RunView.read(store, run, "small")
    assert view.outcome == "failed" and view.exit_code == 3
    assert view.reason.startswith("train began and never ended: OOMKilled (pod train-")
    unasked = RunView.model_validate({**view.model_dump(), "pods": {}})
    assert unasked.reason.startswith("train probably ran out of memory: its limit is 1,200 MiB")
    assert "batch_size" in view.remedy and "batch_size" in unasked.remedy
    report = store.get(f"runs/{run}/report.html")
    assert report is not None and b"OOMKilled" in report, "the pods may be read, so what the kubelet says is told"

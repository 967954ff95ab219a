"""Continuous training on a real cluster: every step a pod, as user 65532 on a read-only root, through a real S3 and MLflow."""

from pathlib import Path

import pytest
from runner import Cluster
from tables import COLUMNS, SCHEMA, put, rows

from kfp_ratchet.components.notify.run_view import RunView
from kfp_ratchet.components.shared.journal import read_run
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.pipelines.compile import continuous_training_yaml

pytestmark = pytest.mark.slow


def test_every_step_a_pod(cluster: Cluster, tmp_path: Path) -> None:
    store = f"{cluster.outside.bucket}/store"
    arguments = {
        "source": put(cluster, "rows", rows(2000), tmp_path),
        "model_name": "small",
        "store": store,
        "tracking_uri": cluster.outside.tracking_uri,
        "schema": SCHEMA,
        "columns": COLUMNS,
        "parameters": '{"epochs":3}',
    }
    steps = ["pin", "ingest", "validate", "tune", "train", "evaluate", "gate", "register"]

    def submit(policy: str) -> RunView:
        run = cluster.submit(continuous_training_yaml(), {**arguments, "policy": policy}, tmp_path)
        failed = {pod.name: pod.log[-2000:] for pod in cluster.pods if pod.phase != "Succeeded"}
        assert not failed, failed
        records = read_run(Store(store), run)
        assert list(records) == [pod.step for pod in cluster.pods]
        assert {record.state for record in records.values()} == {"succeeded"}
        assert records["train"].environment.image == cluster.images["train"]
        report = Store(store).get(f"runs/{run}/report.html")
        assert report is not None and run.encode() in report
        return RunView.read(Store(store), run, "small")

    waits = submit('{"approval":"required"}')
    assert waits.outcome == "pending", waits.reason
    assert [pod.step for pod in cluster.pods] == [*steps, "deploy", "notify"]
    rejected = submit('{"floors":{"roc_auc":0.999}}')
    assert rejected.outcome == "rejected", rejected.reason
    assert [pod.step for pod in cluster.pods] == [*steps, "notify"]

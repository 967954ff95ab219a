"""Continuous training on a real cluster: every step a pod, as user 65532 on a read-only root, through a real S3 and MLflow."""

from pathlib import Path

import pytest
import yaml
from kubernetes import client, utils
from runner import Cluster
from tables import COLUMNS, SCHEMA, put, rows

from kfp_ratchet.components.deploy.serving import KubernetesServing
from kfp_ratchet.components.notify.run_view import RunView
from kfp_ratchet.components.shared.journal import read_run
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.pipelines.compile import continuous_training_yaml
from kfp_ratchet.pipelines.kubernetes_settings import KubernetesSettings

pytestmark = pytest.mark.slow

MANIFESTS = Path(__file__).parents[3] / "manifests"


def test_every_step_a_pod(cluster: Cluster, deployer: str, tmp_path: Path) -> None:
    serving = KubernetesServing(
        image=cluster.images["serve"],
        cpu="50m",
        fetch_environment=cluster.outside.environment,
        bake_seconds=2,
    )
    store = f"{cluster.outside.bucket}/store"
    arguments = {
        "source": put(cluster, "rows", rows(2000), tmp_path),
        "model_name": "small",
        "store": store,
        "tracking_uri": cluster.outside.tracking_uri,
        "schema": SCHEMA,
        "columns": COLUMNS,
        "parameters": '{"epochs":3}',
        "serving": serving.model_dump_json(),
    }
    steps = ["pin", "ingest", "validate", "tune", "train", "evaluate", "gate", "register"]

    package = continuous_training_yaml(settings=KubernetesSettings(deployer_secret=deployer))

    def submit(policy: str) -> RunView:
        run = cluster.submit(package, {**arguments, "policy": policy}, tmp_path)
        failed = {pod.name: pod.log[-2000:] for pod in cluster.pods if pod.phase != "Succeeded"}
        assert not failed, failed
        records = read_run(Store(store), run)
        assert list(records) == [pod.step for pod in cluster.pods]
        assert {record.state for record in records.values()} == {"succeeded"}
        # Pinned by digest in the pod; inside, the image knows the name it was built under.
        built_as = records["train"].environment.image.rpartition(":")[0]
        assert cluster.images["train"].startswith(built_as), "train ran in another image"
        report = Store(store).get(f"runs/{run}/report.html")
        assert report is not None and run.encode() in report
        return RunView.read(Store(store), run, "small")

    promoted = submit("{}")
    assert promoted.outcome == "promoted", promoted.reason
    assert [pod.step for pod in cluster.pods] == [*steps, "deploy", "notify"]
    served = live(cluster)
    rejected = submit('{"floors":{"roc_auc":0.999}}')
    assert rejected.outcome == "rejected", rejected.reason
    assert [pod.step for pod in cluster.pods] == [*steps, "notify"]
    assert live(cluster) == served, "a rejected model touched what is live"


def live(cluster: Cluster) -> tuple[dict[str, str], list[str]]:
    """What the Service selects and which Deployments there are."""
    service = client.CoreV1Api(cluster.api).read_namespaced_service("small", cluster.namespace)
    pools = client.AppsV1Api(cluster.api).list_namespaced_deployment(cluster.namespace).items
    assert pools and all(pool.status.ready_replicas == 1 for pool in pools)
    return service.spec.selector, sorted(pool.metadata.name for pool in pools)


@pytest.fixture
def deployer(api, namespace) -> str:
    """The account of `manifests/base/deployer.yaml`, with its token."""
    parts = yaml.safe_load_all((MANIFESTS / "base" / "deployer.yaml").read_text())
    for part in parts:
        for subject in part.get("subjects", []):
            subject["namespace"] = namespace
        utils.create_from_dict(api, part, namespace=namespace)
    return "ratchet-deployer"

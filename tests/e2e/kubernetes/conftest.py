"""A real cluster, the images in its registry, and an S3 and an MLflow server that its pods reach.

Environment: RATCHET_TEST_CLUSTER is a command that prints the path of a kubeconfig (never the user's own: these tests make and delete
namespaces), RATCHET_TEST_HOST this machine's address as pods see it. The images come from the fixture `images`.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

HOST = os.environ.get("RATCHET_TEST_HOST", "10.244.0.1")


@pytest.fixture(scope="session")
def kubeconfig() -> str:
    """Path of the cluster's kubeconfig; without a cluster the test is skipped."""
    command = os.environ.get("RATCHET_TEST_CLUSTER", "")
    if not command:
        pytest.skip("no cluster: RATCHET_TEST_CLUSTER is not set")
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == 0, f"{command} failed: {done.stderr[-2000:]}"
    return done.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="session")
def api(kubeconfig):
    """A client of the cluster, with every right."""
    from kubernetes import client, config

    return client.ApiClient(config.load_kube_config(kubeconfig) or client.Configuration.get_default_copy())


@pytest.fixture
def namespace(api) -> Iterator[str]:
    """Name of a namespace of this test's own, whose default service account is there."""
    from kubernetes import client

    core = client.CoreV1Api(api)
    name = f"test-{uuid.uuid4().hex[:10]}"
    core.create_namespace({"metadata": {"name": name}})
    for _ in range(300):
        with contextlib.suppress(client.ApiException):
            core.read_namespaced_service_account("default", name)
            break
        time.sleep(0.1)
    yield name
    core.delete_namespace(name)


@dataclass(frozen=True)
class Outside:
    """Servers on this machine that pods reach as well."""

    tracking_uri: str
    s3: str
    bucket: str
    environment: dict[str, str]
    """What a process needs to reach the bucket, here and in a pod."""


@pytest.fixture(scope="session")
def outside(tmp_path_factory) -> Iterator[Outside]:
    """An S3 server (moto: versions and conditional puts) with a bucket, and an MLflow server."""
    folder = tmp_path_factory.mktemp("outside")
    port = _free_port()
    said = (folder / "s3.log").open("wb")
    # A process of its own: pods would wait for this one's interpreter lock.
    moto = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "--host", "0.0.0.0", "--port", str(port)],
        stdout=said,
        stderr=said,
        start_new_session=True,
    )
    s3 = f"http://{HOST}:{port}"
    _until_healthy(f"{s3}/moto-api/data.json", Path(said.name))
    urllib.request.urlopen(urllib.request.Request(f"{s3}/models", method="PUT")).close()
    port = _free_port()
    log = (folder / "mlflow.log").open("wb")
    mlflow = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            "0.0.0.0",
            "--port",
            str(port),
            "--workers",
            "1",
            "--backend-store-uri",
            f"sqlite:///{folder}/mlflow.db",
            "--artifacts-destination",
            str(folder / "artifacts"),
            "--serve-artifacts",
            "--allowed-hosts",
            "*",
        ],
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    tracking_uri = f"http://{HOST}:{port}"
    _until_healthy(f"{tracking_uri}/health", Path(log.name))
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    yield Outside(tracking_uri, s3, "s3://models", {**keys, "AWS_ENDPOINT_URL": s3, "AWS_ALLOW_HTTP": "true"})
    os.killpg(mlflow.pid, 15)
    mlflow.wait()
    os.killpg(moto.pid, 15)
    moto.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _until_healthy(url: str, log: Path) -> None:
    for _ in range(240):
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.5)
    raise AssertionError(f"{url} does not answer: {log.read_text()[-2000:]}")


@pytest.fixture
def cluster(api, namespace, outside, images, monkeypatch):
    """Runs pipelines in a namespace of their own; this process reaches the same bucket."""
    from runner import Cluster

    for name, value in outside.environment.items():
        monkeypatch.setenv(name, value)
    return Cluster(api, namespace, outside, images)

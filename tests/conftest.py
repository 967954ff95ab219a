"""Slow tests come last, so that failures show early."""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

# As on a user's machine: what Python writes beside a script, and what it still holds back when it ends, are part of what is tested.
for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"):
    os.environ.pop(name, None)
sys.dont_write_bytecode = False


_CONTAINERS = ("tests/e2e/docker/", "tests/e2e/kubernetes/")


def _unit(nodeid: str) -> str:
    """What one worker runs in order: all tests of containers, which share one Docker and one cluster; a file whose tests go on from one
    another; else a test."""
    if nodeid.startswith(_CONTAINERS):
        return "containers"
    return nodeid.partition("::")[0] if nodeid.startswith("tests/e2e/") else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class ByUnit(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _unit(nodeid)

    return ByUnit(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(_CONTAINERS):
            # The first one builds the images, and on a new machine waits for the cluster.
            item.add_marker(pytest.mark.timeout(3600))

    def order(item: pytest.Item) -> tuple[bool, bool]:
        return item.get_closest_marker("slow") is not None, not item.nodeid.startswith(_CONTAINERS)

    items.sort(key=order)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what took how long, by folder."""
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds["/".join(report.nodeid.split("/")[:3]).partition("::")[0]] += report.duration
    terminalreporter.section("seconds of all workers by folder")
    for folder, spent in seconds.most_common():
        terminalreporter.line(f"{spent:8.1f} {folder}")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Reference by kind (slim, train, serve) of the images under test, in a registry that Docker and the cluster reach.

    Those that RATCHET_TEST_IMAGES names (`slim=REFERENCE,train=REFERENCE`), else built from this tree on RATCHET_TEST_BASE, pushed to
    RATCHET_TEST_REGISTRY and named by digest.
    """
    from filelock import FileLock

    if named := os.environ.get("RATCHET_TEST_IMAGES"):
        return dict(each.split("=", 1) for each in named.split(","))
    registry = os.environ.get("RATCHET_TEST_REGISTRY")
    if not registry:
        pytest.skip("no images: neither RATCHET_TEST_IMAGES nor RATCHET_TEST_REGISTRY is set")
    if cluster := os.environ.get("RATCHET_TEST_CLUSTER"):
        subprocess.run(cluster, shell=True, check=True, capture_output=True)  # which brings Docker and the registry
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("no images: Docker is not there to build them")
    from kfp_ratchet.pipelines.image_building import BASE, build, push
    from kfp_ratchet.pipelines.images import Images

    # Workers share the folder above their own: the first builds, the others read what it made.
    folder = tmp_path_factory.getbasetemp()
    made = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "images.json"
    with FileLock(f"{made}.lock"):
        if not made.exists():
            names = Images(registry=registry)
            build(names, base=os.environ.get("RATCHET_TEST_BASE", BASE), network="host")
            pushed = push(names)
            pinned = {each.kind: f"{each.reference.rpartition(':')[0]}@{each.digest}" for each in pushed}
            made.write_text(json.dumps(pinned))
        return json.loads(made.read_text())


@pytest.fixture(scope="session")
def s3_endpoint():
    """A real S3 server in this process."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_endpoint, monkeypatch):
    """URI of an empty bucket there, with the environment that reaches it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{uuid.uuid4().hex}"
    urllib.request.urlopen(urllib.request.Request(f"{s3_endpoint}/{name}", method="PUT")).close()
    return f"s3://{name}"


class DvcProject:
    """A Git repository with DVC."""

    def __init__(self, folder: Path, remote: str, **settings: str) -> None:
        from dvc.repo import Repo

        folder.mkdir(parents=True)
        self.folder = folder
        self.git("init", "--quiet", "--initial-branch=main")
        with Repo.init(str(folder)) as repo, repo.config.edit() as config:
            config["remote"]["store"] = {"url": remote, **settings}
            config["core"]["remote"] = "store"

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", self.folder, *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()

    def put(self, path: str, content: bytes) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_bytes(content)

    def track(self, *paths: str, push: bool = True, commit: str = "data") -> str:
        from dvc.repo import Repo

        with Repo(str(self.folder)) as repo:
            repo.add([str(self.folder / path) for path in paths])
            if push:
                repo.push()
        return self.commit(commit) if commit else ""

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def uri(self, path: str, rev: str = "") -> str:
        return f"dvc://{self.folder}{rev and '@'}{rev}:{path}"


@pytest.fixture
def dvc_project(tmp_path, monkeypatch):
    """Makes Git repositories with DVC: folder, URL of the remote, its settings. Nothing of this machine's user counts."""
    pytest.importorskip("dvc")
    (tmp_path / "gitconfig").write_text("[user]\nname = Someone\nemail = someone@example.com\n")
    for name, value in {
        "GIT_CONFIG_GLOBAL": "gitconfig",
        "DVC_SITE_CACHE_DIR": "site",
        "DVC_GLOBAL_CONFIG_DIR": "global",
        "DVC_SYSTEM_CONFIG_DIR": "system",
        "RATCHET_DATA": "fetched",
    }.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    return DvcProject

"""Deploys on a real cluster: no request fails over a switch, an undo or a kill; every fault is explained, the old version serving."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from kfp_ratchet.components.deploy.by_hand import Place, rollback
from kfp_ratchet.components.deploy.kubernetes import objects
from kfp_ratchet.components.deploy.kubernetes.rules import RULES
from kfp_ratchet.components.deploy.kubernetes.target import KubernetesTarget
from kfp_ratchet.components.deploy.live import ensure, live, pods, stop, strangers
from kfp_ratchet.components.deploy.probe import Probe
from kfp_ratchet.components.deploy.rollout import roll_out
from kfp_ratchet.components.deploy.serving import Canary, KubernetesServing
from kfp_ratchet.components.shared import registry
from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.model import model_digest
from kfp_ratchet.components.shared.store import Store

pytestmark = pytest.mark.slow

WORKLOADS = Path(__file__).parents[2] / "components" / "deploy" / "workloads"
ROWS = {"columns": ["x"], "data": [[1.0], [2.5]]}


@pytest.fixture(scope="session")
def line_image(images, tmp_path_factory) -> str:
    """The slim image with a workload of the user's own in it: no torch to load."""
    folder = tmp_path_factory.mktemp("image")
    shutil.copy(WORKLOADS / "line.py", folder)
    site = "/opt/venv/lib/python3.11/site-packages/"
    (folder / "Dockerfile").write_text(f"FROM {images['slim']}\nCOPY line.py {site}\n")
    name = f"{images['slim'].split('/')[0]}/test/line:{uuid.uuid4().hex[:8]}"
    for command in (["build", "-q", "-t", name, str(folder)], ["push", "-q", name]):
        subprocess.run(["docker", *command], check=True, env={**os.environ, "DOCKER_BUILDKIT": "0"})
    yield name
    subprocess.run(["docker", "rmi", "-f", name], check=False, capture_output=True)


@pytest.fixture(scope="session")
def models(outside, tmp_path_factory):
    """Lines of slope 1 and 2 and so on, by version in MLflow, and the digest of each."""
    import polars as pl

    sys.path.insert(0, str(WORKLOADS))
    from kfp_ratchet.components.shared.columns import Columns
    from kfp_ratchet.components.shared.model import Card
    from kfp_ratchet.components.train.pyfunc import save_pyfunc

    folder = tmp_path_factory.mktemp("lines")
    card = Card(
        workload="line:Line",
        parameters={},
        columns=Columns(target="y", problem="regression"),
        features={"x": "Float64"},
        revision="sha256:r",
        window={},
        split_rule="hash",
        rows=10,
        seed=0,
        device="cpu",
        metrics={},
    )
    digests = {}
    for version in ("1", "2", "3"):
        workload = folder / f"of-{version}" / "workload"
        workload.mkdir(parents=True)
        (workload / "weights.json").write_text(json.dumps({"slope": float(version)}))
        made = folder / version
        save_pyfunc(made, workload, card, pl.DataFrame({"x": [1.0, 2.0]}))
        digests[version] = model_digest(made)
        assert version == registry.register(
            outside.tracking_uri, "line", made, digests[version], {}, {}, {}, f"run {version}"
        )
    sys.path.remove(str(WORKLOADS))
    return digests


class Bench:
    """A model's ledger, and a namespace to serve it in."""

    def __init__(self, folder, namespace, image, tracking_uri, digests) -> None:
        self.store, self.tracking_uri, self.digests = str(folder / "store"), tracking_uri, digests
        self.ledger = Ledger(Store(self.store), "line")
        self.serving = KubernetesServing(
            namespace=namespace, image=image, cpu="50m", memory="400Mi", bake_seconds=1, startup_seconds=90
        )

    def target(self, **settings) -> KubernetesTarget:
        return KubernetesTarget(self.serving.model_copy(update=settings), "line", self.tracking_uri)

    def probe(self, version, wrong=False) -> Probe:
        slope = float(version) + wrong
        return Probe(rows=ROWS, scores=[slope, 2.5 * slope])

    def draft(self, version) -> Draft:
        champion = self.ledger.champion()
        epoch = champion.epoch if champion else 0
        return Draft(kind="promote", version=version, digest=self.digests[version], epoch=epoch, run=f"run-{version}")

    def deploy(self, version, wrong=False, say=lambda line: None, **settings):
        target = self.target(**settings)
        return roll_out(
            self.ledger, target, self.draft(version), lambda into: into, self.probe(version, wrong), say=say
        )

    @property
    def pools(self) -> list[str]:
        return [pool for pool, _ in self.target()._pools()]

    def refuses(self, says, kind=RatchetError, version="2", **settings) -> RatchetError:
        """A deploy that fails for a reason that it tells, and leaves the old version serving and nothing of the new one."""
        pools, there = self.pools, self.target().live()
        with pytest.raises(kind) as caught:
            self.deploy(version, **settings)
        assert says in caught.value.message and caught.value.remedy, str(caught.value)
        left = self.target().live()
        assert (left and (left.version, left.pool, left.committed)) == (
            there and (there.version, there.pool, there.committed)
        )
        assert self.pools == pools
        assert self.ledger.open_intent() is None
        return caught.value


@pytest.fixture
def bench(tmp_path, namespace, line_image, outside, models, kubeconfig, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", kubeconfig)
    return Bench(tmp_path, namespace, line_image, outside.tracking_uri, models)


class Load:
    """Clients that ask the Service without a pause, each request on a connection of its own."""

    def __init__(self, bench, clients=4) -> None:
        service = bench.target()._service()
        self.host = service["spec"]["clusterIP"]
        self.answers: dict[float, int] = {}
        self.failures: list[str] = []
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    @property
    def requests(self) -> int:
        return sum(self.answers.values()) + len(self.failures)

    def _ask(self) -> None:
        content = json.dumps({"dataframe_split": {"columns": ["x"], "data": [[1.0]]}}).encode()
        while not self._stop.is_set():
            try:
                (answer,) = json.loads(self._once("POST", "/invocations", content))["predictions"]
                with self._lock:
                    self.answers[answer] = self.answers.get(answer, 0) + 1
            except (OSError, ValueError, http.client.HTTPException) as error:
                self.failures.append(f"{time.time():.2f} {error!r}")

    def _once(self, verb, path, content=None) -> bytes:
        headers = {"Content-Type": "application/json", "Connection": "close"}
        with contextlib.closing(http.client.HTTPConnection(self.host, timeout=20)) as connection:
            connection.request(verb, path, content, headers)
            response = connection.getresponse()
            said = response.read()
        if response.status != 200:
            raise ValueError(f"{response.status}: {said[:200]!r}")
        return said

    def __enter__(self) -> "Load":
        # The Service is new, and the node may not know of it yet.
        for _ in range(100):
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                self._once("GET", "/ping")
                break
            time.sleep(0.1)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def until(self, requests) -> None:
        while self.requests < requests and not self.failures:
            time.sleep(0.05)


def test_no_request_fails_over_a_switch_an_undo_and_a_rollback(bench):
    kept = bench.deploy("1", bake_seconds=0).live.pool
    with Load(bench) as load:
        shares: list[float] = []

        def look(line: str) -> None:
            if "a canary takes clients" in line:
                load.until(load.requests + 300)
                shares.append(load.answers.get(2.0, 0) / load.requests)
                assert bench.target().live().version == "1"

        done = bench.deploy("2", say=look, canary=Canary(seconds=1))
        load.until(1000)
        assert 0 < shares[0] < 0.9, "the canary takes a share of the clients, and only a share"
        assert len(bench.pools) == 2, "it is gone"
        assert (done.live.version, done.previous_version) == ("2", "1")
        assert not load.failures and {1.0, 2.0} <= load.answers.keys()
        first, live_pool = load.requests, done.live.pool

        watched = KubernetesTarget.open
        with pytest.MonkeyPatch.context() as patch:

            def watched_and_failed(self, live, probe, say):
                watched(self, live, probe, say)
                raise RatchetError("it does badly", "look")

            patch.setattr(KubernetesTarget, "open", watched_and_failed)
            with pytest.raises(RatchetError, match="badly"):
                bench.deploy("3")
        assert load.answers.get(3.0), "clients had reached it"
        load.until(first + 1000)
        assert bench.target().live().pool == live_pool
        second = load.requests

        place = Place(bench.store, "line", bench.tracking_uri, bench.serving)
        assert rollback(place, "1", "ann", "worse").version == "1"
        load.until(second + 1000)
    assert not load.failures
    there = bench.target().live()
    assert there.committed and there.version == "1" and there.pool == kept, "the kept pods were taken"
    assert there.former == live_pool and set(bench.pools) == {kept, live_pool}, "the former one is kept"
    assert strangers(bench.serving, "line") == []
    serving = pods(bench.serving, "line")
    assert (serving.deployment, serving.ready, serving.replicas) == (kept, 1, 1)
    assert serving.image == bench.serving.image


KILLS = {"before the switch": "switch", "while it is watched": "open", "after the commit": "settle"}
DIES = """
import os, signal, sys
from kfp_ratchet.components.deploy.kubernetes.target import KubernetesTarget
from kfp_ratchet.components.deploy.probe import Probe
from kfp_ratchet.components.deploy.rollout import roll_out
from kfp_ratchet.components.deploy.serving import KubernetesServing
from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.store import Store
store, serving, tracking_uri, draft, probe, point = sys.argv[1:]
real = getattr(KubernetesTarget, point)
ledger = Ledger(Store(store), "line")
def dies(self, *arguments):
    if point != "settle" or (ledger.made() and ledger.made().run == Draft.model_validate_json(draft).run):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, *arguments)
setattr(KubernetesTarget, point, dies)
target = KubernetesTarget(KubernetesServing.model_validate_json(serving), "line", tracking_uri)
roll_out(ledger, target, Draft.model_validate_json(draft), lambda into: into, Probe.model_validate_json(probe))
"""


def test_no_request_fails_when_the_deploy_is_killed_and_the_next_attempt_settles_it(bench):
    bench.deploy("1", bake_seconds=0)
    with Load(bench) as load:
        for version, (what, point) in zip(("2", "3", "1"), KILLS.items(), strict=True):
            before = load.requests
            draft = bench.draft(version)
            texts = [bench.serving.model_dump_json(), bench.tracking_uri, draft.model_dump_json()]
            command = [sys.executable, "-c", DIES, bench.store, *texts, bench.probe(version).model_dump_json(), point]
            killed = subprocess.run(command, capture_output=True, text=True)
            assert killed.returncode == -9, (what, killed.stderr[-1000:])
            done = roll_out(bench.ledger, bench.target(), draft, lambda into: into, bench.probe(version))
            assert done.live.version == version and done.live.committed, what
            assert bench.ledger.open_intent() is None and strangers(bench.serving, "line") == []
            load.until(before + 1000)
            assert not load.failures and load.requests >= before + 1000, what
    assert not load.failures
    kinds = [entry.kind for entry in bench.ledger.entries()]
    assert kinds == ["deploy-started", "promote"] * 4, "nothing doubled"


def test_every_fault_is_explained_with_the_old_version_serving(bench, api):
    from kubernetes import client

    core, namespace = client.CoreV1Api(api), bench.serving.namespace
    clash = {"metadata": {"name": "line"}, "spec": {"ports": [{"port": 80}], "selector": {"mine": "yes"}}}
    core.create_namespaced_service(namespace, clash)
    with pytest.raises(InputError, match="was not made by ratchet"):
        bench.deploy("1")
    assert core.read_namespaced_service("line", namespace).spec.selector == {"mine": "yes"} and bench.pools == []
    core.delete_namespaced_service("line", namespace)

    bench.deploy("1", bake_seconds=0)
    with Load(bench, clients=1) as load:
        bench.refuses("cannot be pulled", image=bench.serving.image.rpartition(":")[0] + ":nowhere")
        bench.refuses("no node takes it", memory="9000Gi", startup_seconds=3)
        bench.refuses("not ready after 2 s", startup_seconds=2)
        bench.refuses("cannot be made", fetch_secrets=["missing"])
        digests, bench.digests = bench.digests, {**bench.digests, "2": bench.digests["3"]}
        assert "as the ledger says" in bench.refuses("cannot fetch the model").message
        bench.digests = digests
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bench, "probe", lambda version, wrong=False: Probe(rows=ROWS, scores=[9.0, 9.0]))
            bench.refuses("the model itself said 9.0")
        quota = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}}
        core.create_namespaced_resource_quota(namespace, quota)
        bench.refuses("exceeded quota")
        core.delete_namespaced_resource_quota("q", namespace)
    assert not load.failures and set(load.answers) == {1.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KubernetesTarget, "open", _crashing(api, KubernetesTarget.open))
        bench.refuses("ended while it was watched", bake_seconds=30)
    assert live(bench.serving, "line")[1]
    stop(bench.serving, "line")
    assert not live(bench.serving, "line")[1]
    there, started = ensure(bench.store, "line", bench.tracking_uri, bench.serving)
    assert started and there.version == "1" and live(bench.serving, "line")[1]


def _crashing(api, watch):
    """Watching, while the first process of the new pod is killed."""
    from kubernetes import client
    from kubernetes.stream import stream

    def watched(self, there, probe, say):
        core = client.CoreV1Api(client.ApiClient(api.configuration))
        (pod,) = core.list_namespaced_pod(self.api.namespace, label_selector=f"{objects.POOL}={there.pool}").items
        kill = ["python3", "-c", "import os; os.kill(1, 15); os.kill(1, 15)"]
        stream(core.connect_get_namespaced_pod_exec, pod.metadata.name, self.api.namespace, command=kill, stdout=True)
        watch(self, there, probe, say)

    return watched


class Proxy:
    """Passes bytes on to the API server, or not."""

    def __init__(self, host: str, port: int) -> None:
        self._goal, self.is_away = (host, port), False
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def leave(self) -> None:
        self.is_away = True
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._server.accept()
                if self.is_away:
                    here.close()
                    continue
                there = socket.create_connection(self._goal)
                self._open += [here, there]
                for ends in ((here, there), (there, here)):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, from_: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := from_.recv(65536):
                to.sendall(content)
        with contextlib.suppress(OSError):
            to.shutdown(socket.SHUT_RDWR)


def test_a_deploy_goes_on_when_the_api_server_was_away_and_says_what_it_may_not_do(
    bench, kubeconfig, tmp_path, monkeypatch
):
    import yaml
    from kubernetes import client, config

    settings = yaml.safe_load(Path(kubeconfig).read_text())
    cluster = settings["clusters"][0]["cluster"]
    host, _, port = cluster["server"].removeprefix("https://").partition(":")
    proxy = Proxy(host, int(port))
    cluster["server"] = f"https://127.0.0.1:{proxy.port}"
    cluster["tls-server-name"] = host
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(settings))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    bench.deploy("1", bake_seconds=0)

    def away(line: str) -> None:
        if "comparing" in line:
            proxy.leave()
            threading.Timer(20, lambda: setattr(proxy, "is_away", False)).start()

    assert bench.deploy("2", say=away).live.version == "2"
    assert [entry.kind for entry in bench.ledger.entries()] == ["deploy-started", "promote"] * 2
    proxy.leave()
    monkeypatch.setattr("kfp_ratchet.components.deploy.kubernetes.api._PATIENCE_SECONDS", 1.0)
    with pytest.raises(RatchetError, match="does not answer"):
        bench.deploy("3")
    proxy.is_away = False

    direct = client.ApiClient(config.load_kube_config(kubeconfig) or client.Configuration.get_default_copy())
    core, namespace = client.CoreV1Api(direct), bench.serving.namespace
    token = core.create_namespaced_service_account_token("default", namespace, {"spec": {}}).status.token
    settings["users"] = [{"name": settings["users"][0]["name"], "user": {"token": token}}]
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(settings))
    with pytest.raises(RatchetError, match='cannot get resource "services"') as refused:
        bench.deploy("3")
    assert "Role" in refused.value.remedy


INSIDE = """
import sys
from kfp_ratchet.components.deploy.kubernetes.target import KubernetesTarget

from kfp_ratchet.components.deploy.probe import Probe
from kfp_ratchet.components.deploy.rollout import roll_out
from kfp_ratchet.components.deploy.serving import KubernetesServing
from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.store import Store
serving, tracking_uri, draft, probe = sys.argv[1:]
target = KubernetesTarget(KubernetesServing.model_validate_json(serving), "line", tracking_uri)
done = roll_out(Ledger(Store("/tmp/store"), "line"), target, Draft.model_validate_json(draft), lambda into: into,
    Probe.model_validate_json(probe), print)
print("DONE", done.live.url, done.answered.rows)
"""


def test_a_pod_with_the_deployers_role_deploys_into_a_restricted_namespace(bench, api):
    from kubernetes import client

    core, rbac, namespace = client.CoreV1Api(api), client.RbacAuthorizationV1Api(api), bench.serving.namespace
    core.patch_namespace(namespace, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}})
    rules = [rule for rule in RULES if rule["resources"] != ["services/proxy"]]
    rbac.create_namespaced_role(namespace, {"metadata": {"name": "deployer"}, "rules": rules})
    role = {"kind": "Role", "name": "deployer", "apiGroup": "rbac.authorization.k8s.io"}
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    binding = {"metadata": {"name": "deployer"}, "roleRef": role, "subjects": [subject]}
    rbac.create_namespaced_role_binding(namespace, binding)
    serving = bench.serving.model_copy(update={"namespace": ""})  # The pod's own.
    texts = [serving.model_dump_json(), bench.tracking_uri, bench.draft("1").model_dump_json()]
    shape = bench.target()
    pod = objects.deployment(shape.serving, "step", bench.draft("1"), 1, "")["spec"]["template"]["spec"]
    container = pod.pop("containers")[0]
    container["command"] = ["python3", "-c", INSIDE, *texts, bench.probe("1").model_dump_json()]
    kept = {key: container[key] for key in ("name", "image", "command", "securityContext", "volumeMounts")}
    pod |= {"containers": [kept], "initContainers": [], "automountServiceAccountToken": True, "restartPolicy": "Never"}
    core.create_namespaced_pod(namespace, {"metadata": {"name": "deploy"}, "spec": pod})
    for _ in range(240):
        phase = core.read_namespaced_pod_status("deploy", namespace).status.phase
        if phase in ("Succeeded", "Failed"):
            break
        time.sleep(0.5)
    said = core.read_namespaced_pod_log("deploy", namespace)
    assert phase == "Succeeded", said
    assert f"DONE http://line.{namespace}.svc 2" in said
    assert live(bench.serving, "line")[1]

"""What the section `kubernetes` asks for, seen from within real pods; what one node cannot show, on what the API server accepts."""

import json
import time
from typing import Any

import pytest
from kubernetes import client
from pods import executors, pod_spec

from kfp_ratchet.pipelines.compile import continuous_training_yaml
from kfp_ratchet.pipelines.kubernetes_settings import KubernetesSettings
from kfp_ratchet.pipelines.settings import DEPLOYER

pytestmark = pytest.mark.slow

SMALL = {"cpu": "20m", "cpu_limit": "500m", "memory": "32M", "memory_limit": "128M"}
SETTINGS: dict[str, Any] = {
    "io": SMALL,
    "fit": SMALL,
    "steps": {
        "train": {"scratch": {"kind": "memory", "size": "32Mi"}},
        "deploy": {"scratch": {"kind": "volume", "size": "1Gi", "path": "/scratch"}},
        "tune": {"timeout": "4s"},
        "gate": {"timeout": "4s"},
        "notify": {"scratch": {"kind": "claim", "claim": "mine"}},
    },
    "secrets": {
        "s3": {"name": "bucket"},
        "mlflow": {"name": "registry", "env": {"user": "MLFLOW_TRACKING_USERNAME"}},
        "notify": {"name": "hook"},
        "more": [
            {"name": "missing", "env": {"key": "OPTIONAL"}, "steps": ["train"], "optional": True},
            {"name": "missing", "env": {"key": "REQUIRED"}, "steps": ["gate"]},
        ],
    },
    "config_maps": [{"name": "settings", "env": {"region": "AWS_REGION"}}],
    "deployer_secret": "deployer",
    "image_pull_policy": "Always",
    "image_pull_secrets": ["no-registry"],
    "labels": {"cost-center": "delays"},
    "annotations": {"example.com/owner": "the flights team"},
    "security_context": {"run_as_user": 65531, "run_as_group": 65530},
}
# On one node without GPUs such pods wait for ever, so only the API server is asked.
ELSEWHERE: dict[str, Any] = {
    "gpu": {"count": 2, "steps": ["train"], "node_selector": {"gpu": "l4"}},
    "spot": {"steps": ["train"], "tolerations": [{"key": "spot", "effect": "NoSchedule"}], "node_selector": {"p": "s"}},
    "node_affinity": [
        {"match": [{"key": "zone", "values": ["a", "b"]}]},
        {"match": [{"key": "ssd", "operator": "Exists"}], "weight": 10},
    ],
}
SECRETS = {
    "bucket": {"AWS_ACCESS_KEY_ID": "an-id", "AWS_SECRET_ACCESS_KEY": "a-key"},
    "registry": {"user": "someone"},
    "hook": {"RATCHET_NOTIFY_URLS": "json://example"},
    "deployer": {"token": "a-token"},
}
PROBE = f"""
import json, os
from pathlib import Path

def text(path):
    return Path(path).read_text().strip()

folder = Path("/scratch") if Path("/scratch").exists() else Path("/tmp")
(folder / "mine").write_bytes(b"x")
place = os.statvfs(folder)
status = dict(line.split(":", 1) for line in text("/proc/self/status").splitlines())
print(json.dumps({{
    "env": dict(os.environ), "uid": os.getuid(), "gid": os.getgid(), "scratch_bytes": place.f_frsize * place.f_blocks,
    "memory": text("/sys/fs/cgroup/memory.max") if Path("/sys/fs/cgroup/memory.max").exists()
        else text("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    "cpu": text("/sys/fs/cgroup/cpu.max").split()[0] if Path("/sys/fs/cgroup/cpu.max").exists()
        else text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
    "privileges": {{name: status[name].strip() for name in ("CapBnd", "NoNewPrivs", "Seccomp")}},
    "deployer": {{path.name: path.read_text() for path in Path({DEPLOYER!r}).glob("[!.]*")}},
}}))
"""


def pods(image: str, **settings: Any) -> dict[str, dict[str, Any]]:
    """The pod of each step of continuous training, as KFP would make it."""
    text = continuous_training_yaml({"model_name": "flights"}, "{}", "flights", KubernetesSettings(**settings))
    return {
        label.removeprefix("exec-"): pod_spec({**container, "image": image}, wanted, {}, label.removeprefix("exec-"))
        for label, (container, wanted) in executors(text).items()
    }


@pytest.fixture
def core(api, namespace) -> client.CoreV1Api:
    """A client; in the namespace there is what the settings name."""
    core = client.CoreV1Api(api)
    for name, data in SECRETS.items():
        core.create_namespaced_secret(namespace, {"metadata": {"name": name}, "stringData": data})
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "settings"}, "data": {"region": "eu-central-1"}})
    return core


def test_settings_arrive_in_the_pods_of_the_steps_that_asked(core, namespace, images):
    wanted = pods(images["slim"], **SETTINGS)
    started = {}
    for step, code in {"train": PROBE, "deploy": PROBE, "tune": "import time; time.sleep(600)", "gate": PROBE}.items():
        pod = wanted[step]
        pod["spec"]["containers"][0] |= {"command": ["python3", "-c"], "args": [code]}
        pod["spec"]["terminationGracePeriodSeconds"] = 1
        started[step] = core.create_namespaced_pod(namespace, pod).metadata.name
    ended = {step: until_ended(core, namespace, name) for step, name in started.items()}
    said = {
        step: json.loads(log_of(core, namespace, started[step]).splitlines()[-1])
        for step in ("train", "deploy")
        if ended[step].status.phase == "Succeeded" or pytest.fail(explained(core, namespace, ended[step]))
    }

    for step, found in said.items():
        assert {
            "AWS_ACCESS_KEY_ID": "an-id",
            "AWS_SECRET_ACCESS_KEY": "a-key",
            "AWS_REGION": "eu-central-1",
        }.items() <= (found["env"].items())
        assert not {"RATCHET_NOTIFY_URLS", "OPTIONAL", "REQUIRED"} & set(found["env"])
        assert (found["uid"], found["gid"]) == (65531, 65530)
        assert (int(found["memory"]), int(found["cpu"])) == (128_000_000 // 4096 * 4096, 50_000)
        assert found["privileges"] == {"CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}
        pod = ended[step]
        assert pod.metadata.labels == {
            "kfp-ratchet/step": step,
            "kfp-ratchet/model": "flights",
            "cost-center": "delays",
        }
        assert pod.metadata.annotations["example.com/owner"] == "the flights team"
        (main,) = pod.spec.containers
        assert main.resources.requests == {"cpu": "20m", "memory": "32M"}
        assert main.image_pull_policy == "Always" and pod.spec.image_pull_secrets[0].name == "no-registry"
    assert said["deploy"]["env"]["MLFLOW_TRACKING_USERNAME"] == "someone"
    assert "MLFLOW_TRACKING_USERNAME" not in said["train"]["env"]
    assert said["deploy"]["deployer"] == {"token": "a-token"} and said["train"]["deployer"] == {}
    assert said["train"]["scratch_bytes"] == 32 * 2**20

    assert ended["tune"].status.reason == "DeadlineExceeded", "a step ran longer than its timeout"
    assert ended["gate"].status.reason == "DeadlineExceeded", "a missing secret keeps a run RUNNING for ever"


def test_what_needs_other_nodes_is_accepted_by_the_api_server(core, namespace, images):
    accepted = {
        step: core.create_namespaced_pod(namespace, pod, dry_run="All").spec
        for step, pod in pods(images["slim"], **{**SETTINGS, **ELSEWHERE}).items()
    }
    train = accepted["train"]
    assert train.containers[0].resources.limits["nvidia.com/gpu"] == "2"
    assert {(each.key, each.operator, each.effect) for each in train.tolerations} >= {
        ("nvidia.com/gpu", "Exists", "NoSchedule"),
        ("spot", "Exists", "NoSchedule"),
    }
    assert train.node_selector == {"gpu": "l4", "p": "s"}
    mounted = {mount.mount_path: mount.name for mount in train.containers[0].volume_mounts}
    shared = next(volume for volume in train.volumes if volume.name == mounted["/dev/shm"])
    assert (shared.empty_dir.medium, shared.empty_dir.size_limit) == ("Memory", "8Gi")
    affinity = train.affinity.node_affinity
    (term,) = affinity.required_during_scheduling_ignored_during_execution.node_selector_terms
    assert [(each.key, each.operator, each.values) for each in term.match_expressions] == [("zone", "In", ["a", "b"])]
    (preferred,) = affinity.preferred_during_scheduling_ignored_during_execution
    assert (preferred.weight, preferred.preference.match_expressions[0].operator) == (10, "Exists")
    for step, spec in accepted.items():
        gpus = [volume for volume in spec.volumes if volume.name == "shm"]
        assert bool(gpus) == (step == "train") == bool(spec.node_selector), step
        tokens = [volume for volume in spec.volumes if volume.secret and volume.secret.secret_name == "deployer"]
        assert bool(tokens) == (step == "deploy"), step
        hooks = [each for each in spec.containers[0].env if each.name == "RATCHET_NOTIFY_URLS"]
        assert bool(hooks) == (step == "notify"), step
    assert any(volume.persistent_volume_claim for volume in accepted["notify"].volumes)


def until_ended(core: client.CoreV1Api, namespace: str, name: str) -> Any:
    for _ in range(360):
        pod = core.read_namespaced_pod(name, namespace)
        if pod.status.phase in ("Succeeded", "Failed"):
            return pod
        time.sleep(0.25)
    raise AssertionError(explained(core, namespace, pod))


def explained(core: client.CoreV1Api, namespace: str, pod: Any) -> str:
    events = core.list_namespaced_event(namespace, field_selector=f"involvedObject.name={pod.metadata.name}").items
    told = "\n".join(event.message or "" for event in events)
    return f"{pod.metadata.name} is {pod.status.phase}\n{told}\n{log_of(core, namespace, pod.metadata.name)}"


def log_of(core: client.CoreV1Api, namespace: str, name: str) -> str:
    # As it is: the client would make a Python object of a line of JSON, and its `repr` of that.
    return core.read_namespaced_pod_log(name, namespace, _preload_content=False).data.decode()

"""What the section `kubernetes` of `ratchet.yaml` makes of the compiled YAML, step by step, and what it refuses."""

import json
import subprocess
import sys
from typing import Any

import pytest
import yaml
from kfp import compiler, dsl
from pydantic import ValidationError

from kfp_ratchet.components import ops
from kfp_ratchet.components.notify import run_view
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines import kubernetes_settings
from kfp_ratchet.pipelines import settings as helpers
from kfp_ratchet.pipelines.compile import approve_yaml, compiled, continuous_training_yaml
from kfp_ratchet.pipelines.config import load
from kfp_ratchet.pipelines.kubernetes_settings import FIT, KubernetesSettings, quantity, seconds
from kfp_ratchet.pipelines.lint import lint
from kfp_ratchet.pipelines.local import Request

STEPS = {*run_view.STEPS, run_view.NOTIFY}
PROJECT = "name: flights\nsource: data\nschema: rows:Rows\ncolumns:\n  target: late\n"


def documents(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Pipeline spec, and the Kubernetes settings by step."""
    spec, *platform = yaml.safe_load_all(text)
    executors = platform[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if platform else {}
    return spec, {label.removeprefix("exec-"): settings for label, settings in executors.items()}


def training(**kubernetes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    settings = KubernetesSettings.model_validate_json(json.dumps(kubernetes), strict=True)
    return documents(continuous_training_yaml({"model_name": "flights"}, "{}", "flights", settings))


def have(pods: dict[str, Any], key: str) -> set[str]:
    return {step for step, settings in pods.items() if key in settings}


def container(spec: dict[str, Any], step: str) -> dict[str, Any]:
    return spec["deploymentSpec"]["executors"][f"exec-{step}"]["container"]


def retries(spec: dict[str, Any]) -> dict[str, Any]:
    dags = [spec["root"]["dag"], *(each["dag"] for each in spec["components"].values() if "dag" in each)]
    return {name: task["retryPolicy"] for dag in dags for name, task in dag["tasks"].items() if "retryPolicy" in task}


def test_without_a_section_pods_get_labels_and_a_timeout_and_nothing_else():
    spec, pods = training()
    assert set(pods) == STEPS
    for step, settings in pods.items():
        assert settings == {
            "activeDeadlineSeconds": "86400" if step in FIT else "21600",
            "podMetadata": {"labels": {"kfp-ratchet/model": "flights", "kfp-ratchet/step": step}},
        }
    assert {step: policy["maxRetryCount"] for step, policy in retries(spec).items()} == {
        "pin": 2,
        "ingest": 2,
        "register": 2,
        "notify": 2,
    }
    assert retries(spec)["pin"] == {
        "backoffDuration": "30s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "600s",
        "maxRetryCount": 2,
    }


def test_the_generic_pipeline_has_no_label_of_a_model():
    _, pods = documents(continuous_training_yaml())
    assert pods["train"]["podMetadata"]["labels"] == {"kfp-ratchet/step": "train"}


def test_a_steps_own_settings_come_before_its_classs_and_those_before_the_packages():
    spec, pods = training(
        fit={"memory": "8G", "timeout": "off"},
        steps={"train": {"cpu_limit": "8", "memory_limit": "32G", "timeout": "90s"}, "gate": {"retries": 1}},
    )
    assert container(spec, "train")["resources"] == {
        "cpuLimit": 8.0,
        "cpuRequest": 2.0,
        "memoryLimit": 32.0,
        "memoryRequest": 8.0,
        "resourceCpuLimit": "8",
        "resourceCpuRequest": "2",
        "resourceMemoryLimit": "32G",
        "resourceMemoryRequest": "8G",
    }
    assert container(spec, "tune")["resources"]["resourceMemoryLimit"] == "16G"
    assert container(spec, "pin")["resources"]["resourceMemoryRequest"] == "1G"
    assert pods["train"]["activeDeadlineSeconds"] == "90"
    assert have(pods, "activeDeadlineSeconds") == STEPS - {"tune", "evaluate"}
    assert retries(spec)["gate"]["maxRetryCount"] == 1


def test_each_secret_goes_only_to_the_steps_that_take_what_it_opens():
    _, pods = training(
        secrets={
            "s3": {"name": "bucket"},
            "mlflow": {"name": "registry", "env": {"user": "MLFLOW_TRACKING_USERNAME"}, "optional": True},
            "notify": {"name": "hook"},
            "more": [{"name": "warehouse", "env": {"password": "PGPASSWORD"}, "steps": ["ingest"]}],
        }
    )
    by_step = {step: {each["secretName"] for each in settings["secretAsEnv"]} for step, settings in pods.items()}
    assert by_step == {
        **{step: {"bucket"} for step in STEPS},
        **{step: {"bucket", "registry"} for step in ("evaluate", "register", "deploy")},
        "ingest": {"bucket", "warehouse"},
        "notify": {"bucket", "hook"},
    }
    bucket, registry = pods["register"]["secretAsEnv"]
    assert bucket["keyToEnv"] == [
        {"envVar": name, "secretKey": name} for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    ]
    assert not bucket.get("optional") and registry["optional"]
    assert registry["keyToEnv"] == [{"envVar": "MLFLOW_TRACKING_USERNAME", "secretKey": "user"}]


def test_only_the_steps_that_deploy_get_the_deployers_token():
    _, pods = training(deployer_secret="deployer")
    assert have(pods, "secretAsVolume") == {"deploy"}
    assert pods["deploy"]["secretAsVolume"][0]["mountPath"] == "/var/run/ratchet/deployer"
    _, pods = documents(approve_yaml(settings=KubernetesSettings(deployer_secret="deployer")))
    assert have(pods, "secretAsVolume") == {"approve"}


def test_one_call_asks_for_gpus_their_nodes_and_shared_memory():
    spec, pods = training(
        gpu={"count": 2, "steps": ["train"], "shared_memory": "4Gi", "node_selector": {"gpu": "l4"}},
    )
    assert container(spec, "train")["resources"]["accelerator"] == {
        "count": "2",
        "resourceCount": "2",
        "resourceType": "nvidia.com/gpu",
        "type": "nvidia.com/gpu",
    }
    assert pods["train"]["tolerations"] == [{"effect": "NoSchedule", "key": "nvidia.com/gpu", "operator": "Exists"}]
    assert pods["train"]["nodeSelector"] == {"labels": {"gpu": "l4"}}
    assert pods["train"]["emptyDirMounts"] == [
        {"medium": "Memory", "mountPath": "/dev/shm", "sizeLimit": "4Gi", "volumeName": "shm"}
    ]
    for step in STEPS - {"train"}:
        assert "accelerator" not in container(spec, step)["resources"]
        assert not {"tolerations", "nodeSelector", "emptyDirMounts"} & set(pods[step])


def test_on_a_spot_pool_fit_steps_are_tried_again():
    spec, pods = training(
        spot={
            "steps": ["train"],
            "tolerations": [{"key": "spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"}],
            "node_selector": {"pool": "spot"},
            "retries": 7,
            "backoff": "1m",
        }
    )
    assert retries(spec)["train"]["maxRetryCount"] == 7 and retries(spec)["train"]["backoffDuration"] == "60s"
    assert pods["train"]["tolerations"] == [
        {"effect": "NoSchedule", "key": "spot", "operator": "Equal", "value": "true"}
    ]
    assert pods["train"]["nodeSelector"] == {"labels": {"pool": "spot"}}
    assert have(pods, "tolerations") == {"train"} and "tune" not in retries(spec)


def test_what_holds_for_every_pod_is_on_every_pod():
    _, pods = training(
        config_maps=[
            {"name": "all", "env": {"region": "AWS_REGION"}},
            {"name": "one", "env": {"level": "LEVEL"}, "steps": ["gate"], "optional": True},
        ],
        image_pull_policy="Always",
        image_pull_secrets=["registry"],
        node_selector={"pool": "ml"},
        tolerations=[{"key": "ml"}],
        node_affinity=[
            {"match": [{"key": "zone", "values": ["a", "b"]}]},
            {"match": [{"key": "ssd", "operator": "Exists"}], "weight": 10},
        ],
        labels={"cost-center": "delays"},
        annotations={"example.com/owner": "flights team"},
        security_context={},
    )
    for step, settings in pods.items():
        assert [each["configMapName"] for each in settings["configMapAsEnv"]] == ["all", *["one"] * (step == "gate")]
        assert settings["imagePullPolicy"] == "Always"
        assert settings["imagePullSecret"][0]["secretName"] == "registry"
        assert settings["nodeSelector"] == {"labels": {"pool": "ml"}}
        assert settings["tolerations"] == [{"key": "ml", "operator": "Exists"}]
        assert settings["nodeAffinity"] == [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]},
            {"matchExpressions": [{"key": "ssd", "operator": "Exists"}], "weight": 10},
        ]
        assert settings["podMetadata"]["labels"]["cost-center"] == "delays"
        assert settings["podMetadata"]["annotations"] == {"example.com/owner": "flights team"}
        assert settings["securityContext"] == {"runAsGroup": "65532", "runAsNonRoot": True, "runAsUser": "65532"}


@pytest.mark.parametrize(
    ("wanted", "key", "found"),
    [
        ({}, "emptyDirMounts", {"mountPath": "/tmp", "volumeName": "scratch"}),
        (
            {"kind": "memory", "size": "1Gi", "path": "/fast"},
            "emptyDirMounts",
            {"medium": "Memory", "mountPath": "/fast", "sizeLimit": "1Gi", "volumeName": "scratch"},
        ),
        (
            {"kind": "volume", "size": "50Gi", "storage_class": "ssd"},
            "genericEphemeralVolume",
            {
                "accessModes": ["ReadWriteOnce"],
                "mountPath": "/tmp",
                "size": "50Gi",
                "storageClassName": "ssd",
                "volumeName": "scratch",
            },
        ),
        ({"kind": "claim", "claim": "data"}, "pvcMount", {"constant": "data", "mountPath": "/tmp"}),
    ],
)
def test_scratch_is_mounted_into_the_step_that_asks_for_it(wanted, key, found):
    _, pods = training(steps={"ingest": {"scratch": wanted}})
    assert have(pods, key) == {"ingest"}
    assert found.items() <= pods["ingest"][key][0].items()


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("  io: {memory: 8G}\n", "io: memory 8G is more than memory_limit 4G"),
        ("  steps: {train: {memory: 17G}}\n", "steps.train: memory 17G is more than memory_limit 16G"),
        ("  fit: {retries: 2}\n", "fit steps are tried again on a spot pool only; set spot.retries"),
        ("  steps: {trian: {cpu: '1'}}\n", "there is no step 'trian', did you mean 'train'?"),
        ("  gpu: {steps: [fit]}\n", "there is no step 'fit'"),
        ("  spot: {steps: [deploy]}\n", "'deploy' is no fit step"),
        ("  gpu: {count: 0}\n", "kubernetes.gpu.count"),
        ("  secrets: {s3: {nmae: x}}\n", "did you mean 'name'?"),
        ("  secrets: {more: [{name: x, env: {a: B}}]}\n", "more[0].steps: is missing"),
        ("  io: {memory: 1.5G}\n", "kubernetes.io.memory"),
        ("  io: {timeout: forever}\n", "kubernetes.io.timeout"),
        ("  io: {scratch: {kind: volume}}\n", "size is needed"),
        ("  io: {scratch: {kind: claim}}\n", "claim and kind claim belong together"),
        ("  labels: {'a b': c}\n", "kubernetes.labels"),
        ("  tolerations: [{operator: Equal, value: x}]\n", "operator Equal needs a key"),
        ("  node_affinity: [{match: [{key: zone}]}]\n", "operator In takes some values"),
    ],
)
def test_a_mistake_is_told_before_anything_is_compiled(tmp_path, section, told):
    path = tmp_path / "ratchet.yaml"
    path.write_text(f"{PROJECT}kubernetes:\n{section}")
    with pytest.raises(InputError) as caught:
        load(path)
    assert told in caught.value.message


def test_a_file_with_the_section_gets_an_approval_of_its_own_whose_pods_ask_for_the_same(tmp_path):
    path = tmp_path / "ratchet.yaml"
    path.write_text(f"{PROJECT}kubernetes:\n  secrets: {{s3: {{name: bucket}}}}\n")
    texts = compiled([path])
    assert set(texts) == {"continuous_training", "approve", "flights", "flights-approve"}
    spec, pods = documents(texts["flights-approve"])
    assert spec["pipelineInfo"]["name"] == "approval-flights"
    assert spec["root"]["inputDefinitions"]["parameters"]["model_name"]["defaultValue"] == "flights"
    assert have(pods, "secretAsEnv") == {"approve", "notify"}


def test_the_helpers_serve_pipelines_of_ones_own(tmp_path):
    @dsl.pipeline(name="mine")
    def mine() -> None:
        task = helpers.io_step(
            ops.gate(evidence=dsl.importer(artifact_uri="s3://b/e@1", artifact_class=dsl.Artifact).output)
        )
        helpers.gpu(task)
        helpers.timeout(task, "1h")
        helpers.scratch(task, helpers.Scratch(size="5Gi"))
        helpers.secret(task, helpers.SecretEnv(name="token", env={"key": "TOKEN"}))
        helpers.pull(task, "Never")
        helpers.spot(task, helpers.Spot(retries=3))

    package = tmp_path / "mine.yaml"
    compiler.Compiler().compile(mine, str(package))
    spec, pods = documents(package.read_text())
    assert container(spec, "gate")["resources"]["accelerator"]["resourceCount"] == "1"
    assert pods["gate"]["activeDeadlineSeconds"] == "3600"
    assert [each["mountPath"] for each in pods["gate"]["emptyDirMounts"]] == ["/dev/shm", "/tmp"]
    assert retries(spec)["gate"]["maxRetryCount"] == 3


def test_every_setting_at_once_is_clean_for_lint():
    text = continuous_training_yaml(
        {"model_name": "flights"},
        "{}",
        "flights",
        KubernetesSettings.model_validate(
            {
                "gpu": {},
                "spot": {},
                "security_context": {},
                "deployer_secret": "ratchet-deployer",
                "secrets": {kind: {"name": f"ratchet-{kind}"} for kind in ("s3", "mlflow", "notify")},
                "steps": {"ingest": {"scratch": {"kind": "volume", "size": "50Gi"}}},
            }
        ),
    )
    assert not lint(text, "flights.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
def test_runs_on_this_machine_ignore_every_setting(tmp_path, fails):
    """A GPU that is not there, a node pool, a missing Secret, a timeout shorter than the step; and `kfp.local` would wait and try again."""
    wanted = KubernetesSettings.model_validate(
        {
            "io": {"scratch": {"path": "/nowhere"}, "timeout": "1s", "retries": 1, "backoff": "1s"},
            "gpu": {"steps": ["gate"], "count": 8},
            "secrets": {"s3": {"name": "missing"}},
            "node_selector": {"no": "node"},
            "image_pull_policy": "Always",
            "security_context": {},
        }
    )

    @dsl.component
    def gate(store: str, fails: bool) -> None:
        import time
        from pathlib import Path

        time.sleep(1.5)
        with Path(store).open("a") as file:
            file.write("tried\n")
        if fails:
            raise ValueError("this fails")

    @dsl.pipeline(name="settings")
    def settings(store: str, fails: bool) -> None:
        helpers.io_step(gate(store=store, fails=fails), wanted)

    package = tmp_path / "settings.yaml"
    compiler.Compiler().compile(settings, str(package))
    spec, pods = documents(package.read_text())
    assert pods["gate"]["secretAsEnv"] and retries(spec)["gate"]["maxRetryCount"] == 1
    request = Request(
        arguments={"store": str(tmp_path / "tries"), "fails": fails},
        pipeline_root=str(tmp_path / "artifacts"),
        cache_root="",
        package=str(package),
    )
    (tmp_path / "request.json").write_text(request.model_dump_json())
    command = [sys.executable, "-m", "kfp_ratchet.pipelines.local", str(tmp_path)]
    # Its standard input stays open: it ends itself, and its process group, with the one that started it.
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True) as process,
    ):
        status = process.wait(120)
    assert (tmp_path / "tries").read_text() == "tried\n", (tmp_path / "log").read_text()
    assert (status != 0) == fails


def test_quantities_and_durations():
    assert [quantity(text) for text in ("500m", "2", "1.5", "1K", "1Ki", "2Gi")] == [0.5, 2, 1.5, 1000, 1024, 2 * 2**30]
    assert [seconds(text) for text in ("off", "90s", "30m", "6h", "2d")] == [0, 90, 1800, 21600, 172800]


def test_every_step_of_both_pipelines_can_be_named():
    assert set(kubernetes_settings.STEPS) == {*STEPS, *run_view.APPROVE}


def test_a_secret_needs_its_name():
    with pytest.raises(ValidationError):
        KubernetesSettings.model_validate({"secrets": {"s3": {}}})


def test_settings_survive_the_way_to_a_runs_own_process():
    wanted = KubernetesSettings.model_validate({"fit": {"memory": "8G"}, "gpu": {"count": 2}, "spot": {}})
    request = Request(arguments={}, pipeline_root="", cache_root="", kubernetes=wanted)
    assert Request.model_validate_json(request.model_dump_json()).kubernetes == wanted
    again = Request.model_validate_json(request.model_dump_json()).kubernetes
    assert continuous_training_yaml(settings=again) == continuous_training_yaml(settings=wanted)


def test_a_step_without_scratch_though_its_class_has_some():
    settings = KubernetesSettings.model_validate(
        {"io": {"scratch": {}, "cpu": "1"}, "steps": {"gate": {"scratch": None, "cpu": None}}}
    )
    assert settings.of("ingest", "io").scratch and settings.of("gate", "io").scratch is None
    assert settings.of("gate", "io").cpu == "1"


def test_a_unit_of_memory_that_kubernetes_does_not_have_is_refused():
    assert KubernetesSettings.model_validate({"io": {"memory": "500Ki"}})
    with pytest.raises(ValidationError, match="memory"):
        KubernetesSettings.model_validate({"io": {"memory": "500000K"}})

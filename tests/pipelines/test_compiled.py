"""What is uploaded: byte-exact against the code, and exactly the graph, caching and resources that the design says."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_ratchet.components._image import SLIM, TRAIN
from kfp_ratchet.pipelines.compile import compiled
from kfp_ratchet.pipelines.config import APPROVE_PARAMETERS

ROOT = Path(__file__).parent.parent.parent
COMPILED = sorted((ROOT / "compiled").glob("*.yaml"))
TRAINING = [path for path in COMPILED if path.stem != "approve"]
CONFIGS = (ROOT / "examples" / "flights" / "ratchet.yaml",)

DEPENDENCIES = {
    "pin": set(),
    "ingest": {"pin"},
    "validate": {"ingest", "pin"},
    "prepare": {"validate"},
    "tune": {"pin", "prepare"},
    "train": {"pin", "prepare", "tune"},
    "evaluate": {"pin", "prepare", "train"},
    "gate": {"evaluate"},
    "register": {"evaluate", "gate", "pin", "train"},
    "condition-2": {"evaluate", "gate", "pin", "register"},
}
IO = (0.5, 1.0, 4.0)
FIT = (2.0, 4.0, 16.0)
# step: image, cached, (CPUs asked for, GB asked for, GB at most)
TASKS = {
    "pin": (SLIM, False, IO),
    "ingest": (SLIM, True, IO),
    "validate": (SLIM, True, IO),
    "prepare": (SLIM, True, IO),
    "tune": (TRAIN, True, FIT),
    "train": (TRAIN, True, FIT),
    "evaluate": (TRAIN, True, FIT),
    "gate": (SLIM, True, IO),
    "register": (SLIM, False, IO),
    "deploy": (SLIM, False, IO),
    "approve": (SLIM, False, IO),
    "notify": (SLIM, False, IO),
}
# Kinds of construct whose behaviour on a real server is recorded; a new one needs a recording first.
KNOWN_TASK_KEYS = {
    "cachingOptions",
    "componentRef",
    "dependentTasks",
    "inputs",
    "retryPolicy",
    "taskInfo",
    "triggerPolicy",
}
KNOWN_POD_KEYS = {"activeDeadlineSeconds", "podMetadata"}
# A step that is tried again must leave the same when it is done twice.
RETRIED = {"pin", "ingest", "register", "notify"}
KNOWN_TRIGGERS = {"condition", "strategy"}
KNOWN_INPUTS = {
    "componentInputArtifact",
    "componentInputParameter",
    "runtimeValue",
    "taskFinalStatus",
    "taskOutputArtifact",
    "taskOutputParameter",
}


def spec(path: Path) -> dict[str, Any]:
    return next(iter(yaml.safe_load_all(path.read_text())))


def dags(pipeline: dict[str, Any]) -> list[dict[str, Any]]:
    return [pipeline["root"]["dag"], *(item["dag"] for item in pipeline["components"].values() if "dag" in item)]


def tasks(pipeline: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: task for dag in dags(pipeline) for name, task in dag["tasks"].items()}


def test_there_is_something_compiled() -> None:
    assert {path.stem for path in COMPILED} == {"continuous_training", "approve", "flights"}


def test_checked_in_yaml_is_what_the_code_compiles_to() -> None:
    """Someone changed a component or a configuration and forgot `make compile`."""
    fresh = compiled(CONFIGS)
    assert {f"{name}.yaml" for name in fresh} == {path.name for path in COMPILED}
    for path in COMPILED:
        assert path.read_text() == fresh[path.stem], f"{path.name} is stale: run make compile"


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_nothing_in_the_yaml_that_should_not_be_there(path: Path) -> None:
    text = path.read_text()
    assert text.isascii()
    assert "pip install" not in text and "pip3 install" not in text
    assert str(ROOT) not in text and str(Path.home()) + "/" not in text
    assert ":latest" not in text
    for name, parameter in spec(path)["root"]["inputDefinitions"]["parameters"].items():
        value = str(parameter.get("defaultValue", ""))
        assert not any(word in name.lower() for word in ("password", "secret", "token"))
        assert "@" not in value.split("//")[-1].split("/")[0], f"{name} looks as if it held a credential"


def test_graph_of_approve() -> None:
    pipeline = spec(ROOT / "compiled" / "approve.yaml")
    inner = pipeline["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert {name: set(task.get("dependentTasks", [])) for name, task in inner.items()} == {"approve": set()}
    assert set(pipeline["root"]["dag"]["tasks"]) == {"exit-handler-1", "notify"}
    assert set(pipeline["root"]["inputDefinitions"]["parameters"]) == set(APPROVE_PARAMETERS)


@pytest.mark.parametrize("path", TRAINING, ids=lambda path: path.stem)
def test_graph(path: Path) -> None:
    pipeline = spec(path)
    expected = dict(DEPENDENCIES)
    if path.stem == "continuous_training":
        del expected["prepare"]
        expected = {
            name: {"validate" if item == "prepare" else item for item in needs} for name, needs in expected.items()
        }
    inner = pipeline["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert {name: set(task.get("dependentTasks", [])) for name, task in inner.items()} == expected
    assert inner["condition-2"]["triggerPolicy"] == {
        "condition": "inputs.parameter_values['pipelinechannel--gate-Output'] == 'promote'"
    }
    assert set(pipeline["components"]["comp-condition-2"]["dag"]["tasks"]) == {"deploy"}
    assert set(pipeline["root"]["dag"]["tasks"]) == {"exit-handler-1", "notify"}
    assert pipeline["root"]["dag"]["tasks"]["notify"]["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_image_caching_and_resources_of_every_step(path: Path) -> None:
    pipeline = spec(path)
    found = {}
    for name, task in tasks(pipeline).items():
        component = pipeline["components"][task["componentRef"]["name"]]
        if "executorLabel" not in component:
            continue
        container = pipeline["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        resources = container["resources"]
        found[name] = (
            container["image"],
            task["cachingOptions"].get("enableCache", False),
            (resources["cpuRequest"], resources["memoryRequest"], resources["memoryLimit"]),
        )
    assert found == {name: TASKS[name] for name in found}
    without = {"continuous_training": {"prepare", "approve"}, "flights": {"approve"}}
    assert set(found) == ({"approve", "notify"} if path.stem == "approve" else set(TASKS) - without[path.stem])


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_only_constructs_whose_behaviour_on_a_server_is_recorded(path: Path) -> None:
    for name, task in tasks(spec(path)).items():
        assert set(task) <= KNOWN_TASK_KEYS, name
        assert set(task.get("triggerPolicy", {})) <= KNOWN_TRIGGERS, name
        for kind in ("parameters", "artifacts"):
            for value in task.get("inputs", {}).get(kind, {}).values():
                assert set(value) <= KNOWN_INPUTS, name
    _, platform = yaml.safe_load_all(path.read_text())
    executors = platform["platforms"].pop("kubernetes")["deploymentSpec"]["executors"]
    assert not platform["platforms"]
    for label, settings in executors.items():
        assert set(settings) <= KNOWN_POD_KEYS, label


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_only_steps_that_may_be_done_twice_are_tried_again(path: Path) -> None:
    found = tasks(spec(path))
    retried = {name: task["retryPolicy"]["maxRetryCount"] for name, task in found.items() if "retryPolicy" in task}
    assert retried == dict.fromkeys(RETRIED & set(found), 2)


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_few_parameters_each_with_a_description_and_a_default(path: Path) -> None:
    parameters = spec(path)["root"]["inputDefinitions"]["parameters"]
    assert len(parameters) <= 20
    for name, parameter in parameters.items():
        assert parameter.get("description"), name
        assert "defaultValue" in parameter, name


def test_nothing_cached_depends_on_the_artifact_of_a_step_that_always_runs() -> None:
    """`pin` writes a new artifact in every run: whoever took it as input would never be served from the cache."""
    uncached = {name for name, (_, cached, _) in TASKS.items() if not cached}
    for path in COMPILED:
        for name, task in tasks(spec(path)).items():
            taken = task.get("inputs", {}).get("artifacts", {}).values()
            producers = {item["taskOutputArtifact"]["producerTask"] for item in taken if "taskOutputArtifact" in item}
            assert name in uncached or name not in TASKS or not producers & uncached, name


def test_compiling_needs_nothing_of_what_the_steps_need() -> None:
    """The base install is KFP and small libraries; a heavy import in `pipelines/` shows only in a wheel's clean environment."""
    steps_need = [
        "apprise",
        "jinja2",
        "mlflow",
        "numpy",
        "obstore",
        "optuna",
        "pandas",
        "pandera",
        "polars",
        "pyarrow",
        "torch",
    ]
    code = f"""
import sys
sys.modules.update(dict.fromkeys({steps_need}))
import subprocess
import sys
from pathlib import Path
from kfp_ratchet.pipelines.compile import compiled
compiled([Path({str(CONFIGS[0])!r})])
"""
    subprocess.run([sys.executable, "-c", code], check=True)

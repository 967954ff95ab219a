"""What people see in Kubeflow: few parameters with a meaning each, nodes with a name, and numbers, curves and pages at the right steps."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_ratchet.pipelines.compile import continuous_training_yaml
from kfp_ratchet.pipelines.kubernetes_settings import STEPS, KubernetesSettings
from kfp_ratchet.pipelines.pipeline_text import PipelineText
from kfp_ratchet.pipelines.settings import TITLES

ROOT = Path(__file__).parent.parent.parent
COMPILED = sorted((ROOT / "compiled").glob("*.yaml"))
PAGE = (ROOT / "docs" / "kubeflow-ui.md").read_text()
SHOWN = {
    "validate": {"report": "system.HTML"},
    "tune": {"report": "system.HTML"},
    "train": {"metrics": "system.Metrics"},
    "evaluate": {"metrics": "system.Metrics", "curves": "system.ClassificationMetrics"},
    "gate": {"report": "system.HTML"},
    "notify": {"report": "system.HTML"},
}


def graphs(spec: Any) -> list[dict[str, Any]]:
    return [spec["root"]["dag"], *(each["dag"] for each in spec["components"].values() if "dag" in each)]


def listed(name: str) -> list[str]:
    """Names in the page's table of parameters."""
    section = PAGE.partition(f"## `{name}`\n")[2].partition("### Tasks")[0]
    return re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_parameters_are_few_and_each_says_what_it_means(path: Path) -> None:
    parameters = PipelineText.read(path).parameters
    assert 0 < len(parameters) <= 20
    assert [name for name, one in parameters.items() if not one.description.endswith(".")] == []
    assert all(one.has_default for one in parameters.values()), "the form starts without a field that must be filled in"
    assert path.read_text().isascii()


@pytest.mark.parametrize("name", ["continuous_training", "approve"])
def test_the_page_lists_the_form_as_it_is(name: str) -> None:
    document = next(yaml.safe_load_all((ROOT / "compiled" / f"{name}.yaml").read_text()))
    in_order = list(document["root"]["inputDefinitions"]["parameters"])
    assert listed(name) == in_order == sorted(in_order)
    assert f"> {document['pipelineInfo']['description']}\n" in PAGE


def test_every_step_has_a_title_that_begins_with_its_own_word_and_fits_a_node() -> None:
    assert set(TITLES) == set(STEPS)
    assert [step for step, title in TITLES.items() if title.split()[0] != step or len(title) > 24] == []


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_nodes_are_titled_and_tasks_keep_their_names(path: Path) -> None:
    spec = PipelineText.read(path).pipeline_spec
    found = {key: task["taskInfo"]["name"] for dag in graphs(spec) for key, task in dag["tasks"].items()}
    steps = {key: title for key, title in found.items() if key in STEPS}
    assert steps and steps == {key: TITLES[key] for key in steps}
    assert all(f"| {title} | `{key}` |" in PAGE for key, title in steps.items())


def test_titles_can_be_left_out_for_servers_that_lose_the_outputs_of_titled_tasks() -> None:
    text = continuous_training_yaml(recipe="{}", settings=KubernetesSettings(display_names=False))
    for dag in graphs(PipelineText.parse(text).pipeline_spec):
        for name, task in dag["tasks"].items():
            assert name not in STEPS or task["taskInfo"]["name"] == name


def test_numbers_curves_and_pages_are_where_they_belong() -> None:
    spec = PipelineText.read(ROOT / "compiled" / "flights.yaml").pipeline_spec
    found = {}
    for dag in graphs(spec):
        for name, task in dag["tasks"].items():
            definitions = spec["components"][task["componentRef"]["name"]].get("outputDefinitions", {})
            kinds = {
                key: each["artifactType"]["schemaTitle"]
                for key, each in definitions.get("artifacts", {}).items()
                if each["artifactType"]["schemaTitle"]
                in ("system.HTML", "system.Metrics", "system.ClassificationMetrics")
            }
            if kinds:
                found[name] = kinds
    assert found == SHOWN


def test_a_run_is_started_in_five_steps() -> None:
    steps = PAGE.partition("## Start a run in five steps\n")[2].partition("\n## ")[0]
    assert re.findall(r"^(\d)\. ", steps, flags=re.MULTILINE) == list("12345")

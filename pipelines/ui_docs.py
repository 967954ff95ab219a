"""`docs/kubeflow-ui.md`: what people see of our pipelines in Kubeflow, made from what is compiled."""

from collections.abc import Iterator, Mapping
from typing import Any

from kfp_ratchet.pipelines.compile import approve_yaml, continuous_training_yaml
from kfp_ratchet.pipelines.config_docs import table
from kfp_ratchet.pipelines.continuous_training import DEFAULTS
from kfp_ratchet.pipelines.pipeline_parameters import Parameter
from kfp_ratchet.pipelines.pipeline_text import PipelineText

_HEAD = """\
# In the Kubeflow UI

What someone sees who opens one of these pipelines in the UI of Kubeflow Pipelines, to hold against the screen. The tables are made from the
compiled pipelines, and a test keeps them so.

## Start a run in five steps

1. *Pipelines*: open the pipeline by its name in `pipelines.yaml`. The newest version is shown; its description names the commit that it was
   compiled from.
2. *Create run*. Give it a name that says model, time and reason, as `ratchet submit` does: `flights 2026-11-23 04:30 by hand`. Runs of a
   schedule are named by the server, after the schedule.
3. Choose the experiment. Leave *Pipeline root* and *Service account* as they are, unless your cluster has others for this team.
4. *Run parameters*: the fields are filled in with what `ratchet.yaml` and `pipelines.yaml` say. Change what this run is about, mostly
   `as_of`, `trials`, `seed` or `policy`, and nothing else. A field that is empty stays empty. None is for a password: everyone can read
   them.
5. *Start*. The graph fills in; open `notify and report` at the end for the verdict in words.

A server takes what the form gives it without looking at what it means: a wrong `policy` fails the first step that reads it. `ratchet
submit` checks types first.

Older servers: UIs of Kubeflow Pipelines 2.4 and before take an empty default for a missing one and let no run start
(kubeflow/pipelines#11515); use `ratchet submit` there. Servers of 2.5 and before do not find the outputs of tasks that have a name for
people (kubeflow/pipelines#11173); set `kubernetes.display_names: false` in `ratchet.yaml` for them.

## What to look for

- [ ] The description under the pipeline's name is the one below.
- [ ] The form has the parameters below, in this order, with your values in place of these defaults. Servers sort them by name: no pipeline
  can choose the order. The form shows name and type; the meaning stands in the pipeline's specification, and here.
- [ ] The graph has two nodes: one with the steps inside, to be opened, and `notify and report`, which runs however the rest ends.
- [ ] Inside, each node says what the tables of tasks say. The API, logs and `ratchet` go by the task's own name.
- [ ] The *Visualization* of a task shows what stands under "shown": numbers, a curve, a matrix, a page. Everything else is a file.
- [ ] Two runs side by side (*Compare runs*) show the numbers of `train` and `evaluate` in one table.
- [ ] `deploy champion` lies within `promote`, which is skipped unless the gate said promote. Skipped is no failure.
"""
_SHOWN = {
    "system.Metrics": "numbers",
    "system.ClassificationMetrics": "ROC curve and confusion matrix",
    "system.HTML": "page",
    "system.Markdown": "text",
}
"""What the UI draws of an artifact, by its type."""
_TYPES = {
    "STRING": "text",
    "NUMBER_INTEGER": "whole number",
    "NUMBER_DOUBLE": "number",
    "BOOLEAN": "true or false",
    "LIST": "list",
    "STRUCT": "mapping",
}


def page() -> str:
    """The page as Markdown."""
    training = PipelineText.parse(continuous_training_yaml(DEFAULTS, recipe="{}"))
    parts = [_HEAD]
    for name, pipeline in (("continuous_training", training), ("approve", PipelineText.parse(approve_yaml()))):
        parts += [
            f"## `{name}`\n",
            f"> {pipeline.description}\n",
            "### Parameters\n",
            table(("field", "type", "default", "meaning"), map(_parameter, pipeline.parameters.values())),
            "### Tasks\n",
            table(("node", "task", "shown", "files"), _tasks(pipeline.pipeline_spec)),
        ]
    return "\n".join(parts)


def _parameter(one: Parameter) -> tuple[str, str, str, str]:
    default = f"`{one.default}`" if one.default != "" else "(empty)"
    return f"`{one.name}`", _TYPES[one.type], default if one.has_default else "**required**", one.description


def _tasks(spec: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """A row for each task that runs something, in the order in which they can start."""
    components = spec["components"]
    for name, task in _in_order(spec["root"]["dag"]["tasks"], components):
        outputs = components[task["componentRef"]["name"]].get("outputDefinitions", {}).get("artifacts", {})
        kinds = {key: each["artifactType"]["schemaTitle"] for key, each in sorted(outputs.items())}
        shown = [f"{_SHOWN[kind]} (`{key}`)" for key, kind in kinds.items() if kind in _SHOWN]
        files = [f"`{key}`" for key, kind in kinds.items() if kind not in _SHOWN]
        yield task["taskInfo"]["name"], f"`{name}`", ", ".join(shown), ", ".join(files)


def _in_order(tasks: Mapping[str, Any], components: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    left = dict(sorted(tasks.items()))
    while left:
        name = next(key for key, task in left.items() if not set(task.get("dependentTasks", ())) & left.keys())
        task = left.pop(name)
        inner = components[task["componentRef"]["name"]].get("dag")
        if inner:
            yield from _in_order(inner["tasks"], components)
        else:
            yield name, task

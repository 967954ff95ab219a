"""`broken-graph`: references to what is not there. A server takes such a pipeline on upload, and answers 500 when a run is started."""

import re
from collections.abc import Iterator
from typing import Any

from kfp_ratchet.pipelines.lint.finding import Finding
from kfp_ratchet.pipelines.lint.pipeline import Graph, Pipeline

RULE = "broken-graph"
_REMEDY = "compile the pipeline again; compiled YAML is not edited by hand"
_IN_CONDITION = re.compile(r"inputs\.parameter_values\['([^']+)'\]")


def broken_references(pipeline: Pipeline) -> Iterator[Finding]:
    """A finding for each reference to a task, output, input, component or executor that does not exist."""
    for graph in pipeline.graphs():
        for name, task in sorted(graph.component.dag.tasks.items()):
            for problem in _problems(pipeline, graph, task):
                yield Finding(RULE, "/".join((*graph.path, name)), problem, _REMEDY)


def _problems(pipeline: Pipeline, graph: Graph, task: Any) -> Iterator[str]:
    name = task.component_ref.name
    component = pipeline.component(task)
    if component is None:
        yield f"its component {name!r} does not exist"
    elif not component.HasField("dag"):
        if not component.executor_label:
            yield f"its component {name!r} has no executor"
        elif component.executor_label not in pipeline.executors:
            yield f"its executor {component.executor_label!r} does not exist"
    elif graph.is_within(name):
        yield f"its component {name!r} holds itself"
    siblings = graph.component.dag.tasks
    for other in task.dependent_tasks:
        if other not in siblings:
            yield f"it depends on the task {other!r}, which does not exist"
    for field, kind in (("parameters", "parameter"), ("artifacts", "artifact")):
        for key, given in sorted(getattr(task.inputs, field).items()):
            source = given.WhichOneof("kind")
            if source == f"task_output_{kind}":
                made = getattr(given, source)
                output = getattr(made, f"output_{kind}_key")
                yield from _missing_output(pipeline, siblings, made.producer_task, output, field, f"its {kind} `{key}`")
            elif source == f"component_input_{kind}":
                outer = getattr(given, source)
                if outer not in getattr(graph.component.input_definitions, field):
                    yield f"its {kind} `{key}` comes from the input {outer!r} of the pipeline around it, which has none of that name"
    for key in _IN_CONDITION.findall(task.trigger_policy.condition):
        if key not in task.inputs.parameters:
            yield f"its condition asks for the parameter {key!r}, which it does not have"


def _missing_output(
    pipeline: Pipeline, siblings: Any, producer: str, output: str, field: str, what: str
) -> Iterator[str]:
    if producer not in siblings:
        yield f"{what} comes from the task {producer!r}, which does not exist"
        return
    component = pipeline.component(siblings[producer])
    if component is not None and output not in getattr(component.output_definitions, field):
        yield f"{what} is the output {output!r} of the task {producer!r}, which has none of that name"

"""`broken-graph`: references to what is not there. A server takes such a pipeline on upload, and answers 500 when a run is started."""

import re
from collections.abc import Iterator
from typing import Any

from kfp_ratchet.pipelines.lint.finding import Finding
from kfp_ratchet.pipelines.lint.pipeline import Graph, Pipeline

RULE = "broken-graph"
_REMEDY = "compile the pipeline again; compiled YAML is not edited by hand"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_IN_CONDITION = re.compile(r"inputs\.parameter_values\['([^']+)'\]")


def broken_references(pipeline: Pipeline) -> Iterator[Finding]:
    """A finding for each reference to a task, output, input, component or executor that does not exist, and for what no server runs."""
    name = pipeline.spec.pipeline_info.name
    if not _NAME.fullmatch(name):
        yield Finding(
            RULE,
            "pipeline",
            f"its name {name!r} is not made of lower case letters, digits and dashes alone",
            "give it another name",
        )
    yield from _unknown_settings(pipeline)
    for graph in pipeline.graphs():
        for name, task in sorted(graph.component.dag.tasks.items()):
            for problem in _problems(pipeline, graph, task):
                yield Finding(RULE, "/".join((*graph.path, name)), problem, _REMEDY)
        if waiting := _never_started(graph.component.dag.tasks):
            yield Finding(
                RULE,
                "/".join((*graph.path, waiting[0])),
                f"it waits for itself, by way of {', '.join(waiting)}",
                _REMEDY,
            )


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


def _unknown_settings(pipeline: Pipeline) -> Iterator[Finding]:
    """Settings of pods that a server does not know, or for steps that are not there."""
    if not pipeline.platform:
        return
    from google.protobuf import json_format
    from kfp.kubernetes import kubernetes_executor_config_pb2
    from kfp.pipeline_spec import pipeline_spec_pb2

    try:
        platform = json_format.ParseDict(pipeline.platform, pipeline_spec_pb2.PlatformSpec()).platforms["kubernetes"]
    except json_format.ParseError as error:
        yield Finding(RULE, "pipeline", f"its platform spec is none: {error}", _REMEDY)
        return
    users = {task.component.executor_label: task.name for task in reversed(list(pipeline.tasks()))}
    for label, settings in sorted(json_format.MessageToDict(platform.deployment_spec).get("executors", {}).items()):
        if label not in pipeline.executors:
            yield Finding(
                RULE, "pipeline", f"there are settings for the pods of {label!r}, which does not exist", _REMEDY
            )
        try:
            json_format.ParseDict(settings, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
        except json_format.ParseError as error:
            said = str(error).partition("\n")[0]
            yield Finding(
                RULE, users.get(label, "pipeline"), f"the settings of its pod are unknown to a server: {said}", _REMEDY
            )


def _never_started(tasks: Any) -> list[str]:
    """Tasks of a graph that wait for one another, or for one that does; empty when there is an order."""
    waits = {name: {other for other in _before(task) if other in tasks} for name, task in tasks.items()}
    while ready := [name for name, others in waits.items() if not others & waits.keys()]:
        for name in ready:
            del waits[name]
    return sorted(waits)


def _before(task: Any) -> Iterator[str]:
    yield from task.dependent_tasks
    for given in task.inputs.parameters.values():
        yield given.task_output_parameter.producer_task
    for given in task.inputs.artifacts.values():
        yield given.task_output_artifact.producer_task


def _missing_output(
    pipeline: Pipeline, siblings: Any, producer: str, output: str, field: str, what: str
) -> Iterator[str]:
    if producer not in siblings:
        yield f"{what} comes from the task {producer!r}, which does not exist"
        return
    component = pipeline.component(siblings[producer])
    if component is not None and output not in getattr(component.output_definitions, field):
        yield f"{what} is the output {output!r} of the task {producer!r}, which has none of that name"

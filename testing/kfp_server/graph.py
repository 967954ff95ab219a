"""What the server checks when a run or a schedule is created: parameters (400), and whether the graph can be built (500)."""

from collections.abc import Mapping
from typing import Any

from kfp_ratchet.testing.kfp_server.answers import INTERNAL, INVALID, UNKNOWN, Json, Refusal, internal, refusal

ANYTHING = "ANY"


def pipeline_of(spec: Json) -> Json:
    """The PipelineSpec, with or without a platform spec around it."""
    return inside(spec, "pipeline_spec") or spec


def inside(value: Any, *names: str) -> Json:
    """A mapping deep in a spec; {} where there is none: a shape may pass with null or an empty list in its place."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def check_parameters(spec: Json, given: Mapping[str, Any], doing: str) -> None:
    """Whether a pipeline takes these parameters.

    Args:
        spec: What is to run.
        given: Values by name. A float for an integer passes, as on a real server.
        doing: First words of the error message.

    Raises:
        Refusal: 400 for a missing or unknown parameter, or one of another type.
    """
    inputs = inside(pipeline_of(spec), "root", "inputDefinitions", "parameters")

    def invalid(detail: str) -> Refusal:
        return refusal(INVALID, f"{doing}: invalid pipeline job inputs: Invalid input error: {detail}", detail)

    for name in inputs:
        declared = inside(inputs, name)
        if name in given:
            if not _fits(given[name], declared.get("parameterType", ANYTHING)):
                raise invalid(f"input parameter {name} requires {_wanted(declared.get('parameterType', ANYTHING))}")
        elif not declared.get("isOptional") and "defaultValue" not in declared:
            raise invalid(f"parameter {name} is not optional, yet has neither default value nor user provided value")
    if unknown := sorted(set(given) - set(inputs)):
        raise invalid(f"parameter(s) provided are not required by pipeline: {', '.join(unknown)}")


def _fits(value: Any, kind: str) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    expected = {
        "STRING": isinstance(value, str),
        "NUMBER_INTEGER": number,
        "NUMBER_DOUBLE": number,
        "BOOLEAN": isinstance(value, bool),
        "LIST": isinstance(value, list),
        "STRUCT": isinstance(value, dict),
    }
    return expected.get(kind, True)


def _wanted(kind: str) -> str:
    if kind == "STRING":
        return "type string, but the input parameter is not of string value type"
    if kind.startswith("NUMBER"):
        return "type double or integer, but the parameter value is not of number value type"
    return f"type {kind.lower()}, but the parameter value is not of {kind.lower()} value type"


def check_graph(spec: Json) -> None:
    """Whether the workflow can be built: every component, executor, dependency and Kubernetes field is there.

    Raises:
        Refusal: 500, which is what the real server answers.
    """
    pipeline = pipeline_of(spec)
    components = inside(pipeline, "components")
    executors = inside(pipeline, "deploymentSpec", "executors")
    _check_dag("root", inside(pipeline, "root"), components)
    for name in components:
        component = inside(components, name)
        if "dag" in component:
            _check_dag(name, component, components)
        elif (label := component.get("executorLabel")) not in executors:
            raise _uncompiled(f'component name="{name}": executor(label="{label}") not found in deployment config')
    platform = inside(spec, "platform_spec", "platforms", "kubernetes", "deploymentSpec", "executors")
    for label, config in platform.items():
        _check_platform(label, config)


def _check_dag(name: str, component: Json, components: Json) -> None:
    tasks = inside(component, "dag", "tasks")
    for each in tasks:
        task = inside(tasks, each)
        wanted = inside(task, "componentRef").get("name")
        if wanted not in components:
            raise _uncompiled(f'component name="{name}": cannot find component ref name="{wanted}"')
        for before in task.get("dependentTasks") or []:
            if before not in tasks:
                raise internal(
                    "Failed to create a new run: InternalServerError: Failed to validate workflow for (): "
                    f"templates.entrypoint.tasks.root templates.root sorting failed: invalid dependency {before}"
                )


def _check_platform(label: str, config: Json) -> None:
    from google.protobuf import json_format
    from kfp.kubernetes import kubernetes_executor_config_pb2

    try:
        json_format.ParseDict(config, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
    except json_format.ParseError as error:
        raise _uncompiled(f'component name="{label}": failed to add Kubernetes spec: {error}') from None


def _uncompiled(problem: str) -> Refusal:
    """A 500 whose details repeat the message, which is how the compiler's errors come."""
    text = f"Internal error: error processing {problem}\nFailed to compile job"
    return refusal(INTERNAL, text, text, UNKNOWN)

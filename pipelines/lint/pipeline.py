"""A compiled pipeline as the rules look at it: every task that runs something, and where each of its inputs comes from.

Nested pipelines, loops, branches and exit handlers are components with a graph of their own. A rule wants to know what a step reads,
however deep it lies: so tasks are listed through all of them, and inputs are followed up to what gave them.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.pipeline_text import PipelineText

# The generated classes have no types: `Any` stands for a message of `pipeline_spec.proto`, named in the comment or docstring beside it.
_PLACEHOLDER = re.compile(r"inputs\.parameters\['([^']+)'\]")


@dataclass(frozen=True)
class Graph:
    """One use of a component that holds tasks (`dag`)."""

    path: tuple[str, ...]
    component: Any
    """ComponentSpec."""
    task: Any = None
    """PipelineTaskSpec that uses it; None for the pipeline itself."""
    parent: "Graph | None" = None

    def is_within(self, component: str) -> bool:
        """Whether this is a use of a component, or lies in one: nothing may hold itself."""
        return self.parent is not None and (
            self.task.component_ref.name == component or self.parent.is_within(component)
        )


@dataclass(frozen=True)
class Task:
    """One use of a component that runs something."""

    path: tuple[str, ...]
    graph: Graph
    spec: Any
    """PipelineTaskSpec."""
    component: Any
    """ComponentSpec."""
    executor: Any
    """ExecutorSpec: a container, or an importer."""

    @property
    def name(self) -> str:
        """Path for messages."""
        return "/".join(self.path)

    @property
    def is_importer(self) -> bool:
        """Whether it only gives a URI the form of an artifact."""
        return bool(self.executor.HasField("importer"))

    @property
    def cached(self) -> bool:
        """Whether a server may serve it from an earlier run."""
        if self.is_importer:
            return not self.executor.importer.reimport
        return bool(self.spec.caching_options.enable_cache)

    @property
    def handles_exit(self) -> bool:
        """Whether it runs at the end, however the rest went."""
        used = self.graph.component.dag.tasks
        return bool(self.spec.trigger_policy.strategy) and any(
            name in used and used[name].component_ref.name.startswith("comp-exit-handler")
            for name in self.spec.dependent_tasks
        )


@dataclass(frozen=True)
class Origin:
    """Where a value comes from: a constant, a pipeline parameter, or an output of a task."""

    value: Any = None
    """The constant, or the parameter's default; None when there is none."""
    parameter: str = ""
    task: Task | None = None
    output: str = ""

    @property
    def text(self) -> str:
        """The value when it is a text or holds some, else ""."""
        return self.value if isinstance(self.value, str) else json.dumps(self.value) if self._nested else ""

    @property
    def texts(self) -> list[str]:
        """All texts in the value: of a JSON object or list those inside."""
        value = self.value
        if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
            try:
                value = json.loads(value)
            except ValueError:
                return [value]
        return [text for text in _leaves(value) if text.strip()]

    @property
    def _nested(self) -> bool:
        return isinstance(self.value, dict | list)


@dataclass(frozen=True)
class Input:
    """A parameter that a task takes, followed up to what gave it."""

    name: str
    is_text: bool
    """Not a number or a boolean."""
    origins: tuple[Origin, ...]

    @property
    def is_part(self) -> bool:
        """Whether KFP added it for the sake of a placeholder within another."""
        return self.name.startswith("pipelinechannel--")


@dataclass(frozen=True)
class Pipeline:
    """A compiled pipeline."""

    spec: Any
    """PipelineSpec."""
    executors: Any
    """Map of ExecutorSpec."""

    platform: Mapping[str, Any]
    """What Kubernetes is asked for, as JSON; empty without."""

    @classmethod
    def parse(cls, text: str, file: str) -> Self:
        """Read compiled YAML (or JSON).

        Raises:
            InputError: It is no pipeline that a server takes whole.
        """
        from google.protobuf import json_format
        from kfp.pipeline_spec import pipeline_spec_pb2

        read = PipelineText.parse(text, file)
        try:
            spec = json_format.ParseDict(read.pipeline_spec, pipeline_spec_pb2.PipelineSpec())
            deployment = json_format.ParseDict(
                json_format.MessageToDict(spec.deployment_spec), pipeline_spec_pb2.PipelineDeploymentConfig()
            )
        except (json_format.ParseError, RecursionError, ValueError) as error:
            raise InputError(
                f"{file} is no compiled pipeline: {error}", "give the YAML that KFP 2 compiles a pipeline to"
            ) from None
        return cls(spec, deployment.executors, read.platform_spec)

    @property
    def root(self) -> Graph:
        """The pipeline's own graph."""
        return Graph((), self.spec.root)

    def graphs(self, graph: Graph | None = None) -> Iterator[Graph]:
        """The pipeline's graph and all within it, each as often as it is used."""
        here = graph or self.root
        yield here
        for name in sorted(here.component.dag.tasks):
            if inner := self._inner(here, name):
                yield from self.graphs(inner)

    def tasks(self) -> Iterator[Task]:
        """Every task that runs something, as often as it is used."""
        for graph in self.graphs():
            for name in sorted(graph.component.dag.tasks):
                if task := self._task(graph, name):
                    yield task

    def component(self, task: Any) -> Any:
        """ComponentSpec of a PipelineTaskSpec, None when there is none of that name."""
        return self.spec.components.get(task.component_ref.name)

    def inputs(self, task: Task) -> list[Input]:
        """What a task takes as parameters: what it is given, and the defaults of what it is not."""
        declared = task.component.input_definitions.parameters
        names = sorted({*declared, *task.spec.inputs.parameters})
        return [
            Input(
                name,
                name not in declared or declared[name].parameter_type not in _numeric(),
                tuple(self._parameter(task.graph, task.spec, task.component, name, frozenset())),
            )
            for name in names
        ]

    def artifacts(self, task: Task) -> dict[str, list[Task]]:
        """By name of an input artifact, the tasks that may have made it."""
        return {name: list(self._artifact(task.graph, task.spec, name)) for name in sorted(task.spec.inputs.artifacts)}

    def origins(self, graph: Graph, task: Any, component: Any, name: str) -> list[Origin]:
        """Where an input parameter of a task comes from.

        Args:
            graph: That holds the task.
            task: PipelineTaskSpec.
            component: Its ComponentSpec.
            name: Of the parameter.
        """
        return list(self._parameter(graph, task, component, name, frozenset()))

    def _inner(self, graph: Graph, name: str) -> Graph | None:
        task = graph.component.dag.tasks[name]
        component = self.component(task)
        if component is None or not component.HasField("dag") or graph.is_within(task.component_ref.name):
            return None
        return Graph((*graph.path, name), component, task, graph)

    def _task(self, graph: Graph, name: str) -> Task | None:
        spec = graph.component.dag.tasks[name]
        component = self.component(spec)
        if component is None or component.executor_label not in self.executors:
            return None
        return Task((*graph.path, name), graph, spec, component, self.executors[component.executor_label])

    def _parameter(self, graph: Graph, task: Any, component: Any, name: str, seen: frozenset[str]) -> Iterator[Origin]:
        """Origins of an input parameter of a task in `graph`."""
        if name in seen:
            return
        given = task.inputs.parameters
        if name not in given:
            if task.parameter_iterator.item_input == name:
                items = task.parameter_iterator.items
                if items.raw:
                    yield Origin(items.raw)
                else:
                    yield from self._parameter(graph, task, component, items.input_parameter, seen | {name})
            elif name in component.input_definitions.parameters:
                yield Origin(_default(component.input_definitions.parameters[name]))
            return
        match given[name].WhichOneof("kind"):
            case "task_output_parameter":
                made = given[name].task_output_parameter
                yield from self._output(graph, made.producer_task, made.output_parameter_key)
            case "component_input_parameter":
                outer = given[name].component_input_parameter
                if graph.parent:
                    yield from self._parameter(graph.parent, graph.task, graph.component, outer, frozenset())
                elif outer in graph.component.input_definitions.parameters:
                    yield Origin(_default(graph.component.input_definitions.parameters[outer]), parameter=outer)
            case "runtime_value":
                value = _plain(given[name].runtime_value.constant)
                yield Origin(value)
                for within in _PLACEHOLDER.findall(value) if isinstance(value, str) else ():
                    yield from self._parameter(graph, task, component, within, seen | {name})

    def _output(self, graph: Graph, name: str, key: str) -> Iterator[Origin]:
        if name not in graph.component.dag.tasks:
            return
        if task := self._task(graph, name):
            yield Origin(task=task, output=key)
        elif inner := self._inner(graph, name):
            outputs = inner.component.dag.outputs.parameters
            if key in outputs:
                one = outputs[key].value_from_parameter
                for selector in [
                    *outputs[key].value_from_oneof.parameter_selectors,
                    *([one] if one.producer_subtask else []),
                ]:
                    yield from self._output(inner, selector.producer_subtask, selector.output_parameter_key)

    def _artifact(self, graph: Graph, task: Any, name: str) -> Iterator[Task]:
        given = task.inputs.artifacts
        if name not in given:
            if task.artifact_iterator.item_input == name and task.artifact_iterator.items.input_artifact != name:
                yield from self._artifact(graph, task, task.artifact_iterator.items.input_artifact)
        elif given[name].WhichOneof("kind") == "task_output_artifact":
            made = given[name].task_output_artifact
            yield from self._made(graph, made.producer_task, made.output_artifact_key)
        elif graph.parent:
            yield from self._artifact(graph.parent, graph.task, given[name].component_input_artifact)

    def _made(self, graph: Graph, name: str, key: str) -> Iterator[Task]:
        if name not in graph.component.dag.tasks:
            return
        if task := self._task(graph, name):
            yield task
        elif inner := self._inner(graph, name):
            outputs = inner.component.dag.outputs.artifacts
            for selector in outputs[key].artifact_selectors if key in outputs else ():
                yield from self._made(inner, selector.producer_subtask, selector.output_artifact_key)


def _numeric() -> set[int]:
    from kfp.pipeline_spec import pipeline_spec_pb2

    kinds = pipeline_spec_pb2.ParameterType
    return {kinds.NUMBER_DOUBLE, kinds.NUMBER_INTEGER, kinds.BOOLEAN, kinds.TASK_FINAL_STATUS}


def _default(definition: Any) -> Any:
    return _plain(definition.default_value) if definition.HasField("default_value") else None


def _plain(value: Any) -> Any:
    from google.protobuf import json_format

    return json_format.MessageToDict(value)


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _leaves(inner)

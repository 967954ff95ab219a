"""What changed between two compiled pipelines, in the words of whoever wrote them: parameters, steps, images, settings of pods."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from kfp_ratchet.components.shared.names import shortened
from kfp_ratchet.pipelines.pipeline_text import parameters_of

_LONGEST = 60


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing that differs, parameters first; empty when only order, comments or style do.

    Args:
        before: A PipelineSpec, or an object of `pipeline_spec` and `platform_spec`, as a server or `PipelineText.spec` has it.
        after: The other.
    """
    old, new = before.get("pipeline_spec", before), after.get("pipeline_spec", after)
    found = [
        *_parameters(before, after),
        *_tasks(old, new),
        *_step_changes(_steps(old), _steps(new)),
        *_pod_changes(_pods(before), _pods(after)),
        *_info(old, new),
    ]
    return found or (["something differs that has no name here"] if dict(before) != dict(after) else [])


def _parameters(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    old, new = parameters_of(before), parameters_of(after)
    for name in sorted({*old, *new}):
        if name not in new:
            yield f"parameter {name} is gone"
        elif name not in old:
            yield f"parameter {name} is new"
        elif old[name].type != new[name].type:
            yield f"parameter {name}: type {old[name].type} is now {new[name].type}"
        elif old[name].default != new[name].default:
            yield f"parameter {name}: default {_shown(old[name].default)} is now {_shown(new[name].default)}"
        elif old[name] != new[name]:
            yield f"parameter {name}: description or values differ"


def _tasks(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Of the graph and the graphs within it: what runs, after what, and on which condition."""
    graphs_old, graphs_new = _graphs(old), _graphs(new)
    for graph in sorted({*graphs_old, *graphs_new}):
        before, after = graphs_old.get(graph, {}), graphs_new.get(graph, {})
        within = "" if graph == "root" else f" in {graph.removeprefix('comp-')}"
        for name in sorted({*before, *after}):
            if name not in after:
                yield f"task {name}{within} is gone"
            elif name not in before:
                yield f"task {name}{within} is new"
            elif before[name] != after[name]:
                differ = [
                    key
                    for key in sorted({*before[name], *after[name]})
                    if before[name].get(key) != after[name].get(key)
                ]
                yield f"task {name}{within}: {', '.join(differ)} differ{'s' if len(differ) == 1 else ''}"


def _graphs(spec: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    named = {"root": spec.get("root", {}), **spec.get("components", {})}
    return {name: each.get("dag", {}).get("tasks", {}) for name, each in named.items() if "dag" in each}


def _steps(spec: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    executors = (spec.get("deploymentSpec") or {}).get("executors", {})
    return {
        name.removeprefix("comp-"): {**component, "executor": executors.get(component["executorLabel"], {})}
        for name, component in spec.get("components", {}).items()
        if "executorLabel" in component
    }


def _step_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*old, *new}):
        if name not in new:
            yield f"step {name} is gone"
        elif name not in old:
            yield f"step {name} is new"
        elif old[name] != new[name]:
            yield f"step {name}: {_step(old[name], new[name])}"


def _step(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if _interface(before) != _interface(after):
        return "inputs or outputs differ"
    old, new = (each["executor"].get("container", {}) for each in (before, after))
    if old.get("image") != new.get("image"):
        return f"image {old.get('image')} is now {new.get('image')}"
    for key, said in (("command", "code differs"), ("args", "arguments differ"), ("resources", "resources differ")):
        if old.get(key) != new.get(key):
            return said
    return "differs"


def _interface(component: Mapping[str, Any]) -> tuple[Any, Any]:
    return component.get("inputDefinitions"), component.get("outputDefinitions")


def _pods(spec: Mapping[str, Any]) -> dict[str, Any]:
    kubernetes = spec.get("platform_spec", {}).get("platforms", {}).get("kubernetes", {})
    executors = kubernetes.get("deploymentSpec", {}).get("executors", {})
    return {name.removeprefix("exec-"): each for name, each in executors.items()}


def _pod_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield f"step {name}: settings of its pods differ"


def _info(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for what, before, after in (
        ("compiler", old.get("sdkVersion"), new.get("sdkVersion")),
        *(
            (key, old.get("pipelineInfo", {}).get(key), new.get("pipelineInfo", {}).get(key))
            for key in ("name", "description", "displayName")
        ),
    ):
        if before != after:
            yield f"{what} {_shown(before)} is now {_shown(after)}"


def _shown(value: Any) -> str:
    return shortened(json.dumps(value), _LONGEST)

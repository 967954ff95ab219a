"""`unpinned-read`: a cached task that reads from outside must take the id of what it reads.

A server's cache key holds parameters and the names of artifacts, never the bytes behind a URI: what changes there under the same URI is not
seen, and last month's result is served.
"""

from collections.abc import Iterator

from kfp_ratchet.pipelines.lint.finding import Finding
from kfp_ratchet.pipelines.lint.pipeline import Input, Origin, Pipeline, Task
from kfp_ratchet.pipelines.lint.words import (
    is_address,
    is_id,
    may_identify,
    moving,
    names_id,
    names_sink,
    names_source,
    words,
)

RULE = "unpinned-read"
_REMEDY = "give it the id of what it reads (a revision, digest or version) from a step that is never cached, or turn its caching off"


def unpinned_reads(pipeline: Pipeline) -> Iterator[Finding]:
    """A finding for each cached task that reads from outside without an id."""
    for task in pipeline.tasks():
        if task.cached and not task.is_importer:
            inputs = pipeline.inputs(task)
            read = _read(inputs, task) or _imported(pipeline, task)
            if read and not is_pinned(pipeline, task, inputs):
                yield Finding(
                    RULE,
                    task.name,
                    f"it is cached and reads {read}, and nothing in its key changes with what lies there",
                    _REMEDY,
                )


def is_pinned(pipeline: Pipeline, task: Task, inputs: list[Input]) -> bool:
    """Whether a task takes an id: by name or value, or something that a step found out in the same run."""
    made = [maker for makers in pipeline.artifacts(task).values() for maker in makers]
    return any(_identifies(item) for item in inputs) or any(not maker.cached for maker in made)


def _identifies(item: Input) -> bool:
    return bool(item.origins) and all(_is_id(item.name, origin) for origin in item.origins)


def _is_id(name: str, origin: Origin) -> bool:
    if origin.task is not None:
        return not origin.task.cached and may_identify(name) and may_identify(origin.output)
    if any(moving(text) for text in origin.texts):
        return False
    if origin.texts and all(is_id(text) for text in origin.texts):
        return True
    # A parameter without a default is given by whoever starts the run; an empty constant says nothing.
    return (names_id(name) or names_id(origin.parameter)) and (bool(origin.parameter) or origin.value not in (None, ""))


def _read(inputs: list[Input], task: Task) -> str:
    """What the task reads by its parameters or its command, in words; "" for nothing."""
    for item in inputs:
        if (
            item.is_text
            and not names_sink(item.name)
            and any(_is_read(item.name, origin) for origin in item.origins)
            and not _is_fresh(item)
        ):
            return f"`{item.name}`{_shown(item)}"
    if registry := _registry(inputs):
        return f"a model of the registry `{registry}`"
    arguments = [*task.executor.container.command, *task.executor.container.args]
    named = any("://" in text and is_address(text) and not is_id(text) for text in arguments)
    return "a URI in its command" if named else ""


def _is_read(name: str, origin: Origin) -> bool:
    if origin.task is not None or (origin.texts and all(is_id(text) for text in origin.texts)):
        return False
    if any(is_address(text) for text in origin.texts) and not names_sink(origin.parameter):
        return True
    named = names_source(name) or names_source(origin.parameter)
    return named and (bool(origin.texts) or bool(origin.parameter))


def _is_fresh(item: Input) -> bool:
    """Whether an address has a part that a step found out in the same run."""
    return any(origin.task is not None and not origin.task.cached for origin in item.origins)


def _registry(inputs: list[Input]) -> str:
    """Name of the parameter with a registry's address, when a model is named too: what the name stands for there changes."""
    named = {item.name: words(item.name) for item in inputs if any(o.texts or o.parameter for o in item.origins)}
    registries = [
        name
        for name, said in named.items()
        if said[:1] in (["tracking"], ["registry"]) and said[-1:] in (["uri"], ["url"])
    ]
    models = [name for name, said in named.items() if "model" in said and said[-1] in ("model", "name")]
    return registries[0] if registries and models else ""


def _imported(pipeline: Pipeline, task: Task) -> str:
    for name, makers in pipeline.artifacts(task).items():
        for maker in makers:
            if maker.is_importer and maker.cached and not _is_pinned_import(pipeline, maker):
                return f"the artifact `{name}` of the importer {maker.name!r}, which takes it by its URI"
    return ""


def _is_pinned_import(pipeline: Pipeline, importer: Task) -> bool:
    """Whether the imported URI holds an id itself, or comes from a step that looked it up in the same run."""
    origins = [origin for item in pipeline.inputs(importer) if item.name == "uri" for origin in item.origins]
    texts = [text for origin in origins for text in origin.texts]
    return any(o.task is not None and not o.task.cached for o in origins) or (bool(texts) and all(map(is_id, texts)))


def _shown(item: Input) -> str:
    """Where the value comes from. Never the value: it may hold a secret."""
    given = next((origin.parameter for origin in item.origins if origin.parameter), "")
    return f" (the pipeline parameter `{given}`)" if given and given != item.name else ""

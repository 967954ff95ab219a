"""`credential`: what stands in a compiled pipeline can be read by everyone who sees a run, for ever."""

from collections.abc import Iterator

from kfp_ratchet.components.shared.credentials import names_secret, secret_in
from kfp_ratchet.pipelines.lint.finding import Finding
from kfp_ratchet.pipelines.lint.pipeline import Pipeline
from kfp_ratchet.pipelines.pipeline_parameters import READABLE_BY_ALL

RULE = "credential"


def credentials(pipeline: Pipeline) -> Iterator[Finding]:
    """A finding for each default, constant, environment variable or command that holds what looks like a secret. None repeats it."""
    for task, place, name, text in _texts(pipeline):
        if found := secret_in(text) or (names_secret(name) and "{{" not in text and "a secret, by its name"):
            yield Finding(RULE, task, f"{place} holds {found}", READABLE_BY_ALL)


def _texts(pipeline: Pipeline) -> Iterator[tuple[str, str, str, str]]:
    """Task, place, name and text of everything that was written down when the pipeline was compiled. The name is "" where none counts."""
    seen: set[str] = set()
    for task in pipeline.tasks():
        for item in pipeline.inputs(task):
            for origin in item.origins:
                if not (item.is_text and origin.text):
                    continue
                if not origin.parameter:
                    yield task.name, f"the constant of `{item.name}`", item.name, origin.text
                elif origin.parameter not in seen:
                    seen.add(origin.parameter)
                    yield "pipeline", f"the default of `{origin.parameter}`", origin.parameter, origin.text
        container = task.executor.container
        for variable in container.env:
            if variable.value:
                yield task.name, f"the environment variable {variable.name}", variable.name, variable.value
        for part in [*container.command, *container.args]:
            yield task.name, "its command", "", part
    for name, definition in sorted(pipeline.spec.root.input_definitions.parameters.items()):
        if name not in seen and definition.default_value.string_value:
            yield "pipeline", f"the default of `{name}`", name, definition.default_value.string_value

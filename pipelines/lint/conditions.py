"""`fragile-condition`: conditions that a server reads in another way than they were meant, or that no number answers."""

import re
from collections.abc import Iterator
from typing import Any

from kfp_ratchet.pipelines.lint.finding import Finding
from kfp_ratchet.pipelines.lint.pipeline import Graph, Pipeline

RULE = "fragile-condition"
_VALUE = re.compile(r"inputs\.parameter_values\['([^']+)'\]")
_WORDS = re.compile(
    r"(?P<value>'[^'\\\n\r]*'|-?\d+(\.\d+)?([eE][-+]?\d+)?|true|false|@)|(int|double|string|bool)(?=\()|[!<>=]=|[<>!()]|&&|\|\||\s"
)
"""Words of a condition as KFP writes them. It does not escape literals: one with a quote or a backslash falls apart."""
_COMPARED = re.compile(r"==|!=|<=?|>=?")


def fragile_conditions(pipeline: Pipeline) -> Iterator[Finding]:
    """A finding for each literal that a condition cannot hold, and for each comparison with a float that a step makes."""
    for graph in pipeline.graphs():
        for name, task in sorted(graph.component.dag.tasks.items()):
            place = "/".join((*graph.path, name))
            condition = task.trigger_policy.condition
            if condition and not _is_sound(_VALUE.sub("@", condition)):
                yield Finding(
                    RULE,
                    place,
                    "its condition compares with a text that holds an apostrophe, a backslash or a line break, which a server pastes in "
                    "unescaped",
                    "compare with a plain word, which the step before gives out",
                )
            for key in _floats(pipeline, graph, task):
                yield Finding(
                    RULE,
                    place,
                    f"its condition compares the float {key!r} that a step makes: a NaN or an infinity fails that step, and no branch runs",
                    "let the step compare, and give out a word or a bool",
                )


def _is_sound(condition: str) -> bool:
    """Whether a condition is made of whole words, and no two values stand side by side."""
    position, after_value = 0, False
    while position < len(condition):
        word = _WORDS.match(condition, position)
        if word is None or (word["value"] and after_value):
            return False
        if word[0].strip():
            after_value = bool(word["value"])
        position = word.end()
    return True


def _floats(pipeline: Pipeline, graph: Graph, task: Any) -> Iterator[str]:
    from kfp.pipeline_spec import pipeline_spec_pb2

    component = pipeline.component(task)
    condition = task.trigger_policy.condition
    if component is None or not _COMPARED.search(condition):
        return
    declared = component.input_definitions.parameters
    for key in dict.fromkeys(_VALUE.findall(condition)):
        is_float = key in declared and declared[key].parameter_type == pipeline_spec_pb2.ParameterType.NUMBER_DOUBLE
        if is_float and any(origin.task for origin in pipeline.origins(graph, task, component, key)):
            yield key.removeprefix("pipelinechannel--")

"""`cached-effect`: a task that changes something outside the run must not be cached: served from the cache, it changes nothing."""

import ast
from collections.abc import Iterator

from kfp_ratchet.pipelines.lint.finding import Finding
from kfp_ratchet.pipelines.lint.pipeline import Pipeline, Task
from kfp_ratchet.pipelines.lint.words import is_address, words

RULE = "cached-effect"
_REMEDY = "turn its caching off: task.set_caching_options(False)"
_VERBS = frozenset({"promote", "deploy", "publish", "upload", "notify"})
_WITH_OBJECT = frozenset({"push", "register", "send", "delete"})
"""Names of functions in which these stand alone are often harmless: a generator's `send`, polars' `register`."""
_NAMES = (
    _VERBS
    | _WITH_OBJECT
    | {"deployer", "publisher", "uploader", "notifier", "pusher", "sender", "approve", "rollback", "release", "email"}
)
_OURS = frozenset({"pin", "register", "deploy", "approve", "notify"})
_PACKAGE = "kfp_ratchet.components."


def cached_effects(pipeline: Pipeline) -> Iterator[Finding]:
    """A finding for each cached task with an effect."""
    for task in pipeline.tasks():
        if task.cached and not task.is_importer and (effect := _effect(task)):
            yield Finding(RULE, task.name, f"it is cached, and {effect}", _REMEDY)


def _effect(task: Task) -> str:
    """Why a task is taken for one with an effect; "" when it is not."""
    if task.handles_exit:
        return "handles the pipeline's end: from the cache, nobody would be told"
    name = task.spec.component_ref.name.removeprefix("comp-")
    if named := _NAMES & {*words(name), *words(task.path[-1])}:
        return f"its name says {min(named)!r}"
    for part in [*task.executor.container.command, *task.executor.container.args]:
        if said := _in_code(part) if "\n" in part else _in_argument(part):
            return f"its command says {said!r}"
    return ""


def _in_argument(text: str) -> str:
    """An effect that an argument of a command names; parameters passed on are none of the command."""
    return "" if "{{" in text or is_address(text) else min(_NAMES & set(words(text)), default="")


def _in_code(source: str) -> str:
    """The first call in Python source that has an effect by its name, or the step of ours that is called."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError):
        return ""
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_PACKAGE):
            step = (node.module or "").removeprefix(_PACKAGE).split(".")[0]
            if step in _OURS:
                return step
        called = node.func if isinstance(node, ast.Call) else None
        name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
        first, *more = words(name) or [""]
        if first in _VERBS or (first in _WITH_OBJECT and more):
            return name
    return ""

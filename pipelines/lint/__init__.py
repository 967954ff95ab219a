"""Mistakes in a compiled pipeline that no run shows: stale caches, secrets, references that move or lead nowhere."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.names import suggestion
from kfp_ratchet.pipelines.lint import conditions, effects, graph, moving, reads, secrets
from kfp_ratchet.pipelines.lint.finding import Finding
from kfp_ratchet.pipelines.lint.pipeline import Pipeline

__all__ = ["RULES", "Finding", "lint"]

RULES: dict[str, Callable[[Pipeline], Iterator[Finding]]] = {
    reads.RULE: reads.unpinned_reads,
    effects.RULE: effects.cached_effects,
    moving.RULE: moving.moving_references,
    secrets.RULE: secrets.credentials,
    graph.RULE: graph.broken_references,
    conditions.RULE: conditions.fragile_conditions,
}
"""By short name."""


def lint(text: str, file: str, ignore: Iterable[str] = ()) -> list[Finding]:
    """Findings in a compiled pipeline, in the order of the rules.

    Args:
        text: YAML that KFP 2 compiled.
        file: Its name, for messages.
        ignore: Findings to leave out: `RULE`, or `RULE:TASK` with a task's name or path.

    Raises:
        InputError: It is no compiled pipeline, or there is no such rule.
    """
    accepted = [_accepted(one) for one in ignore]
    pipeline = Pipeline.parse(text, file)
    found = dict.fromkeys(replace(finding, file=file) for rule in RULES.values() for finding in rule(pipeline))
    return [
        finding
        for finding in found
        if not any(
            rule == finding.rule and task in ("", finding.task, finding.task.rpartition("/")[2])
            for rule, task in accepted
        )
    ]


def _accepted(text: str) -> tuple[str, str]:
    rule, _, task = text.partition(":")
    if rule not in RULES:
        raise InputError(f"there is no rule {rule!r}", suggestion(rule, RULES))
    return rule, task

"""For writers of workloads: the test suite that one runs on one's own class, like scikit-learn's `check_estimator`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from kfp_ratchet.components.shared.columns import Problem

if TYPE_CHECKING:
    from kfp_ratchet.components.train.workload import Workload

__all__ = ["check_workload"]


def check_workload(
    workload: "type[Workload]",
    problems: Sequence[Problem] = get_args(Problem),
    parameters: Mapping[str, Any] | None = None,
) -> list[str]:
    """Check that a class keeps the workload protocol, on small tables with numbers, categories, booleans, dates and nulls.

    Args:
        workload: The class.
        problems: Kinds of problem it supports.
        parameters: Hyperparameters for all fits, e.g. few epochs to be quick.

    Returns:
        The rules it keeps, as `problem: rule`.

    Raises:
        AssertionError: A rule is broken; the message names class, problem, rule, and what was seen.
    """
    from kfp_ratchet.testing.rules import RULES, RecordingContext, Subject, fit
    from kfp_ratchet.testing.tables import example

    kept = []
    for problem in problems:
        table, context, given = example(problem), RecordingContext(), dict(parameters or {})
        try:
            model = fit(workload, given, table, context)
        except Exception as error:
            raise AssertionError(f"{workload.__name__} cannot be fitted on a {problem} table: {error!r}") from error
        subject = Subject(workload, given, table, model, context)
        for rule in RULES:
            name = f"{problem}: {rule.__name__.replace('_', ' ')}"
            try:
                rule(subject)
            except AssertionError as error:
                raise AssertionError(f"{workload.__name__} breaks the rule '{name}': {error}") from error
            except Exception as error:
                raise AssertionError(f"{workload.__name__} fails the rule '{name}' with {error!r}") from error
            kept.append(name)
    return kept

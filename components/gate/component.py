"""Decide whether a candidate model may replace the champion."""

from kfp import dsl

from kfp_ratchet.components._image import SLIM
from kfp_ratchet.components.shared.step import step


@step(SLIM)
def gate(
    evidence: dsl.Input[dsl.Artifact],
    decision: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    policy: str = "{}",
    store: str = "",
) -> str:
    """Decide whether a candidate model may replace the champion.

    A pure function of its inputs: the same evidence and policy give the same decision, byte for byte.

    Args:
        evidence: Scores of candidate and champion on the same rows, from `evaluate`.
        decision: Every check with its observed value, interval, bound and outcome, and the reason in one sentence (JSON).
        report: The same, to look at.
        policy: Overrides of the default policy as JSON; see `Policy`. Unknown keys are errors.
        store: Folder or bucket of the run journal; empty keeps none.

    Returns:
        The verdict: "promote", "reject" or "inconclusive".
    """
    from kfp_ratchet.components.gate.files import decide_from_files

    return decide_from_files(evidence.path, evidence.uri, policy, store, decision.path, decision.uri, report.path)

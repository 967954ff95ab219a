"""From files to files: read evidence, decide, write the decision and its page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp_ratchet.components.gate.decision import decide, unverifiable
from kfp_ratchet.components.gate.policy import Policy
from kfp_ratchet.components.gate.report import render
from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.evidence import Evidence
from kfp_ratchet.components.shared.journal import journal


def decide_from_files(
    evidence_path: str,
    evidence_uri: str,
    policy: str,
    store: str,
    decision_path: str,
    decision_uri: str,
    report_path: str,
) -> str:
    """Decide on a folder of evidence; write the decision (canonical JSON) and a page that shows it.

    Args:
        evidence_path: Folder that `evaluate` wrote.
        evidence_uri: Its URI, for the journal.
        policy: Overrides of the default policy as JSON text.
        store: Store of the journal, "" keeps none.
        decision_path: File to write the decision to.
        decision_uri: Its URI, for the journal.
        report_path: File to write the page to.

    Returns:
        The verdict.

    Raises:
        InputError: The policy is wrong, or does not fit the kind of problem.
    """
    with journal(store, decision_uri, {"evidence": evidence_uri}, {"policy": policy}) as step:
        asked = Policy.parse(policy)
        step.progress("comparing the models on the rows of the evidence")
        decision = judge(evidence_path, asked)
        for path in (decision_path, report_path):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        decision.write(decision_path)
        Path(report_path).write_text(render(decision), encoding="utf-8")
        step.found(decision.reason, decision=decision.model_dump(mode="json"))
    return decision.verdict


def judge(folder: str | Path, policy: Policy | Mapping[str, Any]) -> Decision:
    """Decide on a folder of evidence. Evidence that is damaged or was changed is inconclusive, not an error.

    Raises:
        InputError: The policy is none, or does not fit the evidence's kind of problem.
    """
    policy = Policy.of(policy)
    try:
        evidence = Evidence.read(folder, operations=policy.budget.of_operations)
    except RatchetError as error:
        return unverifiable(policy, f"the evidence cannot be read: {error.message}")
    except Exception as error:  # polars raises many kinds; whichever it is, the evidence is no ground to promote on
        return unverifiable(policy, f"the evidence cannot be read: {type(error).__name__}: {error}")
    return decide(evidence, policy)

"""The step `deploy`: put what the gate promoted live, or let it wait for a person where the policy says so."""

import json
from pathlib import Path
from typing import Any

from kfp_ratchet.components.deploy import approval
from kfp_ratchet.components.deploy.probe import Probe
from kfp_ratchet.components.deploy.rollout import RolledOut, fetch_from, project, roll_out
from kfp_ratchet.components.deploy.serving import parse_serving
from kfp_ratchet.components.deploy.targets import target_of
from kfp_ratchet.components.shared.canonical import digest_file
from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.journal import Origin, Step, journal
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.store import Store


def deploy_version(
    evidence: str,
    evidence_uri: str,
    decision: str,
    decision_uri: str,
    model_name: str,
    version: str,
    tracking_uri: str,
    store: str,
    epoch: int,
    serving: str,
    deployment: str,
    deployment_uri: str,
) -> str:
    """Put a promoted version live, or note that it waits for approval.

    Args:
        evidence: Folder with `probe.json`: rows to ask the server with and the model's own answers.
        evidence_uri: Its URI, for the journal.
        decision: The gate's decision file; its verdict must be promote.
        decision_uri: Its URI, for the journal.
        model_name: Registered name of the model.
        version: Version in the registry.
        tracking_uri: MLflow tracking URI.
        store: URI of the store.
        epoch: Champion epoch the candidate was judged against.
        serving: `Serving` or `KubernetesServing` as JSON.
        deployment: File to write: url, version, ledger entry.
        deployment_uri: Its URI; names run and step.

    Returns:
        The URL clients ask; "" for a version that waits for approval or was denied it.

    Raises:
        RatchetError: The version could not be put live; the old one keeps serving.
    """
    run = Origin.of(deployment_uri).run
    with journal(store, deployment_uri, inputs={"evidence": evidence_uri, "decision": decision_uri}) as step:
        settings = parse_serving(serving)
        decided = Decision.read(decision)
        if decided.verdict != "promote":
            raise RatchetError(f"the verdict on version {version} is {decided.verdict}; only promote goes live")
        ledger = Ledger(Store(store), model_name)
        against = ledger.entry(epoch).digest if epoch else ""
        if decided.champion_digest != against:
            raise RatchetError(
                f"version {version} was judged against {decided.champion_digest or 'no champion'}, but the champion of epoch {epoch} "
                f"is {against or 'none'}",
                "nothing was changed; pass the decision and the epoch of one run",
            )
        draft = Draft.of(decided, digest_file(Path(decision)), "promote", version, epoch, run)
        why = approval.taken_back(ledger, draft)
        if why or approval.is_required(decided):
            waiting = approval.wait(ledger, tracking_uri, draft, step.progress, why)
            if waiting is not None and not waiting.is_approved:
                return _left(step, Path(deployment), ledger, tracking_uri, waiting)
            draft = waiting.promotion(run) if waiting is not None else draft
        fetch = fetch_from(tracking_uri, model_name, version, draft.digest)
        probe = Probe.read(Path(evidence, "probe.json"))
        try:
            done = roll_out(ledger, target_of(settings, model_name, tracking_uri), draft, fetch, probe, step.progress)
        except RatchetError:
            project(tracking_uri, ledger)
            raise
        unprojected = project(tracking_uri, ledger)
        write_deployment(Path(deployment), model_name, done)
        step.found(line_of(done, unprojected), **found_of(done, unprojected))
    return done.live.url


def write_deployment(path: Path, model_name: str, done: RolledOut) -> None:
    """Write what the output `deployment` says."""
    _write(path, {"model": model_name, "version": done.entry.version, "url": done.live.url, "entry": done.entry.number})


def write_undeployed(path: Path, model_name: str, waiting: approval.Waiting | None) -> None:
    """The same where nothing went live: the version that waits or was denied, if there is one."""
    entry = (waiting.answer or waiting.pending) if waiting else None
    said = {"version": entry.version, "entry": entry.number} if entry else {"version": "", "entry": None}
    _write(path, {"model": model_name, "url": "", **said})


def line_of(done: RolledOut, unprojected: str) -> str:
    """What was done, in one line for people."""
    checked = f" \N{MIDDLE DOT} {done.answered.rows} answers checked" if done.answered else ""
    by = f" \N{MIDDLE DOT} approved by {done.entry.by}" if done.entry.by else ""
    late = f" \N{MIDDLE DOT} aliases in MLflow not yet set: {unprojected}" if unprojected else ""
    return f"v{done.entry.version} live at {done.live.url}{checked}{by} \N{MIDDLE DOT} entry {done.entry.number}{late}"


def found_of(done: RolledOut, unprojected: str) -> dict[str, Any]:
    """What was done, for the report."""
    return {
        "version": done.entry.version,
        "url": done.live.url,
        "entry": done.entry.number,
        "by": done.entry.by,
        "probe": done.answered.model_dump() if done.answered else None,
        "seconds_to_ready": done.seconds_to_ready,
        "previous_version": done.previous_version,
        "aliases_error": unprojected,
    }


def _left(step: Step, deployment: Path, ledger: Ledger, tracking_uri: str, waiting: approval.Waiting) -> str:
    """End without a deploy: the version waits, or was denied."""
    unprojected = project(tracking_uri, ledger)
    write_undeployed(deployment, ledger.model, waiting)
    entry = waiting.answer or waiting.pending
    step.found(
        waiting.sentence,
        version=entry.version,
        url="",
        entry=entry.number,
        approval=waiting.state,
        remedy=waiting.remedy(ledger.model),
        by=entry.by,
        aliases_error=unprojected,
    )
    return ""


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))

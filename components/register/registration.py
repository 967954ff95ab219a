"""Keep a candidate in the registry, and what was decided about it in the ledger."""

import json
from pathlib import Path
from typing import Any

from kfp_ratchet.components._image import VERSION
from kfp_ratchet.components.shared.archive import keep_decision, keep_evidence
from kfp_ratchet.components.shared.canonical import digest_file
from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.components.shared.entry import Draft, Entry
from kfp_ratchet.components.shared.errors import InconclusiveError, RatchetError
from kfp_ratchet.components.shared.journal import Origin, journal
from kfp_ratchet.components.shared.lease import lease
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.lineage import Lineage, Provenance, collect
from kfp_ratchet.components.shared.looks import looks
from kfp_ratchet.components.shared.model import Card, model_digest
from kfp_ratchet.components.shared.parameters import parse_parameter
from kfp_ratchet.components.shared.store import Store

_SHOWN_OF_CARD = {"workload", "rows", "revision", "split_rule", "parameters", "code", "seed", "device"}
_TAG_LENGTH = 4000


def register_model(
    model: str,
    model_uri: str,
    evidence: str,
    evidence_uri: str,
    decision: str,
    decision_uri: str,
    model_name: str,
    tracking_uri: str,
    store: str,
    epoch: int,
    provenance: str,
    registration: str,
    registration_uri: str,
) -> str:
    """Register a candidate whatever the verdict; reject and inconclusive are also written to the ledger.

    Every part may be repeated, by this run or another: a model digest has one version, a decision about it one entry.

    Args:
        model: The candidate's folder.
        model_uri: Its URI, for the journal.
        evidence: Folder of evidence that the decision was taken on.
        evidence_uri: Its URI, for the journal.
        decision: The gate's decision file.
        decision_uri: Its URI, for the journal.
        model_name: Registered name of the model.
        tracking_uri: MLflow tracking URI.
        store: URI of the store.
        epoch: Champion epoch the candidate was judged against.
        provenance: `Provenance` as JSON.
        registration: File to write: version, digest, verdict, ledger entry.
        registration_uri: Its URI; names run and step.

    Returns:
        The version; the champion's for a candidate that is the champion.

    Raises:
        InputError: `provenance` is not valid.
        InconclusiveError: The verdict is inconclusive and the policy wants the run to fail then; everything is written.
        RatchetError: The decision is about another model, or MLflow or the ledger refuse.
    """
    run = Origin.of(registration_uri).run
    inputs = {"model": model_uri, "evidence": evidence_uri, "decision": decision_uri}
    called = {"model_name": model_name, "tracking_uri": tracking_uri, "epoch": epoch, "provenance": provenance}
    with journal(store, registration_uri, inputs, called) as step:
        told = parse_parameter(Provenance, provenance, "provenance")
        decided, card = Decision.read(decision), Card.read(model)
        digest = model_digest(model)
        # A decision on evidence that cannot be read names no model; it is no promotion either.
        if decided.candidate_digest != digest and (decided.candidate_digest or decided.verdict == "promote"):
            raise RatchetError(
                f"the decision {decision_uri} is about model {decided.candidate_digest or '(none)'}, but {model_uri} is {digest}",
                "pass the model that evaluate scored",
            )
        kept, decision_digest = Store(store), digest_file(Path(decision))
        # First of all, so that no entry ever speaks of what is nowhere to be found.
        keep_evidence(kept, Path(evidence), decided.evidence_digest)
        keep_decision(kept, Path(decision), decision_digest)
        ledger = Ledger(kept, model_name)
        made = collect(kept, model_name, digest, run, step.record.inputs, card, decided, decision_digest, told)
        if decided.unchanged:
            version = decided.champion_version
        else:
            # Only here: a candidate that is the champion needs no MLflow.
            from kfp_ratchet.components.shared import projection, registry

            champion = ledger.champion()
            if champion is not None:
                registry.check_champion(tracking_uri, model_name, champion)
            projection.check(tracking_uri, ledger)
            step.progress(f"registering with MLflow at {registry.masked(tracking_uri)}")
            with lease(kept, f"register/{model_name}/{digest.partition(':')[2]}", step.progress):
                version = registry.register(
                    tracking_uri,
                    model_name,
                    Path(model),
                    digest,
                    tags={registry.RUN_TAG: run, **_tags(decided, decision_digest, made)},
                    metrics=_metrics(decided, card),
                    parameters={"workload": card.workload, "seed": card.seed, **card.parameters},
                    run_name=run,
                )
            # Before any entry of the ledger speaks of the version.
            made.model_copy(update={"version": version}).keep(kept)
        entry = None
        draft = Draft.of(decided, decision_digest, decided.verdict, version, epoch, run)
        draft = draft.model_copy(update={"digest": digest})
        unprojected = ""
        if decided.verdict != "promote":
            entry = ledger.append(draft)
            unprojected = "" if decided.unchanged else _project(tracking_uri, ledger)
        looked = entry.evaluation.looks if entry else looks(draft, ledger.newest())
        result = {
            "version": version,
            "digest": digest,
            "verdict": decided.verdict,
            "reason": decided.reason,
            "entry": entry.number if entry else None,
            "looks": looked,
            "aliases_error": unprojected,
        }
        _write(registration, {"model": model_name, **result})
        step.found(
            _line(version, decided, entry, looked),
            **result,
            decision=decided.model_dump(mode="json"),
            card=card.model_dump(mode="json", include=_SHOWN_OF_CARD),
            lineage=made.facts,
        )
        # When all is written: the run fails, the candidate is kept.
        if decided.verdict == "inconclusive" and decided.policy.get("on_inconclusive") == "fail":
            raise InconclusiveError(
                decided.reason, "the policy says on_inconclusive: fail; give the gate more rows to judge on"
            )
    return version


def _project(tracking_uri: str, ledger: Ledger) -> str:
    from kfp_ratchet.components.shared import projection

    return projection.project(tracking_uri, ledger)


def _tags(decided: Decision, decision_digest: str, made: Lineage) -> dict[str, str]:
    tags = {
        "ratchet.verdict": decided.verdict,
        "ratchet.reason": decided.reason,
        "ratchet.revision": decided.revision,
        "ratchet.champion": decided.champion_version,
        "ratchet.decision_digest": decision_digest,
        "ratchet.evidence_digest": decided.evidence_digest,
        "ratchet.policy_digest": decided.policy_digest,
        "ratchet.package": VERSION,
        "ratchet.code": made.code,
        "ratchet.image": made.image,
        "ratchet.commit": made.provenance.commit,
        "ratchet.dirty": "" if made.provenance.dirty is None else str(made.provenance.dirty).lower(),
        "ratchet.yaml_digest": made.provenance.yaml_digest,
        "ratchet.schema_digest": made.schema_digest,
    }
    return {key: value[:_TAG_LENGTH] for key, value in tags.items() if value}


def _metrics(decided: Decision, card: Card) -> dict[str, float]:
    judged = {
        f"evaluation.{decided.metric}": decided.candidate.value,
        "evaluation.gain": decided.gain.value,
        "evaluation.gain_low": decided.gain.low,
        "evaluation.gain_high": decided.gain.high,
    }
    return {f"tail.{name}": value for name, value in card.metrics.items()} | {
        name: value for name, value in judged.items() if value is not None
    }


def _line(version: str, decided: Decision, entry: Entry | None, looked: int) -> str:
    if decided.unchanged:
        return f"v{version} is the champion already · entry {entry.number if entry else '-'}"
    noted = f" · entry {entry.number}" if entry else ""
    warned = f" · warning: look {looked + 1} at these rows" if looked else ""
    return f"v{version} registered · {decided.verdict}{noted}{warned}"


def _write(path: str, content: dict[str, Any]) -> None:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(content, indent=1, sort_keys=True))

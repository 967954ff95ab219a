"""What a person makes champion: a version that waited for approval, a former champion, or, by force, any version."""

from dataclasses import dataclass
from typing import Any

from kfp_ratchet.components.deploy.approval import Answer, Waiting, waiting
from kfp_ratchet.components.deploy.probe import Probe
from kfp_ratchet.components.deploy.rollout import RolledOut, fetch_from, project, roll_out
from kfp_ratchet.components.deploy.serving import KubernetesServing, Serving
from kfp_ratchet.components.deploy.target import Say, Target
from kfp_ratchet.components.deploy.targets import target_of
from kfp_ratchet.components.shared.archive import evidence_file
from kfp_ratchet.components.shared.entry import JUDGED, MAKES_CHAMPION, Draft, Entry
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.ledger import ApprovalError, Ledger
from kfp_ratchet.components.shared.store import Store


@dataclass(frozen=True)
class Place:
    """Where a model's ledger, versions and servers are.

    Args:
        store: URI of the store.
        model: Registered name of the model.
        tracking_uri: MLflow tracking URI, for aliases and for versions that are not here.
        serving: The settings.
    """

    store: str
    model: str
    tracking_uri: str
    serving: Serving | KubernetesServing

    @property
    def ledger(self) -> Ledger:
        """The model's ledger."""
        return Ledger(Store(self.store), self.model)

    @property
    def target(self) -> Target[Any]:
        """Where the model is served."""
        return target_of(self.serving, self.model, self.tracking_uri)


def answer(place: Place, version: str, kind: Answer, by: str, reason: str) -> Waiting:
    """Approve or deny a version that waits; the same answer again changes nothing.

    Raises:
        ApprovalError: It does not wait, or was answered otherwise.
        StaleEpochError: Its approval has expired: the champion has moved.
    """
    ledger = place.ledger
    made = ledger.made()
    pending = next((entry for entry in ledger.newest() if entry.kind == "pending" and entry.version == version), None)
    if pending is None:
        raise ApprovalError(
            f"version {version} of {place.model} does not wait for approval",
            f"{_what_waits(ledger)}; with --force any version can be put live",
        )
    one = Waiting(pending, ledger.answer(pending))
    if kind == "approve" and made is not None and made.repeats(one.promotion("")):
        return one  # Live already; what a killed command left of it is finished.
    return Waiting(pending, ledger.append(one.says(kind, f"{kind} by {by}", by, reason)))


def made_live(place: Place, run: str) -> Waiting | None:
    """The approved version that this very run made champion, None when it did not."""
    ledger = place.ledger
    made = ledger.made()
    if made is None or made.run != run:
        return None
    waited = (Waiting(entry, None) for entry in ledger.newest() if entry.kind == "pending")
    one = next((each for each in waited if made.repeats(each.promotion(run))), None)
    return Waiting(one.pending, ledger.answer(one.pending)) if one else None


def put_live(place: Place, approved: Waiting, run: str, say: Say = lambda line: None) -> tuple[RolledOut, str]:
    """Make an approved version live and champion; it is started and asked before any traffic moves.

    Returns:
        What was done, and why MLflow's aliases could not be set, "" if they were.

    Raises:
        RatchetError: It could not be put live; the current champion keeps serving.
    """
    return _roll_out(place, approved.promotion(run), say)


def force_live(place: Place, version: str, by: str, reason: str, say: Say = lambda line: None) -> Entry:
    """Make any registered version live and champion, whatever the gate said of it, or without a word of it.

    It stays marked as forced as long as it is live, and non-inferiority is never judged against it alone.

    Args:
        place: Where.
        version: Version in the registry.
        by: Who answers for it.
        reason: Why.
        say: Told what is being done.

    Returns:
        The ledger entry.

    Raises:
        InputError: Nobody or no reason is named, or it is the champion already.
        RatchetError: It could not be put live; the current champion keeps serving.
    """
    if not by.strip() or not reason.strip():
        raise InputError(
            "a forced promotion needs a person and a reason",
            "give both: --by NAME --reason TEXT; the ledger keeps them",
        )
    ledger = place.ledger
    draft = _repeated(place, "force", version, by) or _forced(place, ledger, version, by, reason)
    return _roll_out(place, draft, say)[0].entry


def rollback(place: Place, to: str | None, by: str, reason: str, say: Say = lambda line: None) -> Entry:
    """Make a former champion live and champion again; it is started and asked before any traffic moves.

    Args:
        place: Where.
        to: Version of a former champion; the one before the current when None.
        by: Who asks for it.
        reason: Why, for the history.
        say: Told what is being done.

    Returns:
        The ledger entry.

    Raises:
        InputError: There is no such former champion.
        RatchetError: It could not be put live; the current one keeps serving.
    """
    draft = _repeated(place, "rollback", to, by) or _back(place.ledger, to, by, reason)
    return _roll_out(place, draft, say)[0].entry


def _roll_out(place: Place, draft: Draft, say: Say) -> tuple[RolledOut, str]:
    ledger = place.ledger
    fetch = fetch_from(place.tracking_uri, place.model, draft.version, draft.digest)
    done = roll_out(ledger, place.target, draft, fetch, _probe(place, draft, say), say)
    unprojected = project(place.tracking_uri, ledger)
    if unprojected:
        say(f"aliases in MLflow not yet set: {unprojected}")
    return done, unprojected


def _probe(place: Place, draft: Draft, say: Say) -> Probe | None:
    """Rows and answers from the evidence that the version was judged on; None when the archive does not have it.

    Then the ones kept in the version's folder do: a damaged archive must not keep anyone from going back.
    """
    try:
        content = evidence_file(Store(place.store), draft.evidence_digest, "probe.json")
        return Probe.model_validate_json(content) if content is not None else None
    except (RatchetError, ValueError) as error:
        say(f"v{draft.version}: its archived probe cannot be read: {error}")
        return None


def _what_waits(ledger: Ledger) -> str:
    versions = ", ".join(f"version {one.pending.version}" for one in waiting(ledger))
    return f"these do: {versions}" if versions else "nothing does"


def _repeated(place: Place, kind: str, version: str | None, by: str) -> Draft | None:
    """What the same person asked for and has the ledger's word on already: to finish what a killed command left, if it left anything.

    Who names no version is taken to repeat only what did not come to the end of its switch: else it is one more step back.
    """
    made, there = place.ledger.made(), place.target.live()
    if made is None or (made.kind, made.by) != (kind, by):
        return None
    is_unfinished = there is not None and not there.committed and there.entry == made.intent
    repeats = is_unfinished if version is None else made.version == version
    return Draft.model_validate(made.model_dump()) if repeats else None


def _forced(place: Place, ledger: Ledger, version: str, by: str, reason: str) -> Draft:
    from kfp_ratchet.components.shared import registry

    champion = ledger.champion()
    if champion is not None and champion.version == version:
        raise InputError(f"version {version} of {place.model} is the champion already")
    digest = registry.digest_of(place.tracking_uri, place.model, version)
    # What it was judged on, if it was: the archived evidence holds the answers that its server is held against.
    judged = next((e for e in ledger.newest() if e.kind in JUDGED and e.digest == digest), None)
    said = judged.model_dump() if judged else {}
    return Draft.model_validate(
        {
            **said,
            "kind": "force",
            "version": version,
            "digest": digest,
            "epoch": champion.epoch if champion else 0,
            "run": f"force by {by}",
            "by": by,
            "reason": reason,
            "sets_anchor": False,
            "intent": 0,
        }
    )


def _back(ledger: Ledger, to: str | None, by: str, reason: str) -> Draft:
    goal = _goal(ledger, to)
    champion = ledger.champion()
    return Draft(
        kind="rollback",
        version=goal.version,
        digest=goal.digest,
        epoch=champion.epoch if champion else 0,
        run=f"rollback by {by}",
        reason=reason,
        revision=goal.revision,
        rows=goal.rows,
        sets_anchor=goal.sets_anchor,
        decision_digest=goal.decision_digest,
        evidence_digest=goal.evidence_digest,
        by=by,
    )


def _goal(ledger: Ledger, to: str | None) -> Entry:
    """The entry that made the champion to go back to."""
    lineage = ledger.lineage()
    if to is None:
        if len(lineage) < 2:
            raise InputError(
                f"{ledger.model} has no champion before the current one to roll back to",
                f"see what there was: ratchet model history {ledger.model}",
            )
        return lineage[-2]
    former = {entry.version: entry for entry in ledger.entries() if entry.kind in MAKES_CHAMPION}
    if to not in former:
        raise InputError(
            f"version {to} of {ledger.model} was never champion, so it cannot be rolled back to",
            f"former champions: {', '.join(former) or 'none'}",
        )
    if to == lineage[-1].version:
        raise InputError(f"version {to} of {ledger.model} is the champion already")
    return former[to]

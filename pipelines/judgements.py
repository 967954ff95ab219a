"""Judgements of the past: which decision is meant by a run, an entry or a version, and where it is kept."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from kfp_ratchet.components.notify.run_view import RunView
from kfp_ratchet.components.shared.archive import read_decision
from kfp_ratchet.components.shared.canonical import digest, dumps
from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.components.shared.entry import JUDGED, Entry
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.names import suggestion
from kfp_ratchet.components.shared.store import Store

LAST = "last"
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Judgement:
    """A decision and what the ledger says of it.

    Attributes:
        decision: What the gate said.
        entry: The ledger's entry about it; None when the run never came so far.
        run: The run that took it.
        asked: The entry that was asked for, where that took no decision itself (a rollback is judged by what it goes back to).
    """

    decision: Decision
    entry: Entry | None
    run: str
    asked: Entry | None = None


def find_judgement(store: Store, model: str, which: str) -> Judgement:
    """The judgement that someone means.

    Args:
        store: The project's store.
        model: Whose ledger.
        which: A run's id, an entry as `12` or `#12`, a version as `v5`, or `last`: the newest of the ledger.

    Raises:
        InputError: There is no such run, entry or version; names the nearest.
        RatchetError: Its decision is not kept any more, or was changed.
    """
    entries = Ledger(store, model).entries()
    if numbered := re.fullmatch(r"#?([0-9]+)", which):
        return _of_entry(store, model, entries, int(numbered[1]))
    if re.fullmatch(r"v[0-9]+", which):
        return _of_version(store, model, entries, which[1:])
    if which == LAST:
        judged = _decided(entries)
        if not judged:
            raise InputError(f"nothing was judged yet: the ledger of {model} has no decision", "start one: ratchet run")
        return _kept(store, judged[-1])
    return _of_run(store, entries, which)


def stored_decision(store: Store, entry: Entry) -> Decision:
    """The decision that an entry speaks of: from the archive, or from the journal of its run if that still has these very bytes.

    Raises:
        RatchetError: It is kept nowhere, or was changed.
    """
    decision = read_decision(store, entry.decision_digest) or _journalled(store, entry)
    if decision is None:
        raise RatchetError(
            f"the decision of entry {entry.number} is kept nowhere: neither in the archive at {store.uri} nor in the journal of "
            f"{entry.run}",
            f"its reason stands in the ledger: ratchet model history {entry.model}",
        )
    return decision


@dataclass(frozen=True)
class Difference:
    """One thing in which two decisions differ; None where only the other says it."""

    what: str
    then: str | None
    now: str | None


def differences(then: Decision, now: Decision) -> list[Difference]:
    """In what two decisions differ: verdict and reason, numbers, checks and the policy's keys, by dotted name."""
    before, after = _leaves(_told(then)), _leaves(_told(now))
    names = dict.fromkeys([*after, *before])
    return [
        Difference(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
    ]


def _told(decision: Decision) -> dict[str, Any]:
    # The digest of a policy says nothing that its keys do not, and a check's reason nothing that its numbers do not.
    said = decision.model_dump(mode="json", exclude={"checks", "policy_digest"})
    checks = {check.name: check.model_dump(mode="json", exclude={"name", "reason"}) for check in decision.checks}
    return {**said, "check": checks}


def _leaves(value: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            found |= _leaves(inner, f"{prefix}{key}.")
        elif inner is not None:
            found[f"{prefix}{key}"] = inner if isinstance(inner, str) and inner else dumps(inner)
    return found


def _of_entry(store: Store, model: str, entries: list[Entry], number: int) -> Judgement:
    entry = _numbered(model, entries, number)
    if _is_decided(entry):
        return _kept(store, entry)
    # What a person decided, or what became of a deploy, is explained by how that model was judged.
    judged = [one for one in _decided(entries) if one.digest == entry.digest and one.number < number]
    if not judged:
        raise InputError(
            f"entry {number} is a {entry.kind} of v{entry.version} by {entry.by or entry.run}, and no gate had judged that version",
            entry.reason,
        )
    same = [one for one in judged if one.decision_digest == entry.decision_digest] or judged
    found = _kept(store, same[-1])
    return Judgement(found.decision, found.entry, found.run, asked=entry)


def _of_version(store: Store, model: str, entries: list[Entry], version: str) -> Judgement:
    about = [entry for entry in _decided(entries) if entry.version == version]
    if not about:
        known = dict.fromkeys(f"v{entry.version}" for entry in entries)
        raise InputError(
            f"the ledger of {model} has no judgement about v{version}",
            suggestion(f"v{version}", [one for one in known if one != f"v{version}"], most=10),
        )
    return _kept(store, about[-1])


def _of_run(store: Store, entries: list[Entry], run: str) -> Judgement:
    view = RunView.read(store, run) if _RUN.fullmatch(run) and any(store.keys(f"runs/{run}/steps")) else None
    entry = next((one for one in reversed(_decided(entries)) if one.run == run), None)
    if view is None and entry is None:
        known = dict.fromkeys(key.split("/")[1] for key in store.keys("runs"))
        raise InputError(
            f"the store {store.uri} has no run {run!r}",
            f"{suggestion(run, known, most=3)}; or give an entry's number, a version as v5, or {LAST}",
        )
    if view is not None and view.decision is not None:
        return Judgement(view.decision, entry, run)
    if entry is not None:
        return _kept(store, entry)
    reason = view.reason if view is not None else ""
    raise InputError(f"the run {run} took no decision: {reason}", "look at its report")


def _numbered(model: str, entries: list[Entry], number: int) -> Entry:
    if not 1 <= number <= len(entries):
        raise InputError(
            f"the ledger of {model} has no entry {number}",
            f"its entries are 1 to {len(entries)}" if entries else "it has none yet; ratchet run writes the first",
        )
    return entries[number - 1]


def _decided(entries: list[Entry]) -> list[Entry]:
    """Entries that a gate's decision made, the oldest first."""
    return [entry for entry in entries if _is_decided(entry)]


def _is_decided(entry: Entry) -> bool:
    # A deploy may be all that a promotion left; one that a person began has its decision from an earlier entry.
    return bool(entry.decision_digest) and (entry.kind in JUDGED or (entry.kind == "deploy-started" and not entry.by))


def _kept(store: Store, entry: Entry) -> Judgement:
    return Judgement(stored_decision(store, entry), entry, entry.run)


def _journalled(store: Store, entry: Entry) -> Decision | None:
    if not entry.decision_digest or not _RUN.fullmatch(entry.run):
        return None
    said = RunView.read(store, entry.run).details("gate").get("decision")
    if not said or digest(dumps(said) + "\n") != entry.decision_digest:
        return None
    try:
        return Decision.model_validate(said)
    except ValidationError:
        return None

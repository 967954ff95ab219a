"""What two versions of a model differ in, from the ledger, the archive and the registry."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from kfp_ratchet.components.gate.wording import spread
from kfp_ratchet.components.shared.archive import read_decision
from kfp_ratchet.components.shared.decision import Decision, Interval
from kfp_ratchet.components.shared.entry import JUDGED, Entry
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.lineage import Lineage
from kfp_ratchet.components.shared.store import Store


@dataclass(frozen=True)
class Fact:
    """What there is to say of both versions under one name; "" where nothing is known."""

    name: str
    values: tuple[str, str]

    @property
    def differs(self) -> bool:
        """Whether they are not the same."""
        return self.values[0] != self.values[1]


def differences(store: Store, model: str, tracking_uri: str, first: str, second: str) -> tuple[list[Fact], list[str]]:
    """Facts about two versions in the order of a reader's interest, and what could not be read.

    Raises:
        InputError: The ledger does not know a version; names those that it knows.
    """
    entries = Ledger(store, model).entries()
    notes: list[str] = []
    both = [_facts(store, model, tracking_uri, entries, version, notes) for version in (first, second)]
    names = dict.fromkeys([*both[0], *both[1]])
    return [Fact(name, (both[0].get(name, ""), both[1].get(name, ""))) for name in names], notes


def _facts(
    store: Store, model: str, tracking_uri: str, entries: list[Entry], version: str, notes: list[str]
) -> Mapping[str, str]:
    about = [
        entry for entry in entries if entry.version == version and entry.kind not in ("deploy-started", "deploy-failed")
    ]
    if not about:
        known = dict.fromkeys(entry.version for entry in entries)
        raise InputError(f"the ledger of {model} has no version {version}", f"it knows {', '.join(known) or 'none'}")
    # Not the last word of all: that may be about the champion met again, or a person's.
    compared = (entry for entry in reversed(about) if entry.kind in JUDGED and entry.metric.candidate is not None)
    judged = next(compared, about[-1])
    decided = _decision(store, judged, notes)
    facts = {
        "history": ", ".join(
            f"{entry.kind} (entry {entry.number}{f', by {entry.by}' if entry.by else ''})" for entry in about
        ),
        "judged": judged.time[:19].replace("T", " ") + " UTC",
        "reason": judged.reason,
        **_measured(judged, decided),
        "revision": judged.revision,
        "accepted rows": f"{judged.rows:,}" if judged.rows else "",
        "policy": judged.policy_digest,
        "evidence": judged.evidence_digest,
        "code of the gate": judged.code,
        "model": judged.digest,
    }
    return {**facts, **_kept(store, model, version, notes), **_carded(model, tracking_uri, version, notes)}


def _kept(store: Store, model: str, version: str, notes: list[str]) -> dict[str, str]:
    """What its lineage says of commit, image and machine."""
    try:
        lineage = Lineage.load(store, model, version)
    except RatchetError as error:
        notes.append(error.message)
        return {}
    return lineage.facts if lineage else {}


def _measured(judged: Entry, decided: Decision | None) -> dict[str, str]:
    metric = judged.metric
    candidate = decided.candidate if decided else Interval(value=metric.candidate)
    champion = decided.champion if decided else Interval(value=metric.champion)
    gain = decided.gain if decided else Interval(value=metric.gain, low=metric.gain_low, high=metric.gain_high)
    return {
        "metric": metric.name,
        "value": _spread(candidate),
        "champion's then": _spread(champion),
        "gain": _spread(gain),
        "margin": "" if metric.margin is None else f"{metric.margin:g}",
        "rows judged on": f"{decided.rows:,}" if decided else "",
    }


def _spread(interval: Interval) -> str:
    return spread(interval) if interval.value is not None else ""


def _decision(store: Store, judged: Entry, notes: list[str]) -> Decision | None:
    try:
        return read_decision(store, judged.decision_digest)
    except RatchetError as error:
        notes.append(error.message)
        return None


def _carded(model: str, tracking_uri: str, version: str, notes: list[str]) -> dict[str, str]:
    """What the model's card in the registry says."""
    from kfp_ratchet.components.shared import registry

    try:
        card = registry.card(tracking_uri, model, version)
    except RatchetError as error:
        notes.append(f"v{version}: parameters and features are not known: {error.message}")
        return {}
    return {
        "workload": card.workload,
        "trained rows": f"{card.rows:,}",
        "window": _said(card.window),
        "seed": str(card.seed),
        "device": card.device,
        **{f"parameter {name}": _said(value) for name, value in sorted(card.parameters.items())},
        **{f"feature {name}": kind for name, kind in card.features.items()},
        **{f"code {name}": value for name, value in sorted(card.code.items())},
    }


def _said(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)

"""Where a version of a model came from, and what became of it: the kept lineage, the ledger, and the manifest of its data."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kfp_ratchet.components.shared.entry import JUDGED, MAKES_CHAMPION, Entry
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.lineage import Lineage
from kfp_ratchet.components.shared.manifest import Manifest
from kfp_ratchet.components.shared.names import suggestion
from kfp_ratchet.components.shared.projection import ALIASES, aliases
from kfp_ratchet.pipelines.project import Project

_DEPLOYING = ("deploy-started", "deploy-failed")


@dataclass(frozen=True)
class Reign:
    """A stretch of time for which a version was champion.

    Attributes:
        made: The entry that made it champion.
        ended: The entry that made another one champion; None while it still is.
    """

    made: Entry
    ended: Entry | None


@dataclass(frozen=True)
class Trace:
    """All that is known of a version.

    Attributes:
        lineage: What made it.
        kept: Whether `register` kept that; else it is put together from the ledger and the model's card.
        history: The ledger's entries about it, oldest first, without those of deploys.
        reigns: When it was champion, oldest first.
        manifest: The files of its data; None when no manifest of them is kept.
        notes: What could not be read, in sentences.
    """

    lineage: Lineage
    kept: bool
    history: list[Entry]
    reigns: list[Reign]
    manifest: Manifest | None
    notes: list[str]


def named_version(project: Project, text: str) -> tuple[str, str]:
    """The model and version that `NAME`, `NAME@champion`, `NAME@3`, `@previous`, `3` or `v3` mean.

    Returns:
        Both; the version is "" where the ledger has none of that alias.

    Raises:
        InputError: There is no such model or alias.
    """
    name, at, wanted = text.partition("@")
    if not at and re.fullmatch(r"v?[0-9]+", name):
        name, wanted = "", name
    model, wanted = project.model(name), wanted or "champion"
    if re.fullmatch(r"v?[0-9]+", wanted):
        return model, wanted.removeprefix("v")
    if wanted not in ALIASES:
        raise InputError(f"{wanted!r} is neither a version nor an alias", suggestion(wanted, ALIASES))
    return model, aliases(Ledger(project.store, model)).get(wanted, "")


def trace(project: Project, model: str, version: str) -> Trace:
    """What made a version, and what became of it.

    Raises:
        InputError: Nobody knows that version; names those that the ledger knows.
        RatchetError: Its lineage or the ledger is damaged.
    """
    entries = Ledger(project.store, model).entries()
    about = [entry for entry in entries if entry.version == version and entry.kind not in _DEPLOYING]
    kept = Lineage.load(project.store, model, version)
    if kept is None and not about:
        known = dict.fromkeys(entry.version for entry in entries)
        raise InputError(f"the ledger of {model} has no version {version}", f"it knows {', '.join(known) or 'none'}")
    notes: list[str] = []
    lineage = kept or _remembered(project, model, version, about, notes)
    manifest = None
    try:
        manifest = Manifest.load(project.store, lineage.revision) if lineage.manifest else None
        if manifest is None:
            notes.append("no manifest of its data is kept, so its files are not known")
    except RatchetError as error:
        notes.append(error.message)
    return Trace(lineage, kept is not None, about, list(reigns(entries, version)), manifest, notes)


def reigns(entries: Sequence[Entry], version: str) -> Iterator[Reign]:
    """When a version was champion, by all entries of its ledger, oldest first."""
    made = [entry for entry in entries if entry.kind in MAKES_CHAMPION]
    for entry, following in itertools.zip_longest(made, made[1:]):
        if entry.version == version:
            yield Reign(entry, following)


def _remembered(project: Project, model: str, version: str, about: Sequence[Entry], notes: list[str]) -> Lineage:
    """What the ledger and the model's card tell of a version that was registered before lineage was kept."""
    from kfp_ratchet.components.shared import registry

    judged = next((entry for entry in about if entry.kind in JUDGED), about[0])
    notes.append("it was registered without lineage: this is what the ledger and its card in the registry tell")
    told = Lineage(
        model=model,
        version=version,
        digest=judged.digest,
        run=judged.run,
        time=judged.time,
        verdict=judged.kind,
        revision=judged.revision,
        manifest=Manifest.key(judged.revision) if judged.revision else "",
        policy_digest=judged.policy_digest,
        evidence_digest=judged.evidence_digest,
        decision_digest=judged.decision_digest,
    )
    if registry.is_absent(project.tracking_uri):
        notes.append("its card is not here: there is no registry yet")
        return told
    try:
        card = registry.card(project.tracking_uri, model, version)
    except RatchetError as error:
        notes.append(f"its card could not be read: {error.message}")
        return told
    of_card = {
        "window": card.window,
        "workload": card.workload,
        "workload_digest": card.code.get("workload", ""),
        "package": card.code.get("kfp-ratchet", ""),
        "seed": card.seed,
        "device": card.device,
    }
    return told.model_copy(update=of_card)

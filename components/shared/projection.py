"""What MLflow shows of the ledger: aliases and tags of versions, made anew from the ledger whenever it has moved.

The ledger decides; this only tells. A registry that is away must not change what was decided: the next projection goes on from the entry
that the last one reached, which the registered model's tag `ratchet.projected` says.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kfp_ratchet.components.shared import registry
from kfp_ratchet.components.shared.entry import MAKES_CHAMPION, Entry, Kind
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.ledger import Ledger

ALIASES = ("champion", "previous", "challenger")
LEDGER_TAG = "ratchet.ledger"
"""On a version: number and kind of the entry that says how it stands."""
STATE_TAG = "ratchet.state"
"""On a version: champion, previous (where a rollback goes), former, rejected, inconclusive, pending, approved, denied, expired, deploying
or failed."""
_REACHED_TAG = "ratchet.projected"
_STATES: Mapping[Kind, str] = {
    "reject": "rejected",
    "inconclusive": "inconclusive",
    "pending": "pending",
    "approve": "approved",
    "deny": "denied",
    "deploy-started": "deploying",
    "deploy-failed": "failed",
    **dict.fromkeys(MAKES_CHAMPION, "former"),
}
_WAITS: frozenset[Kind] = frozenset({"pending", "approve"})
_ON_ITS_WAY: frozenset[Kind] = _WAITS | {"deploy-started", "deploy-failed"}
_SECONDS = 60.0
"""How long all of a projection may take; a single request is bounded by `registry.connected`."""
_FIRST = 100
"""Entries that are projected where none ever were; `ratchet ledger reconcile` does them all."""


@dataclass(frozen=True)
class Difference:
    """Something in MLflow that is not as the ledger has it.

    Attributes:
        thing: An alias, a tag of a version, or the version itself, which is missing.
        name: Name of the alias or tag; "" for a version.
        version: The version; "" for an alias.
        found: What is there, "" for nothing.
        wanted: What the ledger says.
        repairable: Whether setting it is all there is to do.
    """

    thing: Literal["alias", "tag", "version"]
    name: str
    version: str
    found: str
    wanted: str
    repairable: bool = True

    def __str__(self) -> str:
        if self.thing == "alias":
            return f"alias {self.name}"
        return f"version {self.version}" if self.thing == "version" else f"tag {self.name} of version {self.version}"


@dataclass(frozen=True)
class _Wanted:
    """What MLflow should show."""

    aliases: dict[str, str]
    tags: dict[str, dict[str, str]]
    digests: dict[str, str]


def project(tracking_uri: str, ledger: Ledger) -> str:
    """Show what the ledger says by now; returns why that failed, "" if it did not.

    Raises:
        RatchetError: The ledger is corrupt.
    """
    last = ledger.length()
    if not last:
        return ""
    try:
        with registry.connected(tracking_uri) as client:
            model = client.get_registered_model(ledger.model)
            if wrong := _foreign(ledger, model):
                return wrong
            reached = str(model.tags.get(_REACHED_TAG, ""))
            since = int(reached) if reached.isdecimal() and int(reached) <= last else max(0, last - _FIRST)
            wanted = _wanted(ledger, since)
            within = _patience(tracking_uri)
            tags = _tags(client, ledger.model, wanted.tags, within)
            _apply(client, ledger.model, _differences(model.aliases, tags, wanted), within)
            if reached != str(last):
                client.set_registered_model_tag(ledger.model, _REACHED_TAG, str(last))
    except registry.RegistryError as error:
        return error.message
    return ""


def reconcile(tracking_uri: str, ledger: Ledger, dry_run: bool = False) -> list[Difference]:
    """Bring all that MLflow shows of a model in line with its ledger, and say what was not.

    Args:
        tracking_uri: MLflow tracking URI.
        ledger: The model's ledger.
        dry_run: Change nothing.

    Raises:
        RatchetError: MLflow cannot be reached or refuses, or the ledger is corrupt or not the one that MLflow has seen.
    """
    entries = ledger.entries()
    check(tracking_uri, ledger)
    if not entries:
        return []
    wanted = _wanted(ledger, 0)
    with registry.connected(tracking_uri) as client:
        model = client.get_registered_model(ledger.model)
        tags = {str(found.version): dict(found.tags) for found in registry.versions_of(client, ledger.model)}
        differences = _differences(model.aliases, tags, wanted)
        if not dry_run:
            _apply(client, ledger.model, differences, lambda: None)
            client.set_registered_model_tag(ledger.model, _REACHED_TAG, str(entries[-1].number))
    return differences


def check(tracking_uri: str, ledger: Ledger) -> None:
    """Refuse a ledger that is not, or no longer all of, the one that MLflow has shown before.

    Raises:
        RatchetError: It is not, or MLflow cannot be reached.
    """
    if wrong := foreign(tracking_uri, ledger):
        raise RatchetError(
            wrong,
            "check `store`, or restore the ledger from a backup; to begin anew, give the model another name. What someone set by hand "
            "(the alias champion, the model's tag ratchet.projected), delete in MLflow",
        )


def foreign(tracking_uri: str, ledger: Ledger) -> str:
    """Why this cannot be the ledger that MLflow has shown before; "" if it can.

    Raises:
        RatchetError: MLflow cannot be reached.
    """
    if registry.is_absent(tracking_uri):
        return ""
    with registry.connected(tracking_uri) as client:
        found = client.search_registered_models(f"name = '{ledger.model}'")
    return _foreign(ledger, found[0]) if found else ""


def _foreign(ledger: Ledger, model: Any) -> str:
    # Read after MLflow: what it shows was in the ledger before.
    length, reached = ledger.length(), str(model.tags.get(_REACHED_TAG, ""))
    if reached.isdecimal() and int(reached) > length:
        return f"MLflow has shown entry {reached} of {ledger.model}, but this ledger has {length}: it is another one, or lost its end"
    champion = str(model.aliases.get("champion", ""))
    if champion and ledger.made() is None:
        return f"MLflow names version {champion} of {ledger.model} as champion, but this ledger has no champion: it is another one"
    return ""


def aliases(ledger: Ledger) -> dict[str, str]:
    """Version by alias as the ledger has them: champion, previous (where a rollback goes) and challenger; absent ones are left out."""
    top = _top(ledger)
    epoch = top["champion"].number if top else 0
    challenger = _challenger(itertools.takewhile(lambda entry: entry.number > epoch, ledger.newest()))
    named = {alias: made.version for alias, made in top.items()}
    return {**named, "challenger": challenger} if challenger else named


def _top(ledger: Ledger) -> dict[str, Entry]:
    """The entries that made the champion and the one before it."""
    return dict(zip(("champion", "previous"), itertools.islice(ledger.lineage_downwards(), 2), strict=False))


def _wanted(ledger: Ledger, since: int) -> _Wanted:
    """What MLflow should show of the versions that entries after number `since` are about, or change the state of."""
    top = _top(ledger)
    lineage = list(top.values())
    versions = {made.version for made in lineage}
    for entry in itertools.takewhile(lambda entry: entry.number > since, ledger.newest()):
        versions.add(entry.version)
        if entry.kind in MAKES_CHAMPION:
            before = ledger.stood(entry.number - 1)
            numbers = {before.champion, before.beneath, *before.pending, *before.approved} - {0}
            versions |= {ledger.entry(number).version for number in numbers}
    newest = {made.version: made for made in lineage}
    states = {made.version: state for state, made in top.items()}
    for entry in ledger.newest():
        if versions <= newest.keys():
            break
        if entry.version in versions and entry.version not in newest:
            newest[entry.version] = entry
            states[entry.version] = _state(entry, ledger)
    tags = {
        version: {LEDGER_TAG: f"{entry.number} {entry.kind}", STATE_TAG: states[version]}
        for version, entry in newest.items()
        if version
    }
    return _Wanted(aliases(ledger), tags, {version: entry.digest for version, entry in newest.items() if version})


def _state(entry: Entry, ledger: Ledger) -> str:
    now = ledger.stood(ledger.length())
    if entry.kind in _WAITS and entry.epoch != now.champion:
        return "expired"
    if entry.kind == "deploy-started" and entry.number != now.intent:
        return "failed"
    return _STATES[entry.kind]


def _challenger(since: Iterable[Entry]) -> str:
    """The version that is on its way, waits for approval or failed to go live, by the entries since the champion, the newest first."""
    denied = set()
    for entry in since:
        if entry.kind == "deny":
            denied.add(entry.version)
        elif entry.kind in _ON_ITS_WAY and entry.version not in denied:
            return entry.version
    return ""


def _differences(
    aliases: Mapping[str, Any], tags: Mapping[str, Mapping[str, str]], wanted: _Wanted
) -> list[Difference]:
    """How MLflow's aliases and the tags by version differ from what is wanted."""
    found: list[Difference] = []
    for alias in ALIASES:
        there, right = str(aliases.get(alias, "")), wanted.aliases.get(alias, "")
        if there != right:
            found.append(Difference("alias", alias, "", there, right, repairable=not right or right in tags))
    for version in sorted(wanted.tags, key=lambda version: (len(version), version)):
        if version not in tags:
            found.append(Difference("version", "", version, "", wanted.digests[version], repairable=False))
            continue
        for tag, right in wanted.tags[version].items():
            there = tags[version].get(tag, "")
            if there != right:
                found.append(Difference("tag", tag, version, there, right))
        tag, right = registry.DIGEST_TAG, wanted.digests[version]
        there = tags[version].get(tag, "")
        if there != right:
            # Another model under this version: no tag can mend that.
            found.append(Difference("tag", tag, version, there, right, repairable=False))
    return found


def _apply(client: Any, name: str, differences: Iterable[Difference], within: Callable[[], None]) -> None:
    for one in differences:
        if not one.repairable:
            continue
        within()
        if one.thing == "tag":
            client.set_model_version_tag(name, one.version, one.name, one.wanted)
        elif one.wanted:
            client.set_registered_model_alias(name, one.name, one.wanted)
        else:
            client.delete_registered_model_alias(name, one.name)


def _tags(client: Any, name: str, versions: Iterable[str], within: Callable[[], None]) -> dict[str, dict[str, str]]:
    """Tags of those of the versions that MLflow has."""
    tags = {}
    for version in versions:
        within()
        there = registry.version_of(client, name, version)
        if there is not None:
            tags[version] = dict(there.tags)
    return tags


def _patience(tracking_uri: str) -> Callable[[], None]:
    """Raises when the whole takes too long, however quick each request may be."""
    end = time.monotonic() + _SECONDS

    def within() -> None:
        if time.monotonic() > end:
            raise registry.RegistryError(f"MLflow at {registry.masked(tracking_uri)} took more than {_SECONDS:.0f} s")

    return within

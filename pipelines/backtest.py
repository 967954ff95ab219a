"""What another policy would have done: every decision of a ledger taken again on its archived evidence.

A replay of evidence is exact as long as the other policy would have had the same champion live. From the first decision that differs on,
evidence may compare a candidate with a champion that would not have been there: such verdicts are taken as the best guess and marked.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from kfp_ratchet.components.gate import Policy, judge
from kfp_ratchet.components.shared.archive import fetch_evidence, has_evidence
from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.components.shared.entry import JUDGED, MAKES_CHAMPION, Entry, Kind
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.store import Store

_AFTER_PROMOTE: frozenset[Kind] = frozenset({"pending", "approve", "deny", "deploy-started", "deploy-failed"})
"""What may have come of a verdict to promote, other than the promotion."""
_BY_PEOPLE: frozenset[Kind] = frozenset({"rollback", "force"})


@dataclass(frozen=True)
class Live:
    """A model that is, or would be, live."""

    version: str
    digest: str
    sets_anchor: bool = True
    guessed: bool = False
    """Whether a verdict made it live that was found against another champion than would have been there."""


_Lineage = tuple[Live, ...]
"""Who would have been live, one upon the other as in the ledger: a rollback takes away what it undid."""


@dataclass(frozen=True)
class Replayed:
    """One decision of the past, or one thing that a person did, under the other policy.

    Attributes:
        entry: The ledger's last entry about it.
        now: The decision under the other policy; None where there is no evidence or a person decided.
        was: Who was live after it.
        would_be: Who would have been.
        note: What stands between this verdict and one to rely on: "" when nothing does.
    """

    entry: Entry
    now: Decision | None
    was: Live | None
    would_be: Live | None
    note: str = ""

    @property
    def changed(self) -> bool:
        """Whether the other policy gives another verdict."""
        then = "promote" if self.entry.kind in _AFTER_PROMOTE else self.entry.kind
        return self.now is not None and self.now.verdict != then

    @property
    def skipped(self) -> bool:
        """Whether it is a decision whose evidence is not in the archive."""
        return self.now is None and self.entry.kind not in _BY_PEOPLE


@dataclass(frozen=True)
class Backtest:
    """All of a ledger under another policy, oldest first."""

    policy: Policy
    replayed: tuple[Replayed, ...]
    live: Live | None
    """Who is, by the ledger."""

    @property
    def headline(self) -> str:
        """What came of it, in one or two sentences."""
        judged = [one for one in self.replayed if one.now is not None]
        changed, marked = [one for one in judged if one.changed], [one for one in judged if one.note]
        skipped = [one for one in self.replayed if one.skipped]
        would_be = self.replayed[-1].would_be if self.replayed else None
        same = _digest(would_be) == _digest(self.live)
        instead = ", as it is" if same else f", not {_named(self.live)}"
        said = [
            f"{_count(len(judged), 'decision')} taken again, {len(changed) or 'none'} with another verdict",
            f"{_named(would_be)} would be live{instead}"
            + (" (a guess)" if would_be and would_be.guessed and not same else ""),
        ]
        if marked:
            said.append(f"{len(marked)} not judged against what would have been live")
        if skipped:
            said.append(f"{len(skipped)} skipped for want of evidence")
        return "; ".join(said)


def backtest(ledger: Ledger, store: Store, policy: Policy, say: Callable[[str], None] = lambda line: None) -> Backtest:
    """Take every decision of a ledger again under another policy.

    A rollback or a forced promotion is followed where it was about the model that would have been live. A decision without evidence in
    the archive is skipped: it stays as it was.

    Args:
        ledger: The model's ledger.
        store: Where its archive lies.
        policy: The other policy.
        say: Told what is being done.

    Raises:
        InputError: The policy does not fit the kind of problem.
        RatchetError: The ledger is corrupt, or evidence in the archive was changed.
    """
    entries = ledger.entries()
    told = _stories(entries, waits=policy.approval == "required")
    was = _champions(entries)
    replayed: list[Replayed] = []
    line: _Lineage = ()
    for index, entry in enumerate(told, 1):
        say(f"entry {entry.number}, {index} of {len(told)}")
        together = _digest(was[entry.number - 1]) == _digest(_last(line))
        now, note = None, ""
        if entry.kind in _BY_PEOPLE:
            if entry.kind == "force" or together:
                line = _with(line, entry)
            else:
                note = f"not followed: {_named(_last(line))} would have been live, not {_named(was[entry.number - 1])}"
        else:
            now, note = _again(store, entry, policy)
            if now is None:
                line = _with(line, entry) if together and entry.kind in MAKES_CHAMPION else line
            else:
                note = _mismatch(now, line)
                if now.verdict == "promote" and _would_go_live(entry, policy):
                    line = (*line, Live(entry.version, entry.digest, now.sets_anchor, guessed=bool(note)))
        replayed.append(Replayed(entry, now, was[entry.number], _last(line), note))
    return Backtest(policy, tuple(replayed), was[-1])


def _stories(entries: list[Entry], waits: bool) -> list[Entry]:
    """The last entry about each decision, and what people did.

    A promotion leaves deploy-started and then promote, deploy-failed, or pending and what a person made of that. They stand in the order
    of these last entries; or, where nothing `waits` for a person, of the first ones.
    """
    kinds = JUDGED | MAKES_CHAMPION | _AFTER_PROMOTE
    # A person's deploy is told by the rollback or promotion that it ends in.
    told = [entry for entry in entries if entry.kind in kinds and not (entry.by and entry.kind.startswith("deploy-"))]
    last: dict[object, Entry] = {}
    for entry in told:
        known = _about(entry) in last
        if entry.kind not in ("approve", "deny") or known:
            if known and waits:
                del last[_about(entry)]
            last[_about(entry)] = entry
    return list(last.values())


def _champions(entries: list[Entry]) -> list[Live | None]:
    """Who was live after each entry; the first is before any."""
    found: list[Live | None] = [None]
    for entry in entries:
        found.append(_made(entry) if entry.kind in MAKES_CHAMPION else found[-1])
    return found


def _with(line: _Lineage, entry: Entry) -> _Lineage:
    """The lineage after what the ledger says became champion."""
    at = len(line)
    if entry.kind == "rollback":
        at = max((index for index, one in enumerate(line) if one.digest == entry.digest), default=at)
    return (*line[:at], _made(entry))


def _made(entry: Entry) -> Live:
    return Live(entry.version, entry.digest, entry.sets_anchor)


def _last(line: _Lineage) -> Live | None:
    return line[-1] if line else None


def _digest(live: Live | None) -> str:
    return live.digest if live else ""


def _about(entry: Entry) -> object:
    """What tells one decision from another: the same bytes about the same model against the same champion are one."""
    person = entry.number if entry.kind in _BY_PEOPLE else 0
    return person, entry.digest, entry.decision_digest, entry.epoch


def _would_go_live(entry: Entry, policy: Policy) -> bool:
    """Whether a promotion would have been followed by a deploy that holds: what failed or was denied then is taken to do so again."""
    if entry.kind in ("deploy-failed", "deny"):
        return False
    return policy.approval == "none" or entry.kind not in ("pending", "approve")


def _again(store: Store, entry: Entry, policy: Policy) -> tuple[Decision | None, str]:
    """The decision under another policy; None and why not, where its evidence is missing or damaged.

    Raises:
        InputError: The policy does not fit the evidence.
    """
    if not has_evidence(store, entry.evidence_digest):
        return None, "its evidence is not in the archive, so it stays as it was"
    with TemporaryDirectory() as scratch:
        try:
            folder = fetch_evidence(store, entry.evidence_digest, Path(scratch, "evidence"))
        except RatchetError as error:
            return None, f"its evidence cannot be read, so it stays as it was: {error.message}"
        return judge(folder, policy), ""


def _mismatch(now: Decision, line: _Lineage) -> str:
    """Why the evidence is not what the other policy would have judged on; "" when it is."""
    if now.champion_digest != _digest(_last(line)):
        against = f"v{now.champion_version}" if now.champion_digest else "the trivial model"
        return f"judged against {against}, though {_named(_last(line))} would have been live"
    anchor = next((one.digest for one in reversed(line) if one.sets_anchor), "")
    if now.question == "non_inferiority" and anchor not in ("", now.champion_digest, now.anchor_digest):
        return "not judged against the anchor that there would have been, which its evidence does not score"
    return ""


def _named(live: Live | None) -> str:
    return f"v{live.version}" if live else "nothing"


def _count(how_many: int, noun: str) -> str:
    return f"{how_many:,} {noun}{'' if how_many == 1 else 's'}"

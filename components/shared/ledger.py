"""The ledger: what became of every candidate of a model, in one append-only list that decides who is champion.

Entries are objects `ledger/<model>/<number>.json`, each created only if it does not exist yet: two writers can never both be entry N,
so a bucket or a folder is enough for a compare-and-swap. An entry holds the digest of the one before it, so a change shows; and where
the ledger stands after it (`Standing`), so that whoever wants to know the champion reads the newest entry and that champion's, not years.
"""

import itertools
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from kfp_ratchet.components.shared.canonical import digest
from kfp_ratchet.components.shared.entry import (
    ANSWERS,
    JUDGED,
    MAKES_CHAMPION,
    REFUSED,
    Champion,
    Draft,
    Entry,
    Kind,
    Standing,
)
from kfp_ratchet.components.shared.environment import image
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.looks import looks
from kfp_ratchet.components.shared.source import source_digest
from kfp_ratchet.components.shared.standing import after, replay
from kfp_ratchet.components.shared.store import Store

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ATTEMPTS = 1000
_READERS = 16
_AHEAD = 64
_LOOKS_BACK = 1000
"""Entries that are searched for earlier looks: years of daily training, and a bound on what one append reads."""

_NEEDS_EPOCH: frozenset[Kind] = MAKES_CHAMPION | {"deploy-started", "pending"}
_WRITTEN_ONCE: frozenset[Kind] = REFUSED | {"pending"}


class StaleEpochError(RatchetError):
    """The champion has moved since the candidate was judged."""


class LostDeployError(RatchetError):
    """Another deploy has taken over, so this one may not commit."""


class ApprovalError(InputError):
    """What is approved or denied does not wait for it."""


def models(store: Store) -> tuple[list[str], list[str]]:
    """Names of the models that a store has a ledger of, and what lies beside the ledgers and belongs to none, as sentences."""
    names, strays = set(), []
    for key in store.keys("ledger"):
        _, name, *entry = key.split("/")
        if entry and _NAME.fullmatch(name):
            names.add(name)
        else:
            strays.append(f"{key} is not in the ledger of a model")
    return sorted(names), strays


class Ledger:
    """A model's ledger.

    What it has read it keeps: entries never change. Only `entries` and `verify` look at every object anew.

    Args:
        store: Where it lies.
        model: Registered name of the model: letters, digits, dot, underscore, dash.

    Raises:
        InputError: The name cannot be one.
    """

    def __init__(self, store: Store, model: str) -> None:
        if not _NAME.fullmatch(model):
            raise InputError(
                f"{model!r} cannot be the name of a model", "use up to 100 letters, digits, dots, underscores, dashes"
            )
        self.model = model
        self._store = store
        self._folder = f"ledger/{model}"
        self._known: dict[int, tuple[Entry, str]] = {}
        self._stood: dict[int, Standing] = {}
        self._last = 0

    def entries(self) -> list[Entry]:
        """All entries, oldest first.

        Raises:
            RatchetError: An entry is missing, unreadable, foreign or changed.
        """
        entries, problems = self._audit()
        if problems:
            raise self._corrupt(problems[0])
        return entries

    def newest(self) -> Iterator[Entry]:
        """Entries from the newest backwards, each checked against its successor, and few more read than are asked for."""
        newest, ahead = self.length(), 1
        while newest:
            oldest = max(1, newest - ahead + 1)
            self._load(range(oldest, newest + 1))
            for number in range(newest, oldest - 1, -1):
                entry, found = self._held(number)
                successor = self._known.get(number + 1)
                if successor and successor[0].previous != found:
                    raise self._corrupt(self._was_changed(number))
                yield entry
            newest, ahead = oldest - 1, min(2 * ahead, _AHEAD)

    def entry(self, number: int) -> Entry:
        """Entry number N.

        Raises:
            RatchetError: It is missing, unreadable, foreign or changed.
        """
        return self._held(number)[0]

    def made(self) -> Entry | None:
        """The entry that made the champion, None before the first promotion."""
        epoch = self._now().champion
        return self.entry(epoch) if epoch else None

    def champion(self) -> Champion | None:
        """Who is champion, None before the first promotion."""
        made = self.made()
        return Champion.made_by(made) if made else None

    def champion_at(self, moment: datetime) -> Entry | None:
        """The entry that had made the champion of a moment (UTC when it names no zone), None before the first promotion.

        Entries count in the order of their numbers. A writer's clock may be behind its predecessor's: an entry is never taken to be
        older than the one before it.
        """
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        past = itertools.takewhile(lambda entry: entry.moment <= moment, self.entries())
        return next((entry for entry in reversed(list(past)) if entry.kind in MAKES_CHAMPION), None)

    def anchor(self) -> Champion | None:
        """The last champion of the lineage that was shown to be better, else its first; None when that is the champion itself."""
        champion, anchor = self.made(), None
        for anchor in self.lineage_downwards():
            if anchor.sets_anchor:
                break
        return Champion.made_by(anchor) if champion and anchor and anchor.digest != champion.digest else None

    def lineage(self) -> list[Entry]:
        """The entries that made the champions a rollback can go through, oldest first, the current champion last.

        A promotion is put on top; a rollback takes away what it undid, so that rolling back twice goes two champions back.
        """
        return list(self.lineage_downwards())[::-1]

    def lineage_downwards(self) -> Iterator[Entry]:
        """The same from the champion down, each read only when asked for."""
        return self._downwards(self._now().champion)

    def taken_back(self, digest: str) -> Entry | None:
        """The rollback that took a model from the lineage, or its denial; None when it became champion since, or there is none."""
        for entry in self.newest():
            if entry.digest == digest and (entry.kind == "deny" or entry.kind in MAKES_CHAMPION):
                return entry if entry.kind == "deny" else None
            if entry.kind == "rollback" and digest in self._taken_by(entry):
                return entry
        return None

    def pending(self) -> list[Entry]:
        """What waits for a person: unanswered pending entries, oldest first; those judged against a former champion have expired."""
        return [self.entry(number) for number in self._now().pending]

    def approved(self) -> list[Entry]:
        """Approve entries whose version is still to go live, oldest first; those of a former champion have expired."""
        return [self.entry(number) for number in self._now().approved]

    def answer(self, pending: Entry) -> Entry | None:
        """The entry that approves or denies a pending one, None while nobody has answered."""
        since = itertools.takewhile(lambda entry: entry.number > pending.number, self.newest())
        return next(
            (entry for entry in since if entry.kind in ANSWERS and entry.answers == pending.number),
            None,
        )

    def accepted_rows(self, other_than: str) -> int:
        """Accepted rows of the last judged revision other than this one, 0 if there is none."""
        judged = (entry for entry in self.newest() if entry.kind in JUDGED and entry.revision != other_than)
        # An entry about evidence that could not be read knows no rows.
        return next((entry.rows for entry in judged if entry.rows), 0)

    def find(self, draft: Draft) -> Entry | None:
        """The entry that says this already, whichever run wrote it.

        None when there is none, or when a newer one of its sort about the same model digest says something else.
        """
        alike = REFUSED if draft.kind in REFUSED else {draft.kind}
        # What was judged against a champion is always written after the entry that made it.
        since = itertools.takewhile(lambda entry: entry.number > draft.epoch, self.newest())
        newest = next((entry for entry in since if entry.kind in alike and entry.digest == draft.digest), None)
        return newest if newest is not None and newest.repeats(draft) else None

    def open_intent(self) -> Entry | None:
        """The newest deploy-started entry, None if it has ended (or there is none)."""
        intent = self._now().intent
        return self.entry(intent) if intent else None

    def age(self, entry: Entry) -> timedelta:
        """How long ago an entry was written, by the store's clock."""
        return self._store.age(self._key(entry.number))

    def append(self, draft: Draft) -> Entry:
        """Write the next entry; what says the same already is not written again (see `find`), even by two runs at once.

        That holds for refusals, pending ones and answers. What makes a champion, starts to, or waits to, is written only while the
        champion is the one the candidate was judged against; what makes a champion or starts to, only while the open deploy is the one
        that `draft.intent` names: the one it commits or takes over. An answer names the newest pending entry of its version.

        Raises:
            StaleEpochError: The champion has moved.
            LostDeployError: Another deploy has taken over.
            ApprovalError: The version does not wait for approval.
            RatchetError: The ledger is corrupt.
        """
        draft = draft.model_copy(update={"code": draft.code or source_digest(), "image": draft.image or image()})
        if draft.kind == "deploy-started":
            self.entries()  # Whatever makes a champion begins with this one: once a deploy, all of the chain is looked at.
        for _ in range(_ATTEMPTS):
            last = self.length()
            before = self.stood(last)
            if draft.kind in _WRITTEN_ONCE and draft.decision_digest and (written := self.find(draft)):
                return written
            if draft.kind in ANSWERS:
                draft, answered = self._answering(draft, before)
                if answered:
                    return answered
            if draft.kind in _NEEDS_EPOCH and draft.epoch != before.champion:
                raise self._stale(f"version {draft.version} of {self.model} was judged", draft.epoch, before)
            if draft.kind == "deploy-started" or draft.kind in MAKES_CHAMPION:
                self._check_intent(draft, before)
            entry = Entry(
                **self._counted(draft).model_dump(),
                number=last + 1,
                model=self.model,
                time=datetime.now(UTC).isoformat(timespec="milliseconds"),
                previous=self._held(last)[1] if last else "",
                standing=after(before, draft, last + 1, lambda number: (self.entry(number), self.stood(number))),
            )
            content = entry.written()
            if self._store.create(self._key(last + 1), content):
                self._known[last + 1] = entry, digest(content)
                return entry
        raise RatchetError(f"entry after {last} of {self._where} was taken {_ATTEMPTS} times", "try again later")

    def verify(self) -> list[str]:
        """What is wrong with the ledger: gaps, foreign or unreadable files, changed entries; empty when all is well."""
        return self._audit()[1]

    def examine(self) -> tuple[int, list[str]]:
        """How many entries can be read, and what is wrong with the ledger."""
        entries, problems = self._audit()
        return len(entries), problems

    @property
    def _where(self) -> str:
        return f"{self._store.uri.rstrip('/')}/{self._folder}"

    def _key(self, number: int) -> str:
        return f"{self._folder}/{number:06d}.json"

    def _corrupt(self, problem: str) -> RatchetError:
        return RatchetError(
            f"the ledger at {self._where} is corrupt: {problem}",
            "restore that object from a backup or an older version of the bucket, or remove what never was an entry; "
            "nothing is written until then",
        )

    def _was_changed(self, number: int) -> str:
        return f"{self._key(number)} was changed after {self._key(number + 1)} was written"

    def length(self) -> int:
        """How many entries there are: all keys are listed once, from then on only the next is asked for.

        Raises:
            RatchetError: Keys are not exactly 1 to N.
        """
        last = self._last
        if not last:
            numbers, problems = self._listing()
            if problems:
                raise self._corrupt(problems[0])
            last = len(numbers)
        while last + 1 in self._known or self._is_there(last + 1):
            last += 1
        self._last = last
        return last

    def _listing(self) -> tuple[list[int], list[str]]:
        """The numbers there are, sorted, and what is wrong with the keys."""
        pattern = re.compile(rf"{re.escape(self._folder)}/(?!0+\.)([0-9]{{6}})\.json")
        found = {key: pattern.fullmatch(key) for key in self._store.keys(self._folder)}
        problems = [f"{key} is not an entry" for key, match in found.items() if not match]
        numbers = {int(match[1]) for match in found.values() if match}
        previous = 0
        for number in sorted(numbers):
            gap = range(previous + 1, number)
            # A folder's listing may miss files that were created while it was read, so a small gap is looked into.
            if len(gap) <= _READERS:
                missed = {missing for missing in gap if self._store.get(self._key(missing)) is not None}
                numbers |= missed
                problems += [f"{self._key(missing)} is missing" for missing in gap if missing not in missed]
            else:
                problems.append(f"{self._key(gap[0])} to {self._key(gap[-1])} are missing")
            previous = number
        return sorted(numbers), problems

    def _parse(self, number: int, content: bytes | None) -> Entry:
        key = self._key(number)
        if content is None:
            raise self._corrupt(f"{key} is missing")
        try:
            entry = Entry.parse(content)
        except ValueError as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise self._corrupt(f"{key} is not readable as an entry ({reason})") from error
        if (entry.number, entry.model) != (number, self.model):
            raise self._corrupt(f"{key} holds entry {entry.number} of {entry.model!r}")
        return entry

    def _is_there(self, number: int) -> bool:
        """Whether somebody has written an entry; then it has been read."""
        content = self._store.get(self._key(number))
        if content is not None:
            self._known[number] = self._parse(number, content), digest(content)
        return content is not None

    def _load(self, numbers: Iterable[int]) -> None:
        """Have these entries read, many at a time."""
        unread = [number for number in numbers if number not in self._known]
        if len(unread) == 1:
            self._known[unread[0]] = self._read(unread[0])
        elif unread:
            with ThreadPoolExecutor(_READERS) as pool:
                self._known.update(zip(unread, pool.map(self._read, unread), strict=True))

    def _read(self, number: int) -> tuple[Entry, str]:
        content = self._store.get(self._key(number))
        return self._parse(number, content), digest(content or b"")

    def _held(self, number: int) -> tuple[Entry, str]:
        """An entry and the digest of its bytes."""
        self._load([number])
        return self._known[number]

    def _now(self) -> Standing:
        return self.stood(self.length())

    def stood(self, number: int) -> Standing:
        """Where the ledger stood after entry number N, 0 for before the first; found anew for entries of older versions."""
        if not number:
            return Standing()
        said = self.entry(number).standing
        if said is None and number not in self._stood:
            self._stood = replay(self.entries())
        return said if said is not None else self._stood[number]

    def _audit(self) -> tuple[list[Entry], list[str]]:
        numbers, problems = self._listing()
        with ThreadPoolExecutor(_READERS) as pool:
            contents = dict(zip(numbers, pool.map(self._store.get, map(self._key, numbers)), strict=True))
        entries = []
        for number, content in contents.items():
            try:
                entry = self._parse(number, content)
            except RatchetError as error:
                problems.append(error.message.partition("is corrupt: ")[2])
                continue
            before = b"" if number == 1 else contents.get(number - 1)
            if before is not None and entry.previous != (digest(before) if before else ""):
                problems.append(self._was_changed(number - 1))
            entries.append(entry)
        if not problems:
            stood = replay(entries)
            problems += [
                f"{self._key(entry.number)} does not stand where the entries before it lead to"
                for entry in entries
                if entry.standing not in (None, stood[entry.number])
            ]
        return entries, problems

    def _counted(self, draft: Draft) -> Draft:
        """With the number of earlier looks at its rows."""
        if draft.kind not in JUDGED:
            return draft
        seen = looks(draft, itertools.islice(self.newest(), _LOOKS_BACK))
        return draft.model_copy(update={"evaluation": draft.evaluation.model_copy(update={"looks": seen})})

    def _stale(self, what: str, epoch: int, now: Standing) -> StaleEpochError:
        moved = f"{self._told(now.champion)} has since moved it" if now.champion else "there is no champion"
        return StaleEpochError(
            f"{what} against champion epoch {epoch}, but {moved} to {now.champion}",
            "nothing was changed; start the pipeline again to be judged against the current champion",
        )

    def _downwards(self, number: int) -> Iterator[Entry]:
        """The champions of the lineage from entry number N down."""
        while number:
            yield self.entry(number)
            number = self.stood(number).beneath

    def _taken_by(self, rollback: Entry) -> set[str]:
        """Digests of the champion that a rollback replaced, and of those that it went back behind."""
        top, kept = self.stood(rollback.number - 1).champion, self.stood(rollback.number).beneath
        passed = itertools.takewhile(lambda made: made.number != kept, self._downwards(top))
        return {self.entry(top).digest, *(made.digest for made in passed)}

    def _told(self, number: int) -> str:
        entry, _ = self._held(number)
        return f"entry {number} ({entry.kind} of version {entry.version} by {entry.by or entry.run})"

    def _check_intent(self, draft: Draft, now: Standing) -> None:
        if now.intent == draft.intent:
            return
        held = self.entry(now.intent) if now.intent else None
        other = f"entry {held.number} ({held.run}, version {held.version}, {held.time})" if held else "none is open now"
        raise LostDeployError(
            f"version {draft.version} of {self.model} cannot go live: another deploy came between ({other})",
            f"nothing was changed; see `ratchet model history {self.model}` and try again when that deploy has ended",
        )

    def _answering(self, draft: Draft, now: Standing) -> tuple[Draft, Entry | None]:
        """The answer with the pending entry that it is about, and the entry that gives this answer already."""
        version = f"version {draft.version} of {self.model}"
        asked = (entry for entry in self.newest() if entry.kind == "pending" and entry.version == draft.version)
        pending = next(asked, None)
        if pending is None:
            raise ApprovalError(
                f"{version} does not wait for approval",
                f"see what does: ratchet model history {self.model}; with --force any version can be put live",
            )
        if pending.epoch != now.champion:
            raise self._stale(f"the approval of {version} has expired: it was judged", pending.epoch, now)
        told = draft.model_copy(update={"digest": pending.digest, "epoch": pending.epoch, "answers": pending.number})
        if pending.number in now.pending:
            return told, None
        answer = self.answer(pending)
        if answer is None or answer.kind == draft.kind:
            return told, answer
        done = "approved" if answer.kind == "approve" else "denied"
        raise ApprovalError(
            f"{version} was {done} by {answer.by or answer.run} already (entry {answer.number})"
            + (f": {answer.reason}" if answer.reason else ""),
            "nothing was changed; with --force any version can be put live",
        )

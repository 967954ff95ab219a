"""The ledger: what became of every candidate of a model, in one append-only list that decides who is champion.

Entries are objects `ledger/<model>/<number>.json`, each created only if it does not exist yet: two writers can never both be entry N,
so a bucket or a folder is enough for a compare-and-swap. An entry holds the digest of the one before it, so a change shows.
"""

import itertools
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from pydantic import ValidationError

from kfp_ratchet.components.shared.canonical import digest
from kfp_ratchet.components.shared.entry import Champion, Draft, Entry, Kind
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.store import Store

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ATTEMPTS = 1000
_READERS = 16

MAKES_CHAMPION: frozenset[Kind] = frozenset({"promote", "rollback"})
REFUSED: frozenset[Kind] = frozenset({"reject", "inconclusive"})
JUDGED: frozenset[Kind] = REFUSED | {"promote"}
_NEEDS_EPOCH: frozenset[Kind] = MAKES_CHAMPION | {"deploy-started"}


class StaleEpochError(RatchetError):
    """The champion has moved since the candidate was judged."""


class LostDeployError(RatchetError):
    """Another deploy has taken over, so this one may not commit."""


class Ledger:
    """A model's ledger.

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
        """Entries from the newest backwards, each read and checked against its successor only when asked for."""
        successor: Entry | None = None
        for number in range(self._length(), 0, -1):
            content = self._store.get(self._key(number))
            entry = self._parse(number, content)
            if successor is not None and successor.previous != digest(content or b""):
                raise self._corrupt(f"{self._key(number)} was changed after {self._key(number + 1)} was written")
            successor = entry
            yield entry

    def champion(self) -> Champion | None:
        """Who is champion, None before the first promotion."""
        return _champion(self.newest())

    def lineage(self) -> list[Entry]:
        """The entries that made the champions a rollback can go through, oldest first, the current champion last.

        A promotion is put on top; a rollback takes away what it undid, so that rolling back twice goes two champions back.
        """
        line: list[Entry] = []
        for entry in self.entries():
            if entry.kind == "rollback":
                at = max((i for i, made in enumerate(line) if made.version == entry.version), default=len(line))
                line = [*line[:at], entry]
            elif entry.kind == "promote":
                line.append(entry)
        return line

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
        ended = set()
        for entry in self.newest():
            if entry.kind == "deploy-started":
                return None if entry.number in ended else entry
            if entry.intent:
                ended.add(entry.intent)
        return None

    def append(self, draft: Draft) -> Entry:
        """Write the next entry; a refusal that is there already is not written again (see `find`), even by two runs at once.

        What makes a champion, and what starts to, is written only while the champion is the one the candidate was judged against; and
        only while the open deploy is the one that `draft.intent` names: the one it commits or takes over.

        Raises:
            StaleEpochError: The champion has moved.
            LostDeployError: Another deploy has taken over.
            RatchetError: The ledger is corrupt.
        """
        for _ in range(_ATTEMPTS):
            last = self._length()
            content = self._store.get(self._key(last)) if last else b""
            if draft.kind in REFUSED and draft.decision_digest and (written := self.find(draft)):
                return written
            if draft.kind in _NEEDS_EPOCH:
                self._check_epoch(draft)
            if draft.kind == "deploy-started" or (draft.kind in MAKES_CHAMPION and draft.intent):
                self._check_intent(draft)
            entry = Entry(
                **draft.model_dump(),
                number=last + 1,
                model=self.model,
                time=datetime.now(UTC).isoformat(timespec="milliseconds"),
                previous=digest(content or b"") if last else "",
            )
            if self._store.create(self._key(last + 1), entry.written()):
                return entry
        raise RatchetError(f"entry after {last} of {self._where} was taken {_ATTEMPTS} times", "try again later")

    def verify(self) -> list[str]:
        """What is wrong with the ledger: gaps, foreign or unreadable files, changed entries; empty when all is well."""
        return self._audit()[1]

    @property
    def _where(self) -> str:
        return f"{self._store.uri.rstrip('/')}/{self._folder}"

    def _key(self, number: int) -> str:
        return f"{self._folder}/{number:06d}.json"

    def _corrupt(self, problem: str) -> RatchetError:
        return RatchetError(
            f"the ledger at {self._where} is corrupt: {problem}",
            "restore that object from a backup or an older version of the bucket; nothing is written until then",
        )

    def _length(self) -> int:
        """How many entries there are.

        Raises:
            RatchetError: Keys are not exactly 1 to N.
        """
        numbers, problems = self._listing()
        if problems:
            raise self._corrupt(problems[0])
        return len(numbers)

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
                problems.append(f"{self._key(number - 1)} was changed after {self._key(number)} was written")
            entries.append(entry)
        return entries, problems

    def _check_epoch(self, draft: Draft) -> None:
        champion = self.champion()
        epoch = champion.epoch if champion else 0
        if epoch == draft.epoch:
            return
        mover = next((entry for entry in self.newest() if entry.number == epoch), None)
        moved = (
            f"entry {mover.number} ({mover.kind} of version {mover.version} by {mover.by or mover.run}) has since moved it"
            if mover
            else "there is no champion"
        )
        raise StaleEpochError(
            f"version {draft.version} of {self.model} was judged against champion epoch {draft.epoch}, but {moved} to {epoch}",
            "nothing was changed; start the pipeline again to be judged against the current champion",
        )

    def _check_intent(self, draft: Draft) -> None:
        held = self.open_intent()
        if (held.number if held else 0) == draft.intent:
            return
        other = f"entry {held.number} ({held.run}, version {held.version}, {held.time})" if held else "none is open now"
        raise LostDeployError(
            f"version {draft.version} of {self.model} cannot go live: another deploy came between ({other})",
            f"nothing was changed; see `ratchet model history {self.model}` and try again when that deploy has ended",
        )


def _champion(newest: Iterator[Entry]) -> Champion | None:
    made = next((entry for entry in newest if entry.kind in MAKES_CHAMPION), None)
    return Champion(version=made.version, digest=made.digest, epoch=made.number) if made else None

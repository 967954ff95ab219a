"""An Optuna study in the project's store: a log of numbered objects, each created once, in a folder or a bucket alike."""

import json
from collections.abc import Iterator
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.store import Store


class StoreJournal(BaseJournalBackend):  # type: ignore[misc]
    """Optuna's journal over a `Store`. Creating an object that exists fails, so two writers never write the same entry.

    Args:
        store: The store.
        prefix: Folder of the log.
    """

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = prefix
        self._end = 0

    def check(self) -> None:
        """Refuse a log with a hole in it: it would be filled, and the entries after it taken for later ones.

        Raises:
            RatchetError: An entry is missing, or something else lies among them.
        """
        for number, key in enumerate(self._store.keys(self._prefix)):
            if key != self._key(number):
                raise self._damaged(f"{self._key(number)} is missing")

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Entries from a number on.

        Raises:
            RatchetError: One is damaged.
        """
        number = log_number_from
        while (content := self._store.get(self._key(number))) is not None:
            try:
                # Not `loads`: Optuna itself writes an infinite value as Infinity.
                entry = json.loads(content)
                if not isinstance(entry["op_code"], int):
                    raise ValueError("op_code is no number")
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise self._damaged(f"{self._key(number)} is no entry of a study ({error})") from error
            number += 1
            self._end = max(self._end, number)
            yield entry

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries; when someone else was faster, after theirs."""
        for log in logs:
            content = json.dumps(log, separators=(",", ":")).encode()
            while not self._store.create(self._key(self._end), content):
                self._end += 1
            self._end += 1

    def _damaged(self, what: str) -> RatchetError:
        return RatchetError(
            f"the study {self._prefix} in the store {self._store.uri} is damaged: {what}",
            f"restore that object, or delete the folder {self._prefix}: the search then starts anew",
        )

    def _key(self, number: int) -> str:
        return f"{self._prefix}/{number:08d}.json"

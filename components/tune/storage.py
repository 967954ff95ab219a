"""An Optuna study in the project's store: a log of numbered objects, each created once, in a folder or a bucket alike."""

import json
from collections.abc import Iterator
from typing import Any

from optuna.storages.journal import BaseJournalBackend

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

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Entries from a number on."""
        number = log_number_from
        while (content := self._store.get(self._key(number))) is not None:
            number += 1
            self._end = max(self._end, number)
            yield json.loads(content)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries; when someone else was faster, after theirs."""
        for log in logs:
            content = json.dumps(log, separators=(",", ":")).encode()
            while not self._store.create(self._key(self._end), content):
                self._end += 1
            self._end += 1

    def _key(self, number: int) -> str:
        return f"{self._prefix}/{number:08d}.json"

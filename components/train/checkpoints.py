"""Checkpoints of a fit in the store: written every few seconds, and once more when the process is told to end.

On a cluster a signal may never reach Python, so safety rests on the periodic ones: a process that dies loses at most `EVERY_SECONDS`
of its fit, or nine times what writing a checkpoint takes where that is longer, and the batch (or epoch) at which it stood.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from kfp_ratchet.components.shared.errors import RatchetError, disk_trouble
from kfp_ratchet.components.shared.store import Store

EVERY_SECONDS = 10.0
_SHARE = 9.0
"""Fitting takes at least nine times as long as writing checkpoints."""
_MOST_REFUSED = 3


class PreemptedError(RatchetError):
    """The process was told to end while it fitted: no fault of the workload's. Exit code 3."""

    kind: ClassVar[str] = "preempted"


class Checkpoints:
    """The checkpoint of one fit.

    Args:
        store: Where it lies; None keeps none.
        key: Names this very fit.
        every_seconds: Least time between two; 0 takes every one.
    """

    def __init__(self, store: Store | None, key: str, every_seconds: float = EVERY_SECONDS) -> None:
        self._store = store
        self._key = key
        self._every = every_seconds
        self._due = time.monotonic() + every_seconds
        self._kept = False
        self._refused = 0
        self._wanted = False
        self._ending = False

    def load(self) -> bytes | None:
        """The last one, None when there is none."""
        content = self._store.get(self._key) if self._store else None
        self._kept = content is not None
        return content

    def save(self, content: Callable[[], bytes]) -> None:
        """Write one when it is due; `content` is called only then.

        A store that is away for a while costs no fit: the next one that is due is written instead.

        Raises:
            PreemptedError: The process was told to end; this one is written.
            RatchetError: The disk is full or not to be written, or the store took none three times in a row.
        """
        self._wanted = True
        began = time.monotonic()
        if self._store is not None and (self._ending or began >= self._due):
            self._put(self._store, content())
            ended = time.monotonic()
            self._due = ended + (max(self._every, _SHARE * (ended - began)) if self._every else 0.0)
        if self._ending:
            raise self._preempted()

    def _put(self, store: Store, content: bytes) -> None:
        try:
            store.put(self._key, content)
        except RatchetError as error:
            self._refused += 1
            if disk_trouble(error) or self._refused >= _MOST_REFUSED:
                raise
        else:
            self._kept, self._refused = True, 0

    def finish(self) -> None:
        """Remove what a fit that came to its end no longer needs."""
        if self._store is not None and self._kept:
            self._store.delete(self._key)

    @contextlib.contextmanager
    def heeding_sigterm(self) -> Iterator[None]:
        """Within, SIGTERM lets the fit go on to its next `save` and ends it there; at once when it never saves, or when told twice."""

        def told(number: int, frame: Any) -> None:
            if self._store is None or not self._wanted or self._ending:
                raise self._preempted()
            self._ending = True

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, told)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _preempted(self) -> PreemptedError:
        kept = "a checkpoint is kept" if self._kept else "no checkpoint was kept"
        return PreemptedError(
            f"the fit was told to end (SIGTERM); {kept}",
            "try the step again, or start the run again: it goes on from its last checkpoint"
            if self._kept
            else "try the step again, or start the run again",
        )

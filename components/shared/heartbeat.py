"""A sign of life while a step says nothing: how long it has run and how much memory it holds, so that its death can be explained."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from kfp_ratchet.components.shared.attempts import near_limit
from kfp_ratchet.components.shared.cgroup import memory_limit_mb, memory_used_mb

_BEAT_SECONDS = 30.0
_LOOK_SECONDS = 0.5
_MORE = 1.05
"""Near the limit, each growth by this factor is told at once."""


class Heartbeat:
    """Calls `beat` every 30 s, and at once when the container's memory comes near its limit.

    Args:
        beat: Writes a sign of life; called from a thread of its own.
    """

    def __init__(self, beat: Callable[[], None]) -> None:
        self.memory_mb = memory_used_mb()
        self.limit_mb = memory_limit_mb()
        self._beat = beat
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def look(self) -> None:
        """Look at the memory; `memory_mb` is what was seen last: a death is judged by that, not by an earlier peak."""
        self.memory_mb = memory_used_mb()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        wait = _BEAT_SECONDS if self.limit_mb is None else _LOOK_SECONDS
        waited, told = 0.0, 0.0
        while not self._over.wait(wait):
            waited += wait
            self.look()
            is_near = near_limit(self.memory_mb, self.limit_mb)
            told = told if is_near else 0.0
            alarming = is_near and (self.memory_mb or 0.0) > told * _MORE
            if alarming or waited >= _BEAT_SECONDS:
                waited, told = 0.0, self.memory_mb or 0.0
                self._beat()

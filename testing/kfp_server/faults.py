"""What a network and a tired server do to a call, said in advance by a test."""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Fault:
    """One thing to go wrong: an answer instead of (or `after`) the work, or a connection that is cut."""

    method: str
    path: re.Pattern[str]
    status: int
    body: str
    headers: Mapping[str, str]
    times: int
    after: bool
    cut: bool


@dataclass
class Faults:
    """Those that are still to come."""

    waiting: list[Fault] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, method: str, path: str) -> Fault | None:
        """The first fault that is meant for a call; it is used up by that."""
        with self.lock:
            for fault in self.waiting:
                if fault.method in ("*", method) and fault.path.search(path):
                    fault.times -= 1
                    if fault.times <= 0:
                        self.waiting.remove(fault)
                    return fault
        return None

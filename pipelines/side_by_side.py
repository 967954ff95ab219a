"""The same work for many names, on as many processors as there are."""

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from typing import Any, TypeVar

from kfp_ratchet.components.shared.cgroup import available_cpus

Found = TypeVar("Found")
_EACH = 8
"""Names that make another process worth its start."""
_work: Callable[[str], Any]


def side_by_side(work: Callable[[str], Found], names: Sequence[str]) -> list[Found]:
    """What some work finds for each name, in their order; an error of any is raised.

    Args:
        work: Pure; what it finds travels between processes.
        names: What it is called with.
    """
    wanted = min(available_cpus(), len(names) // _EACH)
    # A fork has everything that is imported already. It would be without this process's other threads, which may hold a lock.
    if wanted < 2 or sys.platform != "linux" or threading.active_count() > 1:
        return [work(name) for name in names]
    with get_context("fork").Pool(wanted, _begin, (work,)) as pool:
        return pool.map(_call, names, chunksize=1)


def _begin(work: Callable[[str], Any]) -> None:
    global _work
    _work = work
    # The parent is interrupted, too, and ends its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _call(name: str) -> Any:
    return _work(name)

"""Watches a run on this machine: a step that runs too long, that does not end though its work has, or that floods the log.

On a cluster the kubelet does this; here nobody else would, and one hanging fit would keep a nightly run from ever ending.
"""

import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.journal import Failure, Record, end_record
from kfp_ratchet.components.shared.store import Store

MARK = "RATCHET_RUN"
"""Environment variable that holds the run's folder, in every process that a run starts; a model server starts without it."""

_LINGER_SECONDS = 60.0
_STOP_SECONDS = 5.0
_LOG_BYTES = 100_000_000
_FULL_BYTES = 100_000
_CUT = b"\n[... left out here: the log may have %d MB]\n"
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Watchdog:
    """Watches the steps of one run.

    Args:
        store: Where the journal lies.
        folder: The run's folder; holds `log.txt`.
        pid: The run's process, whose descendants the steps are.
        timeout: How long a step may run, such as 90s, 30m, 6h or 2d; "off" for as long as it likes.
        in_containers: The steps are containers: no descendants, and they leave nothing behind.
    """

    def __init__(self, store: Store, folder: Path, pid: int, timeout: str, *, in_containers: bool = False) -> None:
        self._store = store
        self._folder = folder
        self._pid = pid
        self._timeout = timeout
        self._in_containers = in_containers
        self._ended: dict[str, float] = {}

    def look(self, records: Mapping[str, Record]) -> None:
        """End what should have ended; call it several times a second with the journal's records by step."""
        cut_log(self._folder / "log.txt")
        for step, record in records.items():
            if record.state == "running":
                if _overdue(record, self._timeout):
                    self._end(record, _too_long(step, self._timeout))
            elif time.monotonic() - self._ended.setdefault(step, time.monotonic()) > _LINGER_SECONDS:
                self._ended[step] = time.monotonic()
                self._end(record, _lingers(step) if record.state == "succeeded" else None)
                # What a step left behind may hold its output open, which KFP reads to the end.
                if not self._in_containers:
                    end(orphans(self._folder, self._pid))

    def _end(self, record: Record, failure: Failure | None) -> None:
        """End a step's process with its children; its record says why before KFP can notice."""
        steps = members(self._folder) if self._in_containers else _below(self._pid)
        process = next((one for one in steps if one.pid == record.pid), None)
        if process is None:
            return
        with suppress(psutil.Error):
            # Stopped first, so that it does not write over what is written about it.
            process.suspend()
        if failure is not None:
            with suppress(RatchetError):
                end_record(self._store, record, failure)
        end([*_children(process), process])


def members(folder: Path) -> list[psutil.Process]:
    """All processes that a run has started and that have not ended, wherever they have gone."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == str(folder):
                found.append(process)
    return found


def orphans(folder: Path, pid: int) -> list[psutil.Process]:
    """Processes that a step of the run with that pid left behind."""
    known = {pid, *(process.pid for process in _below(pid))}
    return [process for process in members(folder) if process.pid not in known]


def end(processes: Iterable[psutil.Process]) -> None:
    """Kill processes and wait a moment for them to go."""
    killed = list(processes)
    for process in killed:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(killed, timeout=_STOP_SECONDS)


def cut_log(log: Path) -> None:
    """Keep a log that is appended to within bounds: its first half stays, and what comes after the cut."""
    with suppress(OSError):
        if log.stat().st_size > _LOG_BYTES:
            with log.open("r+b") as file:
                file.truncate(_LOG_BYTES // 2)
                file.seek(0, 2)
                file.write(_CUT % (_LOG_BYTES // 1_000_000))


def full_disk(folder: Path) -> str:
    """What to do when the disk of a run, or that of temporary files, is full: a step cannot write down that it is; "" when none is."""
    for place in (folder, Path(tempfile.gettempdir())):
        if shutil.disk_usage(place).free < _FULL_BYTES:
            return (
                f"the disk of {place} is full: free space, then start the run again, finished steps come from the cache"
            )
    return ""


def _overdue(record: Record, timeout: str) -> bool:
    if timeout == "off":
        return False
    allowed = timedelta(**{_UNITS[timeout[-1]]: int(timeout[:-1])})
    return datetime.now(UTC) - datetime.fromisoformat(record.started) > allowed


def _too_long(step: str, timeout: str) -> Failure:
    return Failure(
        kind=RatchetError.kind,
        message=f"{step} ran longer than the {timeout} that step_timeout allows, and was ended",
        remedy="look in the log for what it waits for, or raise step_timeout in ratchet.yaml; then start the run again",
    )


def _lingers(step: str) -> Failure:
    return Failure(
        kind=RatchetError.kind,
        message=f"{step} had done its work, but its process did not end within {_LINGER_SECONDS:.0f} s, and was killed",
        remedy="a thread that the workload started still ran: end it in fit, or make it a daemon",
    )


def _below(pid: int) -> list[psutil.Process]:
    try:
        return _children(psutil.Process(pid))
    except psutil.Error:
        return []


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [one for one in process.children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE]
    except psutil.Error:
        return []

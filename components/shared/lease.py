"""A lease: one holder at a time for a name in the store, and a dead holder keeps nobody waiting for long.

Leases are objects `leases/<name>/<number>.json`, each created only if it does not exist yet, so that of many who want the next exactly
one gets it. The holder changes its object every few seconds; one that no longer changes is dead. No clocks are compared. On the same
machine the holder's process is looked for as well, so that a killed step can be repeated at once.
"""

import contextlib
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.store import Store

_BEAT_SECONDS = 10.0
_DEAD_SECONDS = 50.0
_POLL_SECONDS = 0.5


class _Holder(BaseModel):
    """What a lease's object says."""

    model_config = ConfigDict(frozen=True)

    machine: str
    host: str
    pid: int
    token: str
    beat: int = 0
    ended: bool = False

    @property
    def content(self) -> bytes:
        return self.model_dump_json().encode()


@contextlib.contextmanager
def lease(store: Store, name: str, progress: Callable[[str], None] = lambda line: None) -> Iterator[None]:
    """Hold the lease on a name; waits while another holds it.

    A holder that stood still for a minute (a suspended machine) may find another at work beside it: what is done under a lease must
    be harmless when done twice.

    Args:
        store: Where it lies.
        name: What is held, as a path of plain names.
        progress: Told whom it waits for.
    """
    me = _Holder(machine=_machine(), host=platform.node(), pid=os.getpid(), token=uuid.uuid4().hex)
    key = _acquire(store, f"leases/{name}", me, progress)
    done = threading.Event()
    beating = threading.Thread(target=_beat, args=(store, key, me, done), daemon=True)
    beating.start()
    try:
        yield
    finally:
        done.set()
        beating.join()
        with contextlib.suppress(RatchetError):
            store.put(key, me.model_copy(update={"ended": True}).content)


def _acquire(store: Store, folder: str, me: _Holder, progress: Callable[[str], None]) -> str:
    number = max((_number(store, key) for key in store.keys(folder)), default=0)
    seen, since = None, time.monotonic()
    while True:
        at = f"{folder}/{number:06d}.json"
        content = store.get(at) if number else None
        if content != seen:
            seen, since = content, time.monotonic()
        holder = _read(store, at, content) if content is not None else None
        if holder is None or _is_over(holder) or time.monotonic() - since > _DEAD_SECONDS:
            number += 1
            key = f"{folder}/{number:06d}.json"
            if store.create(key, me.content):
                return key
            continue
        progress(f"waiting for process {holder.pid} on {holder.host}, which does the same")
        time.sleep(_POLL_SECONDS)


def _number(store: Store, key: str) -> int:
    if not Path(key).stem.isdecimal():
        raise _damaged(store, key)
    return int(Path(key).stem)


def _read(store: Store, key: str, content: bytes) -> _Holder:
    try:
        return _Holder.model_validate_json(content)
    except ValidationError:
        raise _damaged(store, key) from None


def _damaged(store: Store, key: str) -> RatchetError:
    return RatchetError(
        f"{key} in the store {store.uri} is not a lease", "delete it when no run is under way, then start the run again"
    )


def _is_over(holder: _Holder) -> bool:
    if holder.ended or holder.machine != _machine():
        return holder.ended
    try:
        os.kill(holder.pid, 0)
    except OSError as error:
        # A process of somebody else's may not be signalled, but it is there.
        return isinstance(error, ProcessLookupError)
    return False


def _beat(store: Store, key: str, me: _Holder, done: threading.Event) -> None:
    beat = 0
    while not done.wait(_BEAT_SECONDS):
        beat += 1
        with contextlib.suppress(RatchetError):
            store.put(key, me.model_copy(update={"beat": beat}).content)


def _machine() -> str:
    """Where a pid means the same process: this boot of this kernel and this pid namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return platform.node()

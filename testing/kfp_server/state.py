"""Everything the server holds, its clock, and the rules that several nouns need."""

import random
import string
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from kfp_ratchet.testing.kfp_server.answers import FORBIDDEN, INVALID, Json, refusal
from kfp_ratchet.testing.kfp_server.objects import Experiment, Pipeline, Run, Schedule, Version, folded

DEFAULT_EXPERIMENT = "All runs created without specifying an experiment will be grouped here."
SINGLE_USER_NAMESPACE = "kubeflow"
"""Where the real server puts schedules in single-user mode."""


class Clock:
    """Seconds since 1970: stands still and is advanced by hand (`pace` 0), or runs `pace` times as fast as the machine's."""

    def __init__(self, pace: float, begin: float | None = None) -> None:
        self.pace = pace
        self._base = float(int(time.time() if begin is None else begin))
        self._started = time.monotonic()
        self._event: float | None = None
        self.worked_off = self._base
        """Up to when all that was due has happened."""

    @property
    def now(self) -> float:
        """The present; while events are worked off, the time of the event."""
        return self.target if self._event is None else self._event

    @property
    def target(self) -> float:
        """Where the clock stands when nothing is left to work off."""
        return self._base + self.pace * (time.monotonic() - self._started)

    def advance(self, seconds: float) -> None:
        """Move on; the events in between are worked off later."""
        self._base += seconds

    @contextmanager
    def replaying(self) -> Iterator[Callable[[float], None]]:
        """While events are worked off: the clock stands where the last ones ended, and is then set to the time of each."""

        def at(seconds: float) -> None:
            self._event = seconds

        until = self.target
        at(self.worked_off)
        try:
            yield at
        finally:
            self._event = None
            self.worked_off = until


@dataclass
class State:
    """What is on the server. Every access holds `lock`."""

    clock: Clock
    namespaces: tuple[str, ...] = ()
    """Those of multi-user mode; none is single-user mode."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    versions: dict[str, dict[str, Version]] = field(default_factory=dict)
    """Of each pipeline, by its id."""
    experiments: dict[str, Experiment] = field(default_factory=dict)
    schedules: dict[str, Schedule] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    new_id: Callable[[], str] = lambda: str(uuid.uuid4())
    """Makes the ids."""
    started: Callable[[Run], bool] | None = None
    """Called for each run that begins; says whether somebody else says how it goes on."""

    @property
    def second(self) -> int:
        """Now, as `created_at` has it."""
        return int(self.clock.now)

    def now(self) -> datetime:
        """The server's clock."""
        return datetime.fromtimestamp(self.clock.now, UTC)

    def namespace(self, asked: str) -> str:
        """The namespace something is put into: ignored in single-user mode, and checked in multi-user mode."""
        if not self.namespaces:
            return ""
        if not asked:
            raise refusal(INVALID, "Invalid input error: Namespace cannot be empty", "Namespace cannot be empty")
        if asked not in self.namespaces:
            text = f"User is not authorized with reason: no access to namespace {asked}"
            raise refusal(FORBIDDEN, f"PermissionDenied: {text}", text)
        return asked

    def default_experiment(self, namespace: str = "") -> Experiment:
        """Where what names no experiment goes; created when first needed."""
        for each in self.experiments.values():
            if each.name == "Default" and each.namespace == namespace:
                return each
        made = Experiment(self.new_id(), "Default", DEFAULT_EXPERIMENT, namespace, self.second)
        self.experiments[made.id] = made
        return made

    def newest_version(self, pipeline_id: str) -> Version | None:
        """The one with the latest second of creation. Of two in one second any may come; here the larger id."""
        return max(self.versions.get(pipeline_id, {}).values(), key=lambda each: (each.created, each.id), default=None)


Named = TypeVar("Named", Pipeline, Version, Experiment)


def by_name(entries: dict[str, Named], name: str, namespace: str | None = None) -> Named | None:
    """The entry of a name as the database compares names."""
    wanted = folded(name)
    for each in entries.values():
        if folded(each.name) == wanted and (namespace is None or getattr(each, "namespace", "") == namespace):
            return each
    return None


def workflow_name(prefix: str) -> str:
    """Name of an object in the cluster: a prefix and five random characters."""
    kept = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in prefix.lower())
    return kept + "".join(random.choices(string.ascii_lowercase + string.digits, k=5))  # noqa: S311


def reference_ids(reference: Json) -> tuple[str, str]:
    """Pipeline id and version id of a `pipeline_version_reference`; "" where it has none."""
    return str(reference.get("pipeline_id") or ""), str(reference.get("pipeline_version_id") or "")

"""What a Kubeflow Pipelines server holds, as plain values. Times are UTC; None where the server has none (it says 1970 or year 1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

RunState = Literal["PENDING", "RUNNING", "SUCCEEDED", "SKIPPED", "FAILED", "CANCELING", "CANCELED", "PAUSED", ""]
ENDED: frozenset[RunState] = frozenset({"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"})


@dataclass(frozen=True)
class Health:
    """What a server says of itself; texts that it does not say are ""."""

    version: str
    multi_user: bool
    now: datetime | None
    """Its clock, from the answer's `Date`, exact to a second."""


@dataclass(frozen=True)
class Pipeline:
    """A name under which versions are kept."""

    id: str
    name: str
    description: str
    created: datetime


@dataclass(frozen=True)
class Version:
    """An uploaded pipeline; it never changes."""

    id: str
    pipeline_id: str
    name: str
    description: str
    created: datetime
    """In whole seconds: of two in one second nobody can tell which is newer."""
    spec: Mapping[str, Any]
    """The PipelineSpec as JSON; with a platform spec, an object of `pipeline_spec` and `platform_spec`."""


@dataclass(frozen=True)
class Experiment:
    """Where runs are filed."""

    id: str
    name: str
    description: str
    archived: bool


@dataclass(frozen=True)
class Task:
    """A node of a run's workflow; see "Runs" in the server's recorded behaviour for which there are."""

    name: str
    state: RunState
    started: datetime | None
    ended: datetime | None
    pods: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """A run. Its name identifies nothing."""

    id: str
    name: str
    description: str
    state: RunState
    experiment_id: str
    pipeline_id: str
    """"" when it was started from a file; then `spec` holds what runs."""
    version_id: str
    recurring_run_id: str
    parameters: Mapping[str, Any]
    pipeline_root: str
    created: datetime
    scheduled: datetime | None
    finished: datetime | None
    archived: bool
    tasks: tuple[Task, ...] = ()
    spec: Mapping[str, Any] | None = None

    @property
    def over(self) -> bool:
        """Whether it has ended, well or not."""
        return self.state in ENDED


@dataclass(frozen=True)
class Trigger:
    """When a schedule fires: a cron expression in the server's time zone, or an interval."""

    cron: str = ""
    """Five fields, or six with seconds first."""
    interval_seconds: int = 0
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True)
class NewSchedule:
    """A recurring run to create."""

    name: str
    description: str
    experiment_id: str
    pipeline_id: str
    version_id: str
    """"" takes the newest version at each firing."""
    trigger: Trigger
    parameters: Mapping[str, Any]
    pipeline_root: str = ""
    catch_up: bool = False
    """Whether times that were missed are made up for, one by one."""
    max_concurrency: int = 1
    """1 to 10."""
    enabled: bool = False
    service_account: str = ""


@dataclass(frozen=True)
class Schedule(NewSchedule):
    """A recurring run. It can be enabled, disabled and deleted, never changed; its name identifies nothing."""

    id: str = ""
    created: datetime | None = None

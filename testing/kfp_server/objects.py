"""What the server keeps, and how each is shown: fields that are empty are left out, int64 are strings, times have whole seconds."""

import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from kfp_ratchet.testing.kfp_server.answers import Json

NEVER = "1970-01-01T00:00:00Z"


def timestamp(seconds: float) -> str:
    """RFC 3339 in whole seconds since 1970."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def folded(name: str) -> str:
    """A name as the database compares it: without capitals, accents and trailing spaces."""
    if name.isascii():
        return name.lower().rstrip(" ")
    plain = "".join(part for part in unicodedata.normalize("NFKD", name) if not unicodedata.combining(part))
    return plain.casefold().rstrip(" ")


def filled(**fields: Any) -> Json:
    """The fields that are not empty."""
    return {name: value for name, value in fields.items() if value not in ("", None, {}, [], False)}


@dataclass
class Pipeline:
    """A name under which versions are kept."""

    id: str
    name: str
    description: str
    namespace: str
    created: int

    def shown(self) -> Json:
        """As the API shows it."""
        return filled(
            pipeline_id=self.id,
            display_name=self.name,
            name=self.name,
            description=self.description,
            namespace=self.namespace,
            created_at=timestamp(self.created),
        )


@dataclass
class Version:
    """An uploaded pipeline; `spec` is PipelineSpec as JSON, or an object of `pipeline_spec` and `platform_spec`."""

    id: str
    pipeline_id: str
    name: str
    description: str
    created: int
    spec: Json

    def shown(self) -> Json:
        """As the API shows it."""
        return filled(
            pipeline_id=self.pipeline_id,
            pipeline_version_id=self.id,
            display_name=self.name,
            name=self.name,
            description=self.description,
            created_at=timestamp(self.created),
            pipeline_spec=self.spec,
        )


@dataclass
class Experiment:
    """Where runs are filed."""

    id: str
    name: str
    description: str
    namespace: str
    created: int
    archived: bool = False
    last_run: int = 0

    def shown(self) -> Json:
        """As the API shows it."""
        return filled(
            experiment_id=self.id,
            display_name=self.name,
            description=self.description,
            namespace=self.namespace,
            created_at=timestamp(self.created),
            storage_state="ARCHIVED" if self.archived else "AVAILABLE",
            last_run_created_at=timestamp(self.last_run),
        )


@dataclass(frozen=True)
class Timing:
    """A trigger, in seconds since 1970."""

    cron: str
    interval: int
    start: float | None
    end: float | None
    created: float
    """When the schedule was created: an interval without a start counts from there."""

    @property
    def first(self) -> float:
        """From when times are counted: a cron expression's own times after it, and one interval after it."""
        return self.created if self.start is None else self.start


@dataclass
class Schedule:
    """A recurring run. `spec` is what a pinned one runs, kept when its version is deleted; None takes the newest version."""

    id: str
    name: str
    description: str
    reference: Json
    inline: Json
    runtime_config: Json
    service_account: str
    max_concurrency: int
    trigger: Json
    enabled: bool
    no_catchup: bool
    namespace: str
    experiment_id: str
    created: int
    updated: int
    spec: Json | None
    timing: Timing | None
    workflow: str
    """Name of the object in the cluster; fired runs are named after it."""
    fired: int = 0
    """How many runs were fired."""
    last_due: float | None = None
    """The due time last worked off, seconds since 1970."""

    def shown(self) -> Json:
        """As the API shows it."""
        shown = filled(
            recurring_run_id=self.id,
            display_name=self.name,
            description=self.description,
            pipeline_version_reference=self.reference,
            pipeline_spec=self.inline,
            runtime_config=shown_config(self.runtime_config),
            service_account=self.service_account,
            max_concurrency=str(self.max_concurrency),
            mode="ENABLE" if self.enabled else "DISABLE",
            created_at=timestamp(self.created),
            updated_at=timestamp(self.updated),
            status="ENABLED" if self.enabled else "DISABLED",
            no_catchup=self.no_catchup,
            namespace=self.namespace,
            experiment_id=self.experiment_id,
        )
        return shown | {"trigger": self.trigger}


RunState = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELING", "CANCELED", "SKIPPED", "PAUSED"]
ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"})


@dataclass(frozen=True)
class Row:
    """A row of `task_details`, in seconds since the run began. Equal begin and end: it is skipped."""

    name: str
    begin: int
    end: int
    pod: bool
    """Whether it waits for a pod, and is PENDING before it is RUNNING."""


@dataclass
class Run:
    """A run. `spec` is what it runs, also when the version is deleted."""

    id: str
    name: str
    description: str
    experiment_id: str
    reference: Json
    inline: Json
    runtime_config: Json
    service_account: str
    spec: Json
    created: int
    scheduled: int
    workflow: str
    schedule_id: str = ""
    state: RunState = "PENDING"
    finished: int = 0
    archived: bool = False
    history: list[Json] = field(default_factory=list)
    tasks: list[Json] = field(default_factory=list)
    simulated: bool = True
    """Whether the clock moves it on; not once a test sets its state."""
    changed: float = 0.0
    """When the clock last moved it on, seconds since 1970."""
    elapsed: int = 0
    """Seconds it has run for, in whole beats."""
    rows: list[Row] = field(default_factory=list)
    """What the clock will show, planned when it begins."""

    def enter(self, state: RunState, now: float) -> None:
        """Take on a state and note it, once."""
        self.state = state
        self.finished = int(now) if state in ENDED else 0
        if not self.history or self.history[-1]["state"] != state:
            self.history.append({"update_time": timestamp(now), "state": state})

    def shown(self) -> Json:
        """As the API shows it."""
        return filled(
            experiment_id=self.experiment_id,
            run_id=self.id,
            display_name=self.name,
            description=self.description,
            storage_state="ARCHIVED" if self.archived else "AVAILABLE",
            pipeline_version_reference=self.reference,
            pipeline_spec=self.inline,
            runtime_config=shown_config(self.runtime_config),
            service_account=self.service_account,
            created_at=timestamp(self.created),
            scheduled_at=timestamp(self.scheduled),
            finished_at=timestamp(self.finished),
            state=self.state,
            run_details=filled(task_details=[dict(task) for task in self.tasks]),
            recurring_run_id=self.schedule_id,
            state_history=list(self.history),
        )


def shown_config(config: Json) -> Json:
    """A runtime configuration; an empty one is not shown at all."""
    return filled(parameters=config.get("parameters"), pipeline_root=config.get("pipeline_root"))

"""The run journal: each step says what it found, or why it failed, before it ends.

A Kubeflow server loses the reason of a failure, so every step writes one small JSON record to the store under the run's id.
`notify`, the report and the command line read those. A step without a record came from the cache or was never reached.
"""

import contextlib
import json
import os
import re
import resource
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kfp_ratchet.components.shared.attempts import Attempt
from kfp_ratchet.components.shared.canonical import loads
from kfp_ratchet.components.shared.credentials import without_credentials
from kfp_ratchet.components.shared.environment import Environment
from kfp_ratchet.components.shared.errors import RatchetError, disk_trouble
from kfp_ratchet.components.shared.heartbeat import Heartbeat
from kfp_ratchet.components.shared.store import Store

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PROGRESS_SECONDS = 0.25
_NO_RUN = "adhoc"

State = Literal["running", "succeeded", "failed"]


class Origin(BaseModel):
    """Which step of which run made an artifact."""

    model_config = ConfigDict(frozen=True)

    run: str
    step: str

    @classmethod
    def of(cls, uri: str) -> Self:
        """Read run and step from an artifact's URI.

        Locally an output lies at `<root>/<run>/<step>/<output>`; on a cluster at `<root>/<pipeline>/<run>/<step>/<uuid>/<output>`.
        Some servers put the name that people see in the step's place: ours begin with the step's own word.
        """
        # A pipeline root may carry settings of its bucket, as in s3://bucket/root?endpoint=https://...
        parts = PurePosixPath(uri.partition("?")[0] if "://" in uri else uri).parts
        parts = parts[:-2] if len(parts) > 2 and _UUID.fullmatch(parts[-2]) else parts[:-1]
        if len(parts) < 2:
            return cls(run=_NO_RUN, step=parts[-1] if parts else "step")
        return cls(run=parts[-2], step=parts[-1].partition(" ")[0])


class Failure(BaseModel):
    """Why a step failed: what a reader needs, and the traceback for `-v`."""

    kind: str
    message: str
    remedy: str = ""
    traceback: str = ""


class Record(BaseModel):
    """What one step left in the journal."""

    run: str
    step: str
    state: State = "running"
    line: str = Field(default="", description="One line of what the step found or is doing.")
    details: dict[str, Any] = Field(default_factory=dict, description="What the report draws; plain JSON, no NaN.")
    inputs: dict[str, Origin] = Field(default_factory=dict, description="Which run and step made each input artifact.")
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="The step's other inputs, as it was called; never a credential."
    )
    environment: Environment = Field(default=Environment(), description="What it ran on; told when it has succeeded.")
    error: Failure | None = None
    pid: int = Field(default=0, description="Process of the step, for whoever watches it on the same machine.")
    started: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_mb: float = Field(default=0.0, description="Most that the step's own process held.")
    memory_mb: float | None = Field(
        default=None, description="What the container held when last looked at, file cache left out."
    )
    memory_limit_mb: float | None = Field(default=None, description="What the container may use; None without a limit.")
    attempts: tuple[Attempt, ...] = Field(
        default=(), description="Earlier attempts of this step in this run, which died or failed."
    )

    def ended_attempt(self) -> Attempt:
        """This record as that of an attempt that is over."""
        return Attempt(
            started=self.started,
            seconds=self.seconds,
            line=self.line,
            failure=self.error.kind if self.error else "",
            memory_mb=self.memory_mb,
            memory_limit_mb=self.memory_limit_mb,
        )


class Step:
    """A running step's hold on its record."""

    def __init__(self, store: Store | None, record: Record) -> None:
        self.record = record
        self.heartbeat = Heartbeat(self._beat)
        self._store = store
        self._began = time.monotonic()
        self._written = 0.0
        self._text = ""
        self._replaced = False
        self._lock = threading.Lock()

    def progress(self, line: str) -> None:
        """Say what the step is doing; written at most four times a second. A store that is away for a while fails nothing."""
        self.record.line = line
        if time.monotonic() - self._written >= _PROGRESS_SECONDS:
            with contextlib.suppress(RatchetError):
                self.write()

    def found(self, line: str, **details: Any) -> None:
        """Say what the step found: one line for people, `details` (plain JSON values) for the report."""
        self.record.line = line
        self.record.details.update(details)

    def write(self) -> None:
        """Write the record as it stands."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self._written = time.monotonic()
        self.record.seconds = round(self._written - self._began, 3)
        self.record.cpu_seconds = round(usage.ru_utime + usage.ru_stime, 3)
        self.record.peak_memory_mb = round(usage.ru_maxrss / 1024, 1)
        self.heartbeat.look()
        self.record.memory_mb, self.record.memory_limit_mb = self.heartbeat.memory_mb, self.heartbeat.limit_mb
        if self._store is not None and not self._replaced:
            with self._lock:
                self._text = self.record.model_dump_json(indent=1, fallback=_plain)
                self._store.put(_key(self.record.run, self.record.step), self._text.encode())

    def _beat(self) -> None:
        # The record itself is the step's to change at any moment, so its last text is what goes out again.
        with self._lock, contextlib.suppress(RatchetError):
            there = (
                read_record(self._store, Origin(run=self.record.run, step=self.record.step)) if self._store else None
            )
            # On a node that was given up for lost, a former attempt may live on beside the one that took its place.
            self._replaced = there is not None and there.started != self.record.started
            if self._replaced:
                return
            seconds = round(time.monotonic() - self._began, 3)
            seen = {**json.loads(self._text), "seconds": seconds, "memory_mb": self.heartbeat.memory_mb}
            if self._store is not None and seen["state"] == "running":
                self._store.put(_key(self.record.run, self.record.step), json.dumps(seen, indent=1).encode())


@contextlib.contextmanager
def journal(
    store: str, uri: str, inputs: Mapping[str, str] | None = None, parameters: Mapping[str, Any] | None = None
) -> Iterator[Step]:
    """Keep a step's record: running at once, then succeeded or failed with its reason.

    A record of the same step of the same run is that of an earlier attempt, which died or failed: the new one keeps it in `attempts`.

    Args:
        store: The store's URI; "" keeps no journal (a component used alone in someone's own pipeline).
        uri: URI of any output artifact of this step; run and step are read from it.
        inputs: URIs of the input artifacts by name.
        parameters: The step's other inputs by name, so that it can be called again; credentials are left out.

    Raises:
        RatchetError: The body called `sys.exit`: with status 0, the step would count as a success.
        Exception: Whatever else the body raises, after it is recorded.
    """
    origin = Origin.of(uri)
    objects = Store(store) if store else None
    record = Record(
        run=origin.run,
        step=origin.step,
        inputs={name: Origin.of(value) for name, value in (inputs or {}).items()},
        parameters={name: without_credentials(value) for name, value in (parameters or {}).items()},
        pid=os.getpid(),
        started=datetime.now(UTC).isoformat(timespec="milliseconds"),
        attempts=_attempts(objects, origin),
    )
    step = Step(objects, record)
    step.write()
    step._written = 0.0  # The first line of progress is never held back: often it is the only one.
    try:
        with _no_exit(), step.heartbeat if objects else contextlib.nullcontext():
            yield step
    except BaseException as error:
        record.state = "failed"
        known = isinstance(error, RatchetError)
        record.error = Failure(
            kind=error.kind if isinstance(error, RatchetError) else "unexpected",
            message=error.message if isinstance(error, RatchetError) else f"{type(error).__name__}: {error}",
            remedy=error.remedy if isinstance(error, RatchetError) else disk_trouble(error),
            traceback="" if known and error.__cause__ is None else traceback.format_exc(),
        )
        record.line = record.error.message
        # What went wrong is worth more than that it could not be written down.
        with contextlib.suppress(RatchetError):
            step.write()
        raise
    record.state, record.environment = "succeeded", Environment.now()
    step.write()


def _attempts(store: Store | None, origin: Origin) -> tuple[Attempt, ...]:
    """Those before this one. Components used alone share the run "adhoc", so there nobody can tell."""
    if store is None or origin.run == _NO_RUN:
        return ()
    try:
        before = read_record(store, origin)
    except RatchetError:
        return ()  # Damaged, and about to be replaced.
    if before is None:
        return ()
    return before.attempts if before.state == "succeeded" else (*before.attempts, before.ended_attempt())


@contextlib.contextmanager
def _no_exit() -> Iterator[None]:
    try:
        yield
    except SystemExit as error:
        # The innermost frame is the caller's: sys.exit itself is no Python code.
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise RatchetError(
            f"{place.name} in {place.filename}, line {place.lineno}, called sys.exit({error.code!r})",
            "raise an error instead",
        ) from error


def end_record(store: Store, record: Record, failure: Failure) -> None:
    """Say for a step whose process was ended from outside why it failed."""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(record.started)).total_seconds()
    failed = {"state": "failed", "line": failure.message, "error": failure, "seconds": round(seconds, 3)}
    ended = record.model_copy(update=failed)
    store.put(_key(record.run, record.step), ended.model_dump_json(indent=1).encode())


def read_run(store: Store, run: str) -> dict[str, Record]:
    """All records of a run by step, in the order in which the steps started.

    Raises:
        RatchetError: A record is damaged.
    """
    origins = [Origin(run=run, step=PurePosixPath(key).stem) for key in store.keys(f"runs/{run}/steps")]
    records = [record for origin in origins if (record := read_record(store, origin)) is not None]
    return {record.step: record for record in sorted(records, key=lambda record: record.started)}


def read_record(store: Store, origin: Origin) -> Record | None:
    """One step's record, None when it left none.

    Raises:
        RatchetError: The record is damaged, or another step's.
    """
    key = _key(origin.run, origin.step)
    content = store.get(key)
    if content is None:
        return None
    try:
        record = Record.model_validate(loads(content))
        if (record.run, record.step) != (origin.run, origin.step):
            raise ValueError(f"it is that of {record.step} of {record.run}")
        datetime.fromisoformat(record.started)
    except ValueError as error:
        reason = str(error.errors()[0]["msg"]) if isinstance(error, ValidationError) else str(error)
        raise RatchetError(
            f"the journal record {key} in the store {store.uri} is damaged: {reason}",
            "restore it from a backup, or delete it: the run's report then lacks that step, and nothing else is lost",
        ) from error
    return record


def _plain(value: Any) -> Any:
    # A numpy scalar among the details must not fail a step that did its work.
    return value.item() if hasattr(value, "item") else str(value)


def _key(run: str, step: str) -> str:
    return f"runs/{run}/steps/{step}.json"

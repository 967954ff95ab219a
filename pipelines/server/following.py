"""Follow a run on a server: what its steps say in the journal, and where they say nothing, what the server says of them."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_ratchet.components.notify.run_view import APPROVE, NOTIFY, STEPS, RunView
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.journal import Failure, Record, read_run
from kfp_ratchet.pipelines.run_summary import Bare
from kfp_ratchet.pipelines.server.errors import UnreachableError
from kfp_ratchet.pipelines.server.objects import Run, Task

if TYPE_CHECKING:
    from kfp_ratchet.components.shared.store import Store
    from kfp_ratchet.pipelines.server.connection import Server

_FIRST_SECONDS, _SLOWEST_SECONDS, _GROWTH = 0.5, 5.0, 1.3
"""A server tells news of a run every 10 s or so."""
_AWAY_TIMES = 10
"""How many times its patience a server may be away while a run is followed: the run goes on without it."""
_NO_MORE = frozenset({"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"})


@dataclass(frozen=True)
class Ended:
    """A run on a server that is over, as seen from here."""

    run: Run
    view: RunView | None
    """What its journal says; None where that cannot be read, or the pipeline keeps none."""
    blind: str
    """Why there is no view; "" when there is."""
    report: str = ""
    """Where its report is; "" when none was written."""

    @property
    def exit_code(self) -> int:
        """As of a run on this machine; 3 when the server calls failed what the journal does not."""
        failed = self.run.state != "SUCCEEDED"
        if self.view is None:
            return RatchetError.exit_code if failed else 0
        return self.view.exit_code or (RatchetError.exit_code if failed else 0)

    @property
    def outcome(self) -> str:
        """In one word."""
        if self.view is None or (self.run.state != "SUCCEEDED" and not self.view.exit_code):
            return self.run.state.lower()
        return self.view.outcome

    @property
    def bare(self) -> Bare:
        """What there is to say without a journal."""
        failed = self.run.state != "SUCCEEDED"
        return Bare(self.run.state.lower(), self.blind, f"ratchet runs logs {self.run.id}" if failed else "", failed)

    def summary(self) -> dict[str, Any]:
        """Plain JSON, for scripts."""
        view = self.view
        return {
            "run": self.run.id,
            "name": self.run.name,
            "state": self.run.state,
            "outcome": self.outcome,
            "reason": view.reason if view else self.blind,
            "remedy": view.remedy if view else "",
            "exit_code": self.exit_code,
            "version": (view.details("register").get("version") or view.deployed.get("version")) if view else None,
            "endpoint": view.deployed.get("url") if view and view.outcome == "promoted" else None,
            "decision": view.decision.model_dump(mode="json") if view and view.decision else None,
            "steps": {one.step: {"state": one.state, "run": one.run} for one in view.steps}
            if view
            else {task.name: {"state": task.state} for task in self.run.tasks},
            "report": self.report or None,
        }


class Following:
    """A run that is looked at again and again.

    Args:
        server: Where it is.
        run_id: Which.
        folder: What a relative store is relative to.

    Raises:
        NotFoundError: There is no such run.
    """

    def __init__(self, server: "Server", run_id: str, folder: Path = Path()) -> None:
        self._server = server
        self._folder = folder
        self._store: Store | None = None
        self.run = server.run(run_id)
        self.blind = ""
        """Why the journal cannot be read from here; "" as long as it can."""

    @cached_property
    def spec(self) -> Mapping[str, Any]:
        """The PipelineSpec that runs; empty when its version is deleted."""
        spec = self.run.spec
        if spec is None:
            # Not the newest in its place, when it is deleted: that may have other steps.
            versions = self._server.versions(self.run.pipeline_id) if self.run.pipeline_id else []
            spec = next((one.spec for one in versions if one.id == self.run.version_id), {})
        plain: Mapping[str, Any] = spec.get("pipeline_spec", spec)
        return plain

    def parameter(self, name: str) -> str:
        """The run's value of a parameter, or the pipeline's default; "" without one."""
        defaults = self.spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
        return str(self.run.parameters.get(name, defaults.get(name, {}).get("defaultValue", "")))

    @cached_property
    def steps(self) -> list[str]:
        """Names of the tasks that do something, in order; of another's pipeline as the spec has them."""
        names = list(dict.fromkeys(_executed(self.spec, self.spec.get("root", {}))))
        if not self.keeps_journal:
            return names
        known = [*STEPS, *APPROVE, NOTIFY]
        return sorted(names, key=lambda name: known.index(name) if name in known else len(known))

    @property
    def keeps_journal(self) -> bool:
        """Whether it is a pipeline of ours, whose steps write down what they find."""
        return bool({"comp-pin", "comp-approve"} & set(self.spec.get("components", {})))

    @property
    def store(self) -> "Store | None":
        """The run's store, None as long as it cannot be reached from here: `blind` says why. A folder is made by the first step."""
        if self._store is None:
            self._store = self._opened()
        return self._store

    def _opened(self) -> "Store | None":
        uri = self.parameter("store")
        if not self.keeps_journal:
            self.blind = (
                "the pipeline keeps no journal" if self.spec else "the version that it runs is deleted from the server"
            )
        elif not uri:
            self.blind = "the run has no store"
        elif "://" not in uri and not (self._folder / uri).is_dir():
            self.blind = f"the run's store {uri} is a folder that is not on this machine"
        else:
            try:
                from kfp_ratchet.components.shared.store import Store

                return Store(uri if "://" in uri else str(self._folder / uri))
            except ModuleNotFoundError as error:
                self.blind = f"its store {uri} cannot be read without the Python package {error.name}: pip install 'kfp-ratchet[data]'"
            except RatchetError as error:
                self.blind = f"its store {uri} cannot be read: {error.message}"
        return None

    def records(self) -> dict[str, Record]:
        """By step, its record; where it left none, one made of what the server says of its task."""
        own: dict[str, Record] = {}
        if self.store is not None:
            try:
                own = read_run(self.store, self.run.id)
                self.blind = ""
            except RatchetError as error:
                self.blind = error.message
        tasks = {task.name: task for task in self.run.tasks}
        said = {name: record for name in self.steps if (record := _record(self.run, name, tasks))}
        # A step that is tried again has its former record until it begins.
        tried = {name for name, record in own.items() if record.state == "failed" and _at_work(said.get(name))}
        both = {**said, **{name: record for name, record in own.items() if name not in tried}}
        return {name: both[name] for name in [*self.steps, *own] if name in both}

    def wait(
        self,
        on_change: Callable[[dict[str, Record]], None] = lambda records: None,
        on_away: Callable[[str], None] = lambda why: None,
    ) -> Ended:
        """Look until it is over.

        Args:
            on_change: Called with its records each time.
            on_away: Called when the server does not answer, and with "" when it does again.

        Raises:
            NotFoundError: It was deleted meanwhile.
            UnreachableError: The server stays away.
        """
        pause, away_since = _FIRST_SECONDS, 0.0
        while True:
            on_change(self.records())
            if self.run.over:
                return self._ended()
            time.sleep(pause)
            pause = min(pause * _GROWTH, _SLOWEST_SECONDS)
            try:
                self.run = self._server.run(self.run.id)
                if away_since:
                    on_away("")
                away_since = 0.0
            except UnreachableError as error:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > _AWAY_TIMES * self._server.settings.patience:
                    raise
                on_away(error.message)

    def _ended(self) -> Ended:
        if self.store is None:
            return Ended(self.run, None, self.blind)
        try:
            if not read_run(self.store, self.run.id):
                return Ended(self.run, None, f"no step left a record in {self.store.uri}")
            view = RunView.read(self.store, self.run.id, self.parameter("model_name"))
        except RatchetError as error:
            return Ended(self.run, None, error.message)
        key = f"runs/{self.run.id}/report.html"
        report = ""
        with suppress(RatchetError):
            report = f"{self.store.uri}/{key}" if self.store.get(key) is not None else ""
        return Ended(self.run, view, "", report)


def _executed(spec: Mapping[str, Any], component: Mapping[str, Any]) -> Iterator[str]:
    """Names of the tasks below a component that run a container, in the order of their dependencies as far as names tell."""
    tasks: Mapping[str, Any] = component.get("dag", {}).get("tasks", {})
    waiting = dict(tasks)
    done: set[str] = set()
    while waiting:
        ready = [name for name, task in waiting.items() if set(task.get("dependentTasks", [])) & set(tasks) <= done]
        for name in ready or list(waiting):
            inner = spec.get("components", {}).get(waiting.pop(name).get("componentRef", {}).get("name", ""), {})
            done.add(name)
            if "dag" in inner:
                yield from _executed(spec, inner)
            else:
                yield name


def _record(run: Run, name: str, tasks: Mapping[str, Task]) -> Record | None:
    """What the server says of a task: nothing as long as it waits, and nothing of one that it has from the cache."""
    task, driver = tasks.get(name), tasks.get(f"{name}-driver")
    if task is None or task.state in ("", "SKIPPED"):
        if driver is None or driver.state in ("", "SKIPPED"):
            return None
        failed = driver.state == "FAILED"
        task, line = driver, "its driver failed" if failed else "about to start"
    else:
        failed = task.state == "FAILED"
        line = {"FAILED": "failed, and left no record", "SUCCEEDED": "succeeded"}.get(
            task.state, "its pod starts or runs"
        )
        if task.state == "SUCCEEDED" and tasks.get("executor") is not None and _from_cache(run, task):
            return None
    started = task.started or run.created
    ended = task.ended if task.state in _NO_MORE else None
    return Record(
        run=run.id,
        step=name,
        state="failed" if failed else "succeeded" if task.state == "SUCCEEDED" and task is not driver else "running",
        line=line,
        error=Failure(kind="failed", message=line, remedy="`ratchet runs logs` shows what its pod said")
        if failed
        else None,
        started=started.isoformat(timespec="milliseconds"),
        seconds=max(0.0, ((ended or datetime.now(UTC)) - started).total_seconds()),
    )


def _at_work(record: Record | None) -> bool:
    return record is not None and record.state == "running"


def _from_cache(run: Run, task: Task) -> bool:
    """Whether a step was served from the cache: its executor, which has no name of its own, is skipped right when the step begins."""
    return any(one.name == "executor" and one.state == "SKIPPED" and one.started == task.started for one in run.tasks)

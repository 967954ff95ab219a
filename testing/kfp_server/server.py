"""The double itself: started, told what time it is and what goes wrong, and looked into."""

import json
import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from email.utils import format_datetime
from types import TracebackType
from typing import Any, Self

from kfp_ratchet.testing.kfp_server import firing, workflow
from kfp_ratchet.testing.kfp_server.answers import Json
from kfp_ratchet.testing.kfp_server.faults import Fault, Faults
from kfp_ratchet.testing.kfp_server.objects import ENDED, Run, RunState, timestamp
from kfp_ratchet.testing.kfp_server.state import Clock, State


class KfpServer:
    """A Kubeflow Pipelines API server in memory, on a free port of this machine.

    It answers as a real 2.17 server in single-user mode was recorded to answer: status codes, error bodies, what is left out,
    order, pages, names, schedules. It runs nothing: a run goes through its states as the clock is advanced, or as `set_run`
    or `execute` say.

        with KfpServer() as server:
            client = kfp.Client(host=server.url)

    Not from recordings: multi-user mode (`namespaces`), the check of credentials (`token`, `headers`), and the default page
    size. Those do what their names say and nothing more.

    Args:
        port: 0 takes a free one.
        prefix: What stands before `/apis` in every path, e.g. "/pipeline".
        namespaces: Those of multi-user mode: calls outside of them are refused. None is single-user mode.
        pace: Seconds that the server's clock moves on in a second. 0: it stands still until `advance`.
        begin: What time it is there at first; now when not given.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        prefix: str = "",
        namespaces: Iterable[str] = (),
        pace: float = 0.0,
        begin: datetime | None = None,
    ) -> None:
        self.state = State(Clock(pace, begin.timestamp() if begin else None), tuple(namespaces))
        self.state.started = None
        self.state.default_experiment()
        self.faults = Faults()
        self.delay = 0.0
        """Seconds that every call takes at least."""
        self.token = ""
        """If set, calls need `Authorization: Bearer TOKEN`; else 401."""
        self.headers: dict[str, str] = {}
        """Headers that calls need; else 401."""
        self.execute: Callable[[Json], None] | None = None
        """Called in a thread of its own with each run that starts, as the API shows it."""
        self.calls: list[tuple[str, str]] = []
        """Method and path of every call, in order."""
        self._port = port
        self._prefix = prefix.rstrip("/")
        self._http: Any = None
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._executing: list[threading.Thread] = []

    def __enter__(self) -> Self:
        """Start to listen."""
        from werkzeug.serving import WSGIRequestHandler, make_server

        from kfp_ratchet.testing.kfp_server.http import Application

        now = self.state.now

        class Handler(WSGIRequestHandler):
            """Has the server's clock, and prints nothing."""

            protocol_version = "HTTP/1.1"

            def date_time_string(self, timestamp: float | None = None) -> str:
                return format_datetime(now(), usegmt=True)

            def connection_dropped(self, error: BaseException, environ: Any = None) -> None:
                self.close_connection = True

            def log(self, type: str, message: str, *args: Any) -> None:
                logging.getLogger(__name__).debug(message, *args)

        self._http = make_server(
            "127.0.0.1", self._port, Application(self, self._prefix), threaded=True, request_handler=Handler
        )
        self._http.daemon_threads = True
        self._background(lambda: self._http.serve_forever(poll_interval=0.05))
        if self.state.clock.pace:
            self._background(self._keep_time)
        self.state.started = self._started
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop to listen."""
        self._stopping.set()
        self._http.shutdown()
        self._http.server_close()
        for thread in self._threads:
            thread.join(timeout=5)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._http.server_port}{self._prefix}"

    @property
    def multi_user(self) -> bool:
        """Whether there are namespaces."""
        return bool(self.state.namespaces)

    @property
    def now(self) -> datetime:
        """The server's clock."""
        return self.state.now()

    def advance(self, seconds: float) -> None:
        """Let time pass: schedules fire and runs move on, in the order of their times."""
        with self.state.lock:
            self.state.clock.advance(seconds)
            self.catch_up()

    def catch_up(self) -> None:
        """Work off all that is due by now."""
        state, clock = self.state, self.state.clock
        with state.lock:
            until = clock.target
            with clock.replaying() as at:
                while (event := self._next_event()) is not None and event[0] <= until:
                    at(event[0])
                    event[1]()

    def _next_event(self) -> tuple[float, Callable[[], None]] | None:
        state = self.state
        events: list[tuple[float, Callable[[], None]]] = []
        live = [run for run in state.runs.values() if run.state not in ENDED]
        under_way = Counter(run.schedule_id for run in live)
        for run in live:
            if (at := workflow.next_change(run)) is not None:
                events.append((at, lambda run=run: workflow.change(state, run)))  # type: ignore[misc]
        for schedule in state.schedules.values():
            if (at := firing.next_firing(state, schedule, under_way[schedule.id])) is not None:
                events.append((at, lambda schedule=schedule: firing.fire(state, schedule)))  # type: ignore[misc]
        return min(events, key=lambda event: event[0], default=None)

    def fail(
        self,
        method: str,
        path: str,
        *,
        status: int = 500,
        body: str | Json = "",
        headers: Mapping[str, str] | None = None,
        times: int = 1,
        after: bool = False,
        cut: bool = False,
    ) -> None:
        """Let the next calls go wrong.

        Args:
            method: E.g. "GET"; "*" is any.
            path: Regular expression, searched for in the path.
            status: Of the answer.
            body: Of the answer: JSON, or text (HTML if it starts with "<").
            headers: Of the answer, e.g. {"Retry-After": "2"}.
            times: How many calls.
            after: Do what was asked first, then answer so.
            cut: Close the connection instead of an answer.
        """
        text = body if isinstance(body, str) else json.dumps(body)
        fault = Fault(method.upper(), re.compile(path), status, text, dict(headers or {}), times, after, cut)
        with self.faults.lock:
            self.faults.waiting.append(fault)

    @property
    def pipelines(self) -> list[Json]:
        """As the API shows them, oldest first, each with its `versions`."""
        state = self.state
        with state.lock:
            return [
                each.shown() | {"versions": [version.shown() for version in state.versions[each.id].values()]}
                for each in state.pipelines.values()
            ]

    @property
    def experiments(self) -> list[Json]:
        """As the API shows them, oldest first."""
        with self.state.lock:
            return [each.shown() for each in self.state.experiments.values()]

    @property
    def schedules(self) -> list[Json]:
        """As the API shows them, oldest first."""
        with self.state.lock:
            return [each.shown() for each in self.state.schedules.values()]

    @property
    def runs(self) -> list[Json]:
        """As the API shows them, oldest first."""
        with self.state.lock:
            return [each.shown() for each in self.state.runs.values()]

    def set_run(self, run_id: str, state: RunState, tasks: Mapping[str, str] | Iterable[Json] | None = None) -> None:
        """Say what state a run and its tasks are in; from then on the clock does not touch it.

        Args:
            run_id: Which run.
            state: The run's state.
            tasks: States by the name of the row ("" is none), or rows as the API shows them; None leaves them as they are.

        Raises:
            KeyError: There is no such run.
        """
        kept = self.state
        with kept.lock:
            run = kept.runs[run_id]
            run.simulated = False
            if tasks is not None:
                if isinstance(tasks, Mapping):
                    old = {str(row.get("display_name")): row for row in run.tasks}
                    rows = [self._row(run, name, now, old.get(name)) for name, now in tasks.items()]
                else:
                    rows = [dict(row) for row in tasks]
                run.tasks = rows
            if run.state != state:
                run.enter(state, kept.clock.now)

    def _row(self, run: Run, name: str, state: str, old: Json | None) -> Json:
        now = timestamp(self.state.clock.now)
        row = old or {
            "run_id": run.id,
            "task_id": self.state.new_id(),
            "display_name": name,
            "create_time": timestamp(run.created),
            "start_time": now,
        }
        row["end_time"] = now if state in ENDED else "0001-01-01T00:00:00Z"
        if state and row.get("state") != state:
            row["state"] = state
            row["state_history"] = [*row.get("state_history", []), {"update_time": now, "state": state}]
        return row

    def join(self) -> None:
        """Wait until every `execute` that was started has returned."""
        for thread in list(self._executing):
            thread.join()

    def required_headers(self) -> dict[str, str]:
        """What a call must carry."""
        return self.headers | ({"Authorization": f"Bearer {self.token}"} if self.token else {})

    def record(self, method: str, path: str) -> None:
        """Note a call."""
        self.calls.append((method, path))

    def _started(self, run: Run) -> bool:
        """Hand a run to `execute`, if a test gave one."""
        execute = self.execute
        if execute is None:
            return False
        shown = run.shown()
        thread = threading.Thread(target=lambda: execute(shown), daemon=True)
        self._executing.append(thread)
        thread.start()
        return True

    def _background(self, work: Callable[[], Any]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _keep_time(self) -> None:
        while not self._stopping.wait(0.2):
            self.catch_up()

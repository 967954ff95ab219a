"""Plays a recording to the double: at the recorded times, with the recorded ids, and what the cluster did fed in.

Compared: the status, the kind of answer, and every value, except

- texts of errors ("compare codes, not texts"): only that they are there;
- page tokens: only whether there is one, and the double's own is sent where the recorded one was;
- times the cluster chose: `finished_at`, `update_time`, `updated_at` and `last_run_created_at` are compared as "never" or "some time";
- runs that schedules fired: random parts of names, seconds, and what their workflow did. How many there are, and what
  they run, is compared.

Not tested by this: that the double takes a run through the recorded states. What a cluster did to a run is fed in by
`set_run`, and then only the answers that show it are compared. See test_workflow.py for the double's own idea of it.
"""

import json
import re
import uuid
from datetime import datetime
from typing import Any

import requests
from recording import API, Exchange, Recording, file_of

from kfp_ratchet.testing.kfp_server import KfpServer
from kfp_ratchet.testing.kfp_server.objects import Experiment, Pipeline, Run

MADE = {
    "/pipelines": "pipeline_id",
    "/pipelines/upload": "pipeline_id",
    "/pipelines/upload_version": "pipeline_version_id",
    "/experiments": "experiment_id",
    "/runs": "run_id",
    "/recurringruns": "recurring_run_id",
}
"""What a POST to a path makes."""
CROWDED = {"auth_headers", "runs_list"}
"""Recordings that list a part of what others had left behind: there the number of all, and whether more follow, is not compared."""
NEVER = ("1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z")


class Replay:
    """One recording on its way through a double."""

    def __init__(self, recording: Recording, server: KfpServer) -> None:
        self.recording = recording
        self.server = server
        self.crowded = recording.name in CROWDED
        self.start = _start(recording)
        self.tokens: dict[str, str] = {}
        self.fires = any(exchange.path == f"{API}/recurringruns" for exchange in recording.exchanges)
        self._set_clock(self.start)
        self._leave_what_others_left()
        server.execute = None if self.fires else lambda run: None

    def play(self, exchange: Exchange) -> tuple[Any, Any]:
        """Send a call; what was recorded and what the double answered, both as far as they are compared."""
        self._set_clock(max(self._moment(exchange), self.now))
        self._name_fired()
        self._give_ids(exchange)
        if self.recording.name == "auth_headers" and exchange.upload:
            # Out of the recording's sight, the pipeline was deleted before it was uploaded again.
            for pipeline in [
                each for each in self.server.state.pipelines.values() if each.name == exchange.query["name"]
            ]:
                del self.server.state.pipelines[pipeline.id]
        self._feed_cluster(exchange)
        response = self._send(exchange)
        body = _body(response)
        if isinstance(body, dict) and isinstance(exchange.response, dict) and (token := body.get("next_page_token")):
            self.tokens[exchange.response.get("next_page_token", "")] = token
        recorded = (
            exchange.status,
            exchange.content_type,
            self._compared(exchange.response),
        )
        answered = (response.status_code, response.headers["Content-Type"], self._compared(body))
        return recorded, answered

    @property
    def now(self) -> float:
        """The double's clock."""
        return self.server.state.clock.now

    def _set_clock(self, seconds: float) -> None:
        self.server.advance(seconds - self.now)

    def _moment(self, exchange: Exchange) -> float:
        """When a call was made: to the second where the answer shows it."""
        created = exchange.response.get("created_at") if exchange.method == "POST" else None
        return _seconds(created) if created else self.start + exchange.t

    def _leave_what_others_left(self) -> None:
        """Put in what answers show and no call of this recording made: other recordings had left it on the server."""
        state = self.server.state
        state.experiments.clear()
        made = {
            exchange.response.get(MADE.get(exchange.path.removeprefix(API), ""))
            for exchange in self.recording.exchanges
        }
        for exchange in self.recording.exchanges:
            made_here = exchange.method == "POST" and not exchange.path.endswith("/experiments")
            used = exchange.response.get("experiment_id")
            if made_here and used and "experiment_id" not in (exchange.request or {}):
                state.experiments[used] = Experiment(used, "Default", "", "", 0)
            for shown in exchange.response.get("experiments", []):
                if shown["experiment_id"] not in made and shown["experiment_id"] not in state.experiments:
                    last = shown["last_run_created_at"]
                    state.experiments[shown["experiment_id"]] = Experiment(
                        shown["experiment_id"],
                        shown["display_name"],
                        shown.get("description", ""),
                        "",
                        int(_seconds(shown["created_at"])),
                        last_run=int(_seconds(last)),
                    )
            for shown in exchange.response.get("pipelines", []):
                if shown["pipeline_id"] not in made:
                    pipeline = Pipeline(shown["pipeline_id"], shown["name"], "", "", int(_seconds(shown["created_at"])))
                    state.pipelines[pipeline.id] = pipeline
                    state.versions.setdefault(pipeline.id, {})
            for shown in exchange.response.get("runs", []):
                if shown["run_id"] not in made and ("recurring_run_id" not in shown or self.crowded):
                    self._leave_run(shown)

    def _leave_run(self, shown: dict[str, Any]) -> None:
        self.server.state.runs[shown["run_id"]] = Run(
            shown["run_id"],
            shown["display_name"],
            shown.get("description", ""),
            shown["experiment_id"],
            shown.get("pipeline_version_reference", {}),
            shown.get("pipeline_spec", {}),
            shown.get("runtime_config", {}),
            shown.get("service_account", ""),
            spec={},
            created=int(_seconds(shown["created_at"])),
            scheduled=int(_seconds(shown["scheduled_at"])),
            workflow="",
            schedule_id=shown.get("recurring_run_id", ""),
            state=shown["state"],
            finished=int(_seconds(shown["finished_at"])),
            archived=shown["storage_state"] == "ARCHIVED",
            history=shown["state_history"],
            tasks=shown.get("run_details", {}).get("task_details", []),
            simulated=False,
        )

    def _give_ids(self, exchange: Exchange) -> None:
        """Let the double give out the recorded ids: order and pages depend on them."""
        coming = []
        if exchange.method == "POST" and exchange.status == 200:
            shown = exchange.response
            path = exchange.path.removeprefix(API)
            coming = [shown[MADE[path]]] if path in MADE else []
            if path == "/pipelines/upload":
                coming += self._first_version(shown["pipeline_id"], shown["name"])
        ids = iter(coming)
        self.server.state.new_id = lambda: next(ids, None) or str(uuid.uuid4())

    def _first_version(self, pipeline_id: str, name: str) -> list[str]:
        for exchange in self.recording.exchanges:
            for version in exchange.response.get("pipeline_versions", []):
                if version["pipeline_id"] == pipeline_id and version["name"] == name:
                    return [version["pipeline_version_id"]]
        return []

    def _feed_cluster(self, exchange: Exchange) -> None:
        """Tell the double what the cluster did to the runs that this answer shows."""
        if exchange.method != "GET" or self.crowded:
            return
        for shown in exchange.response.get("runs", [exchange.response]):
            if "run_id" not in shown or "recurring_run_id" in shown:
                continue
            run = self.server.state.runs[shown["run_id"]]
            for entry in shown["state_history"][len(run.history) :]:
                if run.state == "CANCELING" and entry["state"] in ("RUNNING", "CANCELING"):
                    run.history.append(entry)  # written down later than the call that ended it
                else:
                    self.server.set_run(run.id, entry["state"])
            assert run.state == shown["state"], "the double has another state than its history says"
            self.server.set_run(run.id, shown["state"], shown.get("run_details", {}).get("task_details", []))

    def _name_fired(self) -> None:
        """Give the runs that schedules fired by now the recorded ids: a schedule's first run that of its first, and so on."""
        runs = self.server.state.runs
        recorded = {
            (shown["recurring_run_id"], _number(shown["display_name"])): shown["run_id"]
            for exchange in self.recording.exchanges
            for shown in exchange.response.get("runs", [exchange.response])
            if "run_id" in shown and "recurring_run_id" in shown
        }
        named = list(runs.values())
        for run in named:
            if run.schedule_id:
                run.id = recorded.get((run.schedule_id, _number(run.name)), run.id)
        runs.clear()
        runs.update({run.id: run for run in named})

    def _send(self, exchange: Exchange) -> requests.Response:
        query = dict(exchange.query)
        if "page_token" in query:
            query["page_token"] = self.tokens.get(query["page_token"], query["page_token"])
        path = exchange.path
        data: Any = None
        files = None
        if exchange.upload:
            files = {exchange.upload["field"]: (exchange.upload["filename"], file_of(exchange.upload))}
        elif isinstance(exchange.request, dict) and "raw" in exchange.request:
            data = exchange.request["raw"]
        elif exchange.request is not None:
            data = json.dumps(exchange.request)
        return requests.request(
            exchange.method, self.server.url + path, params=query, data=data, files=files, timeout=30
        )

    def _compared(self, value: Any, key: str = "") -> Any:
        if key in ("message", "error_message", "error_details", "next_page_token"):
            return "some text" if value else value
        if key in ("finished_at", "update_time", "updated_at", "last_run_created_at"):
            return "never" if value in NEVER else "some time"
        if isinstance(value, list):
            if key == "runs" and self.fires:
                value = sorted(
                    value, key=lambda run: str(run["display_name"])
                )  # fired in one second: in no defined order
            return [self._compared(each) for each in value]
        if isinstance(value, dict):
            left_out = {"total_size", "next_page_token"} if self.crowded else set()
            if "recurring_run_id" in value and "run_id" in value:
                value = _fired(value)
            return {name: self._compared(each, name) for name, each in value.items() if name not in left_out}
        if isinstance(value, float):
            return f"the float {value}"  # else 40.0 would pass for 40
        return value


def _fired(shown: dict[str, Any]) -> dict[str, Any]:
    """A run that a schedule fired, without what chance and the cluster decide."""
    kept = {
        name: value
        for name, value in shown.items()
        if name not in ("created_at", "run_details", "state", "finished_at")
    }
    pinned = shown["state_history"][0]["state"] == "RUNNING"
    kept["scheduled_at"] = shown["scheduled_at"] if pinned else shown["scheduled_at"] == shown["created_at"]
    kept["display_name"] = re.sub(r"[a-z0-9]{5}-(\d+)-\d+$", r"-\1-", shown["display_name"])
    kept["state_history"] = shown["state_history"][0]["state"]
    return kept


def _number(name: str) -> str:
    return name.rsplit("-", 2)[-2]


def _body(response: requests.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return {"raw": response.text}


def _start(recording: Recording) -> float:
    """When a recording began: the latest moment that agrees with the seconds its answers show."""
    begun = [
        _seconds(exchange.response["created_at"]) - exchange.t
        for exchange in recording.exchanges
        if exchange.method == "POST" and "created_at" in exchange.response
    ]
    return max(begun, default=1_800_000_000.0)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()

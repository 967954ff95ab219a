"""Schedules fire with the double's clock as recorded ones fired, and the clock is the server's."""

import sys
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from kfp_ratchet.testing.kfp_server import KfpServer

sys.path.insert(0, str(Path(__file__).parent))
from recording import Recording, recording
from replay import Replay

ONE_STEP = Path(__file__).parent / "one_step.yaml"


def _played(name: str) -> tuple[Recording, KfpServer]:
    """A double to which a recording with schedules was played."""
    story = recording(name)
    with KfpServer() as server:
        replay = Replay(story, server)
        for exchange in story.exchanges:
            replay.play(exchange)
    return story, server


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def test_missed_times_are_worked_off_one_by_one_as_recorded() -> None:
    story, server = _played("recurring_catchup")
    (caught_up,) = [note for note in story.notes if note.get("no_catchup") is False]
    fired = [run["scheduled_at"] for run in server.runs if run["display_name"].startswith("cu-false")]
    assert fired == [scheduled for _, _, scheduled, _ in reversed(caught_up["runs"])]


def test_without_catch_up_one_starts_at_once_and_the_interval_counts_from_it_as_recorded() -> None:
    story, server = _played("recurring_catchup")
    (dropped,) = [note for note in story.notes if note.get("no_catchup") is True]
    recorded = [_time(scheduled) for _, _, scheduled, _ in reversed(dropped["runs"])]
    fired = [_time(run["scheduled_at"]) for run in server.runs if run["display_name"].startswith("cu-true")]
    assert fired == recorded


def test_an_orphan_goes_on_if_pinned_and_never_fires_if_not_as_recorded() -> None:
    story, server = _played("recurring_orphan")
    for note in story.notes:
        fired = [run["state"] for run in server.runs if run["display_name"].startswith(note["schedule"])]
        assert fired == [state for _, _, state, _ in reversed(note["runs"])]
    assert {each["display_name"]: each["trigger"] for each in server.schedules}.keys() == {"orph-pinned", "orph-latest"}


def test_runs_of_a_disabled_schedule_stay_as_many_as_recorded() -> None:
    story, server = _played("recurring_fires")
    (counted,) = [note for note in story.notes if "before" in note]
    assert sum(run["display_name"].startswith("fire-latest") for run in server.runs) == counted["after"]


@pytest.fixture
def server() -> Any:
    with KfpServer() as running:
        yield running


def _schedule(server: KfpServer, **fields: Any) -> requests.Response:
    body = {"display_name": "s", "mode": "ENABLE", "max_concurrency": "1"} | fields
    return requests.post(f"{server.url}/apis/v2beta1/recurringruns", json=body, timeout=10)


def _upload(server: KfpServer, name: str = "one", version: str = "") -> dict[str, Any]:
    url, query = f"{server.url}/apis/v2beta1/pipelines/upload", {"name": version or name}
    if version:
        url, query["pipelineid"] = url + "_version", name
    answer = requests.post(url, params=query, files={"uploadfile": ("p.yaml", ONE_STEP.read_bytes())}, timeout=10)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def _every_hour(**fields: Any) -> dict[str, Any]:
    return {"trigger": {"periodic_schedule": {"interval_second": "3600"} | fields}}


def test_an_unpinned_schedule_takes_the_newest_version_at_each_firing(server: KfpServer) -> None:
    pipeline = _upload(server)["pipeline_id"]
    _schedule(server, pipeline_version_reference={"pipeline_id": pipeline}, **_every_hour())
    server.advance(3700)
    newer = _upload(server, pipeline, version="v2")["pipeline_version_id"]
    server.advance(3600)
    used = [run["pipeline_version_reference"]["pipeline_version_id"] for run in server.runs]
    assert len(used) == 2
    assert (used[0] == newer, used[1] == newer) == (False, True)


def test_nothing_fires_after_the_end_nor_while_disabled(server: KfpServer) -> None:
    pipeline = _upload(server)["pipeline_id"]
    end = datetime.fromtimestamp(server.now.timestamp() + 2 * 3600 + 60, server.now.tzinfo).isoformat()
    _schedule(server, pipeline_version_reference={"pipeline_id": pipeline}, **_every_hour(end_time=end))
    _schedule(server, pipeline_version_reference={"pipeline_id": pipeline}, mode="DISABLE", **_every_hour())
    server.advance(10 * 3600)
    assert len(server.runs) == 2


def test_no_more_run_at_once_than_allowed(server: KfpServer) -> None:
    pipeline = _upload(server)["pipeline_id"]
    server.execute = lambda run: None  # a run never ends by itself
    _schedule(server, pipeline_version_reference={"pipeline_id": pipeline}, **_every_hour(), max_concurrency="2")
    server.advance(10 * 3600)
    assert len(server.runs) == 2
    server.set_run(server.runs[0]["run_id"], "SUCCEEDED")
    server.advance(0)
    assert len(server.runs) == 3


def test_a_schedule_fires_at_its_cron_times_in_utc(server: KfpServer) -> None:
    pipeline = _upload(server)["pipeline_id"]
    reference = server.pipelines[0]["versions"][0]
    pinned = {"pipeline_id": pipeline, "pipeline_version_id": reference["pipeline_version_id"]}
    for cron in ("30 3 * * *", "0 30 3 * * *", "@daily"):
        assert (
            _schedule(server, pipeline_version_reference=pinned, trigger={"cron_schedule": {"cron": cron}}).status_code
            == 200
        )
    server.advance(2 * 86400)
    assert sorted(run["scheduled_at"][11:] for run in server.runs) == ["00:00:00Z"] * 2 + ["03:30:00Z"] * 4


def test_the_date_of_an_answer_is_the_servers_clock(server: KfpServer) -> None:
    server.advance(86400 * 365)
    answer = requests.get(f"{server.url}/apis/v2beta1/healthz", timeout=10)
    assert parsedate_to_datetime(answer.headers["Date"]) == server.now.replace(microsecond=0)


def test_the_clock_stands_still_until_it_is_advanced(server: KfpServer) -> None:
    first = server.now
    _upload(server)
    assert server.now == first


def test_a_run_that_a_test_executes_is_left_to_it(server: KfpServer) -> None:
    seen: list[str] = []
    server.execute = lambda run: (
        seen.append(run["run_id"]),
        server.set_run(run["run_id"], "FAILED", {"say": "FAILED"}),
    )[0]  # type: ignore[func-returns-value]
    pipeline = _upload(server)["pipeline_id"]
    body = {"display_name": "r", "pipeline_version_reference": {"pipeline_id": pipeline}}
    made = requests.post(f"{server.url}/apis/v2beta1/runs", json=body, timeout=10).json()
    server.join()
    (run,) = server.runs
    assert seen == [made["run_id"]]
    assert (run["state"], [row["state"] for row in run["run_details"]["task_details"]]) == ("FAILED", ["FAILED"])
    server.advance(3600)
    assert server.runs == [run]

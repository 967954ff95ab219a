"""Without a test that says how, a run goes through the rows and states that were recorded for runs whose steps all succeed."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from kfp_ratchet.testing.kfp_server import KfpServer

sys.path.insert(0, str(Path(__file__).parent))
from recording import API, recording
from replay import Replay


def _rows(run: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and states; the workflow object, whose name ends in chance, is called the workflow."""
    tasks = run.get("run_details", {}).get("task_details", [])
    pods = [child["pod_name"] for row in tasks for child in row.get("child_tasks", [])]
    workflow = pods[0].rsplit("-", 1)[0] if pods else ""
    return sorted(
        ("the workflow" if row["display_name"] == workflow else row["display_name"], row["state"]) for row in tasks
    )


@pytest.mark.parametrize(
    "name", ["run_success", "run_nested", "run_skipped_branch", "run_exit_handler_ok", "run_exit_handler_nested"]
)
def test_rows_come_and_end_in_the_recorded_beats(name: str) -> None:
    story = recording(name)
    compared = 0
    with KfpServer() as server:
        replay = Replay(story, server)
        server.execute = None
        created = 0.0
        for exchange in story.exchanges:
            run_id = exchange.response.get("run_id")
            if exchange.method == "GET" and run_id:
                server.advance(max(created + exchange.t - replay.now, 0))
                answer = requests.get(f"{server.url}{API}/runs/{run_id}", timeout=30).json()
                assert answer["state"] == exchange.response["state"], exchange.t
                ours = server.state.runs[run_id].workflow
                rows = sorted(("the workflow" if name == ours else name, state) for name, state in _rows(answer))
                assert rows == _rows(exchange.response), exchange.t
                compared += 1
            else:
                replay.play(exchange)
                if run_id:
                    created = replay.now - exchange.t
    assert compared > 0


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with KfpServer() as running:
        yield running


def _started(server: KfpServer) -> str:
    spec = yaml.safe_load((Path(__file__).parent / "one_step.yaml").read_text())
    answer = requests.post(f"{server.url}{API}/runs", json={"display_name": "r", "pipeline_spec": spec}, timeout=10)
    return str(answer.json()["run_id"])


def _post(server: KfpServer, path: str) -> int:
    return requests.post(f"{server.url}{API}/runs/{path}", timeout=10).status_code


def _states(run: dict[str, Any]) -> list[str]:
    return [entry["state"] for entry in run["state_history"]]


def test_a_terminated_run_ends_failed_and_goes_on_from_there_when_retried(server: KfpServer) -> None:
    run_id = _started(server)
    server.advance(15)
    assert _post(server, f"{run_id}:terminate") == 200
    assert server.runs[0]["state"] == "CANCELING"
    assert _post(server, f"{run_id}:terminate") == 400
    assert _post(server, f"{run_id}:retry") == 409
    server.advance(30)
    assert server.runs[0]["state"] == "FAILED"
    kept = [row for row in server.runs[0]["run_details"]["task_details"] if row["state"] == "SUCCEEDED"]
    assert [row["display_name"] for row in kept] == ["root-driver"]
    assert _post(server, f"{run_id}:retry") == 200
    server.advance(60)
    (run,) = server.runs
    assert _states(run) == ["PENDING", "RUNNING", "CANCELING", "FAILED", "RUNNING", "SUCCEEDED"]
    assert {row["state"] for row in run["run_details"]["task_details"]} == {"SUCCEEDED"}
    assert kept[0] in run["run_details"]["task_details"]


def test_a_run_that_a_test_failed_stays_in_its_hands_when_retried(server: KfpServer) -> None:
    run_id = _started(server)
    server.set_run(run_id, "FAILED", {"say": "FAILED", "later": ""})
    assert "state" not in server.runs[0]["run_details"]["task_details"][1], "not reached: the row has no state"
    assert _post(server, f"{run_id}:retry") == 200
    server.advance(3600)
    assert server.runs[0]["state"] == "RUNNING"


def test_every_start_is_handed_to_execute_and_so_is_every_retry(server: KfpServer) -> None:
    server.execute = lambda run: server.set_run(run["run_id"], "FAILED")
    run_id = _started(server)
    server.join()
    server.execute = lambda run: server.set_run(run["run_id"], "SUCCEEDED")
    assert _post(server, f"{run_id}:retry") == 200
    server.join()
    assert _states(server.runs[0]) == ["PENDING", "FAILED", "RUNNING", "SUCCEEDED"]

"""The whole pipeline on real flights, as compiled, run by kfp.local: every way through the gate, with the exit handler.

One project folder lives through a winter: each test goes on where the one before it ended, as a user's project does.
"""

import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.store import Store

ROOT = Path(__file__).parent.parent.parent.parent
RATCHET = Path(sys.executable).parent / "ratchet"
pytestmark = pytest.mark.slow
EFFECTS = {"pin", "register", "deploy"}


class Project:
    """A copy of the example in a path with a space and an umlaut, so that nothing depends on where it lies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(
            ROOT / "examples" / "flights", folder, ignore=shutil.ignore_patterns(".ratchet", "data", "__pycache__")
        )

    def arrive(self, until: str) -> None:
        subprocess.run([sys.executable, self.folder / "feed.py", "--until", until], check=True, capture_output=True)

    def ratchet(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([RATCHET, *arguments], cwd=self.folder, capture_output=True, text=True)

    def run(self, month: str, *arguments: str) -> tuple[int, dict[str, Any]]:
        done = self.ratchet("run", "--json", "-p", f"as_of={month}", "-p", "trials=2", *arguments)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def ledger(self) -> list[tuple[str, str]]:
        return [
            (entry.kind, entry.version)
            for entry in Ledger(Store(str(self.folder / ".ratchet/store")), "flights").entries()
        ]


def made_here(outcome: dict[str, Any]) -> set[str]:
    return {step for step, item in outcome["steps"].items() if item["run"] == outcome["run"]}


def ask(endpoint: str) -> list[float]:
    """One flight, as a client would ask about it."""
    columns = json.dumps(
        {
            "dataframe_records": [
                {
                    "carrier": "UA",
                    "origin": "EWR",
                    "dest": "IAH",
                    "distance": 1400,
                    "scheduled_hour": 17.5,
                    "weekday": 5,
                    "departures_in_hour": 30,
                    "temp": 40.0,
                    "dewp": 30.0,
                    "humid": 70.0,
                    "wind_dir": 200,
                    "wind_speed": 20.0,
                    "wind_gust": None,
                    "precip": 0.1,
                    "pressure": None,
                    "visib": 3.0,
                    "plane_age": 12,
                    "manufacturer": "BOEING",
                    "seats": 149,
                    "engine": "Turbo-fan",
                }
            ]
        }
    ).encode()
    request = urllib.request.Request(f"{endpoint}/invocations", columns, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)["predictions"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("a wïnter") / "flights")
    project.arrive("2013-02")
    yield project
    project.ratchet("stop")


def test_1_first_model_is_promoted_and_answers(project: Project) -> None:
    code, outcome = project.run("2013-02")
    assert (code, outcome["outcome"]) == (0, "promoted"), outcome["reason"]
    assert made_here(outcome) == {
        "pin",
        "ingest",
        "validate",
        "prepare",
        "tune",
        "train",
        "evaluate",
        "gate",
        "register",
        "deploy",
    }
    assert project.ledger() == [("deploy-started", "1"), ("promote", "1")]
    assert Path(outcome["report"]).stat().st_size < 2_000_000
    (probability,) = ask(outcome["endpoint"])
    assert 0 < probability < 1
    assert (
        json.loads((project.folder / ".ratchet/notifications.jsonl").read_text().splitlines()[-1])["outcome"]
        == "promoted"
    )


def test_2_unchanged_data_is_rejected_as_unchanged_from_the_cache(project: Project) -> None:
    """After a promotion the champion's pin changes: evaluate and what follows run again, nothing before does."""
    code, outcome = project.run("2013-02")
    assert (code, outcome["outcome"]) == (0, "rejected"), outcome["reason"]
    assert outcome["decision"]["unchanged"]
    assert made_here(outcome) == {"pin", "evaluate", "gate", "register"}
    assert outcome["steps"]["tune"]["state"] == "cached"
    assert project.ledger()[-1] == ("reject", "1")


def test_3_third_run_does_no_work_but_pin_and_register(project: Project) -> None:
    _, outcome = project.run("2013-02")
    assert made_here(outcome) == {"pin", "register"}
    assert outcome["outcome"] == "rejected"


def test_4_challenger_meets_champion_on_new_data(project: Project) -> None:
    project.arrive("2013-03")
    before = json.loads(project.ratchet("model", "live", "--json").stdout)
    code, outcome = project.run("2013-03")
    decision = outcome["decision"]
    assert decision["champion_version"] == "1" and decision["rows"] > 5_000
    assert decision["gain"]["low"] <= decision["gain"]["value"] <= decision["gain"]["high"]
    assert (
        outcome["outcome"]
        == {"promote": "promoted", "reject": "rejected", "inconclusive": "inconclusive"}[decision["verdict"]]
    )
    assert code == (4 if decision["verdict"] == "inconclusive" else 0)
    after = json.loads(project.ratchet("model", "live", "--json").stdout)
    assert (after["version"] == before["version"]) == (decision["verdict"] != "promote")
    ask(after["url"])


def test_5_impossible_margin_is_rejected_and_the_champion_keeps_serving(project: Project) -> None:
    live = json.loads(project.ratchet("model", "live", "--json").stdout)
    code, outcome = project.run("2013-03", "-p", 'policy={"metric":"roc_auc","margin":0.4}', "-p", "seed=3")
    assert (code, outcome["outcome"]) == (0, "rejected"), outcome["reason"]
    assert "deploy" not in made_here(outcome) and outcome["steps"]["deploy"]["state"] == "not needed"
    assert json.loads(project.ratchet("model", "live", "--json").stdout) == live
    assert project.ledger()[-1][0] == "reject"


def test_6_too_few_rows_is_inconclusive(project: Project) -> None:
    code, outcome = project.run("2013-03", "-p", 'policy={"metric":"roc_auc","min_rows":1000000}', "-p", "seed=3")
    assert (code, outcome["outcome"]) == (4, "inconclusive"), outcome["reason"]
    assert "1,000,000" in outcome["reason"] or "1000000" in outcome["reason"]


def test_7_lost_column_is_blocked_and_named(project: Project) -> None:
    path = project.folder / "data" / "flights" / "2013-03.parquet"
    kept = path.read_bytes()
    live = project.ratchet("model", "live", "--json").stdout
    for month in ("01", "02", "03"):
        file = path.with_name(f"2013-{month}.parquet")
        pl.read_parquet(file).with_columns(pl.col("arr_delay") * 60).write_parquet(file)
    code, outcome = project.run("2013-03")
    assert (code, outcome["outcome"]) == (5, "blocked"), outcome["reason"]
    assert "arr_delay" in outcome["reason"]
    assert outcome["steps"]["train"]["state"] == "not reached"
    assert Path(outcome["report"]).exists()
    assert project.ratchet("model", "live", "--json").stdout == live
    path.write_bytes(kept)


def test_8_a_forced_version_serves_and_says_so_and_rollback_goes_back(project: Project) -> None:
    before = json.loads(project.ratchet("model", "live", "--json").stdout)["version"]
    person = ("--by", "tests", "--reason", "a test")
    forced = project.ratchet("model", "approve", "flights", "3", "--force", *person)
    assert forced.returncode == 0, forced.stderr
    assert json.loads(project.ratchet("model", "live", "--json").stdout)["version"] == "3"
    assert "forced" in project.ratchet("status").stdout
    done = project.ratchet("model", "rollback", "flights", *person)
    assert done.returncode == 0, done.stderr
    live = json.loads(project.ratchet("model", "live", "--json").stdout)
    assert live["version"] == before
    ask(live["url"])
    assert project.ledger()[-1] == ("rollback", before)


def test_9_stop_leaves_no_process(project: Project) -> None:
    live = json.loads(project.ratchet("model", "live", "--json").stdout)
    assert project.ratchet("stop").returncode == 0
    with pytest.raises(OSError):
        ask(live["url"])

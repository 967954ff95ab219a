"""`ratchet replay` on a small table: killed half-way and started again, blocked, rejected, and a page that says what the ledger says."""

import html
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kfp_ratchet.components.deploy.live import live
from kfp_ratchet.components.shared.ledger import JUDGED, Ledger
from kfp_ratchet.pipelines.project import Project
from kfp_ratchet.pipelines.replay.comparison import compare
from kfp_ratchet.pipelines.replay.naive import follow
from kfp_ratchet.pipelines.replay.story import finished

RATCHET = Path(sys.executable).parent / "ratchet"
pytestmark = pytest.mark.slow

FILES = {
    "ratchet.yaml": """\
name: tiny
source: data
schema: schema.yaml
columns: {target: y, problem: binary, id: id, time: day}
window: {evaluate: 10d}
trials: 0
parameters: {epochs: 3}
policy: {resamples: 400}
""",
    "schema.yaml": """\
schema_type: polars_dataframe
columns:
  id: {dtype: Int64, nullable: false}
  day: {dtype: Date, nullable: false}
  x: {dtype: Float64, nullable: false, in_range: {min_value: -10, max_value: 10}}
  z: {dtype: Float64, nullable: false}
  y: {dtype: Int64, nullable: false, isin: [0, 1]}
strict: false
""",
    "replay.yaml": """\
periods: 2025-01..2025-04
feed: arrivals:arrive
incidents:
  2025-02: z is lost
  2025-03: the labels of the past are flipped
  2025-04: x comes in thousandths
""",
    "arrivals.py": """\
from datetime import date, timedelta

import numpy as np
import polars as pl


def month(number):
    random = np.random.default_rng(number)
    x, z = random.normal(size=(2, 600))
    y = (x + 0.5 * z + random.normal(size=600) > 0).astype(int)
    days = [date(2025, number, 1) + timedelta(days=int(day)) for day in random.integers(0, 28, 600)]
    return pl.DataFrame({"id": np.arange(600) + 1000 * number, "day": days, "x": x, "z": z, "y": y})


def arrive(period, folder):
    (folder / "data").mkdir(exist_ok=True)
    last = int(period[5:])
    for number in range(1, last + 1):
        table = month(number)
        if last == 2 == number:
            table = table.drop("z")
        if last == 3 and number < 3:
            table = table.with_columns(y=1 - pl.col("y"))
        if last == 4 == number:
            table = table.with_columns(x=1000 * pl.col("x"))
        table.write_parquet(folder / "data" / f"{number:02}.parquet")
""",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replayed") / "my own täble"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def outcome(project: Path) -> dict[str, Any]:
    """The replay, killed while its third period trains, then started again."""
    with subprocess.Popen(
        [RATCHET, "replay", project], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as killed:
        assert killed.stdout is not None
        deadline = time.monotonic() + 600
        while "validate" not in _steps_of(project, "2025-03"):
            assert killed.poll() is None and time.monotonic() < deadline, killed.stdout.read()
            time.sleep(0.1)
        second = subprocess.run([RATCHET, "replay", project], capture_output=True, text=True)
        killed.send_signal(signal.SIGKILL)
    assert second.returncode == 2
    assert f"another replay (process {killed.pid}) is at work in" in second.stderr
    again = subprocess.run([RATCHET, "replay", ".", "--json"], cwd=project, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    told: dict[str, Any] = json.loads(again.stdout)
    return told


def _steps_of(project: Path, period: str) -> set[str]:
    found = set()
    for pin in (project / ".ratchet" / "replay" / ".ratchet" / "store" / "runs").glob("*/steps/pin.json"):
        try:
            if json.loads(pin.read_text())["details"].get("window", {}).get("end") == period:
                found |= {path.stem for path in pin.parent.iterdir()}
        except ValueError:
            continue
    return found


def _copy(project: Path) -> Project:
    return Project.open(project / ".ratchet" / "replay" / "ratchet.yaml")


def test_each_incident_is_stopped_for_its_own_reason(outcome: dict[str, Any]) -> None:
    january, february, march, april = outcome["periods"]
    assert january["outcome"] == "promoted"
    assert february["outcome"] == "blocked" and "02.parquet lacks column 'z'" in february["reason"]
    assert march["outcome"] == "rejected" and "does not beat the champion's (v1)" in march["reason"]
    assert april["outcome"] == "blocked" and "column 'x'" in april["reason"]
    assert [one["live_after"] for one in outcome["periods"]] == ["1"] * 4


def test_what_was_finished_before_the_kill_was_not_run_again(project: Path, outcome: dict[str, Any]) -> None:
    pins = (project / ".ratchet" / "replay" / ".ratchet" / "store" / "runs").glob("*/steps/pin.json")
    runs = Counter(json.loads(pin.read_text())["details"]["window"]["end"] for pin in pins)
    assert runs == {"2025-01": 1, "2025-02": 1, "2025-03": 2, "2025-04": 1}
    copy = _copy(project)
    entries = [entry for entry in Ledger(copy.store, "tiny").entries() if entry.kind in JUDGED]
    assert [(entry.kind, entry.version) for entry in entries] == [("promote", "1"), ("reject", "2")]


def test_the_page_says_what_the_ledger_says(project: Path, outcome: dict[str, Any]) -> None:
    page = html.unescape(re.sub(r"<[^>]+>", " ", Path(outcome["page"]).read_text()))
    for entry in Ledger(_copy(project).store, "tiny").entries():
        if entry.kind in JUDGED:
            assert entry.reason.partition(": ")[2] in page
    assert "1 promoted, 1 rejected, 0 inconclusive, 2 blocked; v1 is live, since 2025-01" in " ".join(page.split())
    assert Path(outcome["page"]).stat().st_size < 500_000


def test_nothing_of_the_projects_own_was_touched_and_no_server_is_left(project: Path, outcome: dict[str, Any]) -> None:
    assert {path.name for path in project.iterdir()} == {*FILES, ".ratchet"}
    assert {path.name for path in (project / ".ratchet").iterdir()} == {"replay"}
    copy = _copy(project)
    there = live(copy.serving, "tiny")
    assert there is not None and not there[1]
    with pytest.raises(ProcessLookupError):
        os.kill(there[0].pid, 0)


def test_the_naive_rules_model_is_scored_as_the_gate_scored_it(project: Path, outcome: dict[str, Any]) -> None:
    """Had the rule had March's candidate live, March's rows would show exactly what the gate saw."""
    copy = _copy(project)
    retrains = finished(copy.store, "tiny", [one["period"] for one in outcome["periods"]])
    choices = follow(retrains)
    choices[2] = replace(choices[2], live_before="2")
    compared = compare(copy, retrains, choices)
    assert list(compared) == ["2025-03"]
    assert retrains[2].decision is not None and compared["2025-03"].gain == retrains[2].decision.gain
    assert compared["2025-03"].gain.high is not None and compared["2025-03"].gain.high < 0


def test_a_feed_that_fails_ends_the_replay_with_its_reason(
    project: Path, outcome: dict[str, Any], tmp_path: Path
) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "arrivals.py").write_text("def arrive(period, folder):\n    raise OSError('the provider is away')\n")
    done = subprocess.run([RATCHET, "replay", tmp_path], capture_output=True, text=True)
    assert done.returncode == 3 and "Traceback" not in done.stderr
    assert "the feed arrivals:arrive failed at 2025-01: OSError: the provider is away" in done.stderr
    (tmp_path / "arrivals.py").unlink()
    done = subprocess.run([RATCHET, "replay", tmp_path], capture_output=True, text=True)
    assert done.returncode == 2 and "cannot be imported: ModuleNotFoundError" in done.stderr


def test_a_step_that_fails_ends_the_replay_and_names_the_period(outcome: dict[str, Any], tmp_path: Path) -> None:
    """No verdict was given, so the months after it would be another story."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "arrivals.py").write_text("def arrive(period, folder): ...\n")
    done = subprocess.run([RATCHET, "replay", tmp_path], capture_output=True, text=True)
    assert done.returncode == 2
    assert "the replay ends at 2025-01: pin: there is no file or folder 'data'" in done.stderr

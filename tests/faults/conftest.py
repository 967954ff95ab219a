"""A small project of its own: 600 rows, a workload without torch, one trial."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

HERE = Path(__file__).parent
RATCHET = Path(sys.executable).parent / "ratchet"
CONFIG = """\
name: rows
source: rows.parquet
schema: schema.yaml
columns: {target: late, problem: binary, positive: "yes", id: key}
window: {share: 0.3}
workload: faulty:Faulty
trials: 0
policy: {metric: roc_auc, margin: 0.0, min_rows: 50}
"""
SCHEMA = """\
schema_type: polars_dataframe
columns:
  key: {dtype: String, nullable: false}
  x: {dtype: Float64, nullable: false}
  place: {dtype: String, nullable: false}
  late: {dtype: String, nullable: false}
"""


class SmallProject:
    """A folder with a `ratchet.yaml`, and the `ratchet` command in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        n = 600
        x, place = rng.normal(size=n), rng.choice(["north", "south", "east"], n)
        late = np.where(x + (place == "north") * 3 + rng.normal(size=n) > 0.7, "yes", "no")
        rows = pl.DataFrame({"key": [f"k{i:04}" for i in range(n)], "x": x, "place": place, "late": late})
        rows.write_parquet(folder / "rows.parquet")
        (folder / "ratchet.yaml").write_text(CONFIG)
        (folder / "schema.yaml").write_text(SCHEMA)
        shutil.copy(HERE / "workloads" / "faulty.py", folder)
        self.store = folder / ".ratchet" / "store"

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [RATCHET, *arguments],
            cwd=self.folder,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ratchet(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=600)
        assert "Traceback" not in out + err, out + err
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def run(self, *arguments: str, **environment: str) -> dict:
        """`ratchet run --json`; its exit code is checked against what it says."""
        done = self.ratchet("run", "--json", *arguments, **environment)
        assert done.stdout, done.stderr
        outcome = json.loads(done.stdout)
        assert done.returncode == outcome["exit_code"], outcome
        return outcome

    def fault(self, what: str, *arguments: str) -> dict:
        return self.run("-p", f"parameters={json.dumps({'fault': what})}", *arguments)

    def ledger(self) -> list[tuple[str, str]]:
        done = self.ratchet("model", "history", "--json")
        assert done.returncode == 0, done.stderr
        return [(entry["kind"], entry["version"]) for entry in json.loads(done.stdout)]

    def serving(self) -> dict:
        return json.loads(self.ratchet("model", "live", "--json").stdout)


@pytest.fixture
def project(tmp_path):
    made = SmallProject(tmp_path / "small")
    yield made
    made.ratchet("stop")


@pytest.fixture
def small_project():
    """Makes a project in a folder of the test's choice, which stops it itself."""
    return SmallProject


@pytest.fixture(scope="module")
def promoted(tmp_path_factory):
    """A project whose first model is live; the tests of a module share it."""
    made = SmallProject(tmp_path_factory.mktemp("faults") / "small")
    outcome = made.run()
    assert outcome["outcome"] == "promoted", outcome["reason"]
    yield made
    made.ratchet("stop")

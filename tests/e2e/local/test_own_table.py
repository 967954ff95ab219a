"""A user's own table: `ratchet init`, then `ratchet run`, to a model that answers; and a workload of the user's own."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sklearn import datasets

ROOT = Path(__file__).parent.parent.parent.parent
RATCHET = Path(sys.executable).parent / "ratchet"
pytestmark = pytest.mark.slow


def ratchet(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([RATCHET, *arguments], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "my own python3 täble"
    folder.mkdir()
    yield folder
    ratchet(folder, "stop")


def run(folder: Path, *arguments: str) -> dict[str, Any]:
    done = ratchet(folder, "run", "--json", "-p", "trials=2", *arguments)
    assert done.stdout, done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == outcome["exit_code"]
    return outcome


@pytest.mark.parametrize(
    ("table", "problem", "metric"), [("diabetes", "regression", "rmse"), ("wine", "multiclass", "log_loss")]
)
def test_init_then_run_puts_a_first_model_live(folder: Path, table: str, problem: str, metric: str) -> None:
    frame = pl.from_pandas(getattr(datasets, f"load_{table}")(as_frame=True).frame)
    frame.write_csv(folder / f"{table}.csv")
    written = ratchet(folder, "init", f"{table}.csv", "--target", "target")
    assert written.returncode == 0, written.stderr
    assert problem in (folder / "ratchet.yaml").read_text()
    outcome = run(folder)
    assert outcome["outcome"] == "promoted", outcome["reason"]
    assert outcome["decision"]["metric"] == metric
    answer = ratchet(folder, "model", "live", "--json")
    assert json.loads(answer.stdout)["answers"]
    assert "hash" in Path(outcome["report"]).read_text(), "the report must say how rows were split"


def test_a_workload_of_ones_own_goes_all_the_way(folder: Path) -> None:
    """Its module lies beside ratchet.yaml: steps and server must both find it, and an edit must miss the cache."""
    shutil.copy(ROOT / "examples" / "gradient_boosting" / "workload.py", folder)
    frame = pl.from_pandas(datasets.load_breast_cancer(as_frame=True).frame)
    frame.write_parquet(folder / "cells.parquet")
    assert ratchet(folder, "init", "cells.parquet", "--target", "target").returncode == 0
    config = folder / "ratchet.yaml"
    config.write_text(config.read_text().replace("#workload: tabular", "workload: workload:GradientBoosting"))
    outcome = run(folder)
    assert outcome["outcome"] == "promoted", outcome["reason"]
    again = run(folder)
    assert again["steps"]["train"]["state"] == "cached" and again["decision"]["unchanged"]
    with (folder / "workload.py").open("a") as file:
        file.write("\n# edited\n")
    assert run(folder)["steps"]["train"]["state"] == "succeeded"

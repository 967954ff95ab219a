"""What `ratchet run` serves from the cache, and what it must make anew: the keys are those that a Kubeflow server would use.

One small project lives through all of it, with a copy of the package that a test can edit: each test goes on where the one before it ended.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

ROOT = Path(__file__).parent.parent.parent.parent
RATCHET = Path(sys.executable).parent / "ratchet"
pytestmark = pytest.mark.slow
FROM_INGEST = {"pin", "ingest", "validate", "prepare", "tune", "train", "evaluate", "gate", "register"}
NO_WORK = {"pin", "register"}
FILES = {
    "ratchet.yaml": """\
name: tiny
source: data
schema: schema.yaml
prepare: {function: "features:prepare"}
columns: {target: y, problem: binary, id: id, time: day}
window: {evaluate: 10d}
trials: 2
parameters: {epochs: 3}
policy: {resamples: 400}
""",
    "schema.yaml": """\
schema_type: polars_dataframe
columns:
  id: {dtype: Int64, nullable: false}
  day: {dtype: Date, nullable: false}
  x: {dtype: Float64, nullable: false}
  y: {dtype: Int64, nullable: false, isin: [0, 1]}
strict: false
""",
    "features.py": """\
import polars as pl
from constants import FACTOR


def prepare(tables):
    return tables["rows"].with_columns(z=FACTOR * pl.col("x"))
""",
    "constants.py": "FACTOR = 2\n",
}


class Project:
    """A project, and a copy of the package that its commands run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "my own täble"
        self.package = folder / "code" / "kfp_ratchet"
        for part in ("components", "pipelines", "testing"):
            shutil.copytree(ROOT / part, self.package / part, ignore=shutil.ignore_patterns("__pycache__"))
        (self.folder / "data").mkdir(parents=True)
        for name, text in FILES.items():
            (self.folder / name).write_text(text)
        for month in (1, 2, 3):
            self.arrive(month)

    def arrive(self, month: int, seed: int = 0) -> None:
        """A month of data; another seed gives other rows."""
        random = np.random.default_rng([month, seed])
        x = random.normal(size=600)
        days = pl.date(2025, month, 1) + pl.duration(days=pl.Series(np.arange(600) % 28))
        y = (x + random.normal(size=600) > 0).astype(int)
        rows = pl.DataFrame({"id": np.arange(600) + 1000 * month, "x": x, "y": y}).with_columns(day=days)
        rows.write_parquet(self.folder / "data" / f"{month:02}.parquet")

    def ratchet(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = {**os.environ, "PYTHONPATH": str(self.package.parent)}
        return subprocess.run([RATCHET, *arguments], cwd=self.folder, env=path, capture_output=True, text=True)

    def run(self, *parameters: str) -> dict[str, Any]:
        done = self.ratchet("run", "--json", *(text for one in parameters for text in ("-p", one)))
        assert done.stdout, done.stderr
        outcome: dict[str, Any] = json.loads(done.stdout)
        return outcome


def made_here(outcome: dict[str, Any]) -> set[str]:
    """Steps that this run did itself; the others came from the cache."""
    return {step for step, item in outcome["steps"].items() if item["run"] == outcome["run"]}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("cached"))
    yield project
    project.ratchet("stop")


def test_1_a_first_run_does_everything(project: Project) -> None:
    outcome = project.run()
    assert outcome["outcome"] == "promoted", outcome["reason"]
    assert made_here(outcome) == FROM_INGEST | {"deploy"}


def test_2_after_a_promotion_only_the_judgement_is_made_again_and_sees_the_same_model(project: Project) -> None:
    outcome = project.run()
    assert made_here(outcome) == {"pin", "evaluate", "gate", "register"}
    assert outcome["decision"]["unchanged"] and "champion" in outcome["reason"]


def test_3_with_nothing_changed_no_work_is_done(project: Project) -> None:
    (project.folder / "data" / "01.parquet").touch()
    assert made_here(project.run()) == NO_WORK


def test_4_what_only_the_last_steps_use_changes_nothing_before_them(project: Project) -> None:
    assert made_here(project.run('notifications={"file":"told.jsonl"}', 'serving={"port":0}')) == NO_WORK
    assert made_here(project.run('policy={"resamples":500}')) == NO_WORK | {"gate"}


def test_5_an_age_that_is_reached_makes_everything_anew(project: Project) -> None:
    assert made_here(project.run("cache_max_age=9999w")) == FROM_INGEST
    assert made_here(project.run("cache_max_age=9999w")) == NO_WORK
    assert made_here(project.run("cache_max_age=1h")) == FROM_INGEST


def test_6_changed_data_is_read_anew(project: Project) -> None:
    project.arrive(3, seed=1)
    assert made_here(project.run()) - {"deploy"} == FROM_INGEST


def test_7_an_edit_of_what_the_projects_code_imports_makes_everything_anew(project: Project) -> None:
    (project.folder / "constants.py").write_text("FACTOR = 2\n# edited\n")
    assert made_here(project.run()) - {"deploy"} == FROM_INGEST


def test_8_an_edit_of_the_package_makes_everything_anew_the_search_too(project: Project) -> None:
    before = set((project.folder / ".ratchet/store/studies").iterdir())
    with (project.package / "components" / "tune" / "study.py").open("a") as file:
        file.write("\n# edited\n")
    assert made_here(project.run()) - {"deploy"} == FROM_INGEST
    assert set((project.folder / ".ratchet/store/studies").iterdir()) > before, (
        "an old study was taken for the new code's"
    )

import sys
from pathlib import Path

import polars as pl
import pytest

from kfp_ratchet.components.shared.dataset import Dataset, write_table
from kfp_ratchet.testing.tables import example

TOYS = str(Path(__file__).parents[2] / "testing")
sys.path.insert(0, TOYS)


@pytest.fixture
def write_dataset():
    """Write rows as a Dataset into a new folder."""

    def write(rows, folder):
        folder.mkdir()
        Dataset(revision="sha256:abc", source="memory", tables={"rows": write_table(rows, folder, "rows")}).write(
            folder
        )

    return write


@pytest.fixture
def table():
    return example("binary")


@pytest.fixture
def rows(table):
    return pl.concat([table.rows, table.validation, table.fresh])


@pytest.fixture
def tune(tmp_path, rows, table, write_dataset):
    """Tune on the binary example; gives (best, study) as parsed JSON."""
    import json

    from kfp_ratchet.components.tune.search import tune_workload

    write_dataset(rows, tmp_path / "dataset")

    def run(workload="toy:Toy", trials=4, parameters="{}", space="{}", name="run", dataset="dataset", store="store"):
        step = tmp_path / name / "tune"
        step.mkdir(parents=True, exist_ok=True)
        best = tune_workload(
            str(tmp_path / dataset),
            str(tmp_path / name / "ingest" / "dataset"),
            workload,
            table.columns.model_dump_json(),
            '{"evaluate":"60h"}',
            parameters,
            space,
            trials,
            0,
            "cpu",
            str(tmp_path / store),
            str(step / "study"),
            str(step / "study"),
            str(step / "report"),
        )
        return json.loads(best), json.loads((step / "study").read_text())

    run.folder = tmp_path
    return run

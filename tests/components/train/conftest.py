import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "testing"))


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors on shared processors: more threads only wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def dataset(tmp_path):
    """A Dataset of the binary example, one hour a row, as (folder, columns JSON, window JSON)."""
    import polars as pl

    from kfp_ratchet.components.shared.dataset import Dataset, write_table
    from kfp_ratchet.testing.tables import example

    table = example("binary")
    folder = tmp_path / "dataset"
    folder.mkdir()
    rows = write_table(pl.concat([table.rows, table.validation, table.fresh]), folder, "rows")
    Dataset(revision="sha256:abc", source="memory", tables={"rows": rows}).write(folder)
    return str(folder), table.columns.model_dump_json(), '{"evaluate":"60h"}'

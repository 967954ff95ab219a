"""The Dataset contract."""

import subprocess
import sys
from datetime import datetime

import polars as pl
import pytest

from kfp_ratchet.components.shared.dataset import Dataset, read_main, scan_table, write_table
from kfp_ratchet.components.shared.errors import RatchetError


def test_what_is_written_is_what_is_read_and_the_first_table_is_the_main_one(tmp_path):
    rows = pl.DataFrame({"at": [datetime(2013, 1, 1), None], "n": [1, 2]})
    tables = {"z_first": write_table(rows.lazy(), tmp_path, "z_first"), "a": write_table(rows.head(0), tmp_path, "a")}
    Dataset(revision="sha256:1", source="x", tables=tables).write(tmp_path)
    dataset = Dataset.read(tmp_path)
    assert dataset.main == "z_first"
    assert dataset.tables["z_first"].rows == 2
    assert list(dataset.tables["z_first"].columns) == ["at", "n"]
    assert read_main(tmp_path).equals(rows)
    assert scan_table(tmp_path, "a").collect().schema == rows.schema


def test_a_folder_that_is_none_is_named(tmp_path):
    with pytest.raises(RatchetError, match="is not a Dataset"):
        Dataset.read(tmp_path)
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(RatchetError, match="is not a Dataset"):
        Dataset.read(tmp_path)


def test_the_contract_is_light_for_steps_that_read_no_table():
    code = "import sys, kfp_ratchet.components.shared.dataset; print('polars' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )

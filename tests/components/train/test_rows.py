import json

import polars as pl
import pytest

from kfp_ratchet.components.shared.dataset import Dataset, write_table
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.train.rows import read_fit_rows


def write(rows, folder):
    folder.mkdir()
    Dataset(revision="sha256:abc", source="memory", tables={"rows": write_table(rows, folder, "rows")}).write(folder)
    return str(folder)


def test_the_tail_is_the_last_of_the_training_rows_and_evaluation_rows_are_never_there(dataset):
    data = read_fit_rows(*dataset)
    assert (data.rows.height, data.tail.height) == (289, 51)
    assert data.rows["when"].max() < data.tail["when"].min()
    assert data.all["row"].to_list() == list(range(340))


def test_rows_without_a_target_are_left_out_and_counted(dataset, tmp_path):
    rows = pl.read_parquet(f"{dataset[0]}/rows/*.parquet")
    holes = rows.with_columns(pl.when(pl.col("row") >= 10).then("late").alias("late"))
    data = read_fit_rows(write(holes, tmp_path / "holes"), *dataset[1:])
    assert data.unlabelled == 10 and data.all["late"].null_count() == 0


def test_an_evaluation_row_without_a_label_is_told_before_the_work(dataset, tmp_path):
    rows = pl.read_parquet(f"{dataset[0]}/rows/*.parquet")
    holes = rows.with_columns(pl.when(pl.col("row") != 399).then("late").alias("late"))
    with pytest.raises(InputError, match=r"1 evaluation row of .* have no label in 'late'"):
        read_fit_rows(write(holes, tmp_path / "holes"), *dataset[1:])


def test_the_fingerprint_knows_content_and_not_order(dataset, tmp_path):
    rows = pl.read_parquet(f"{dataset[0]}/rows/*.parquet")
    same = read_fit_rows(write(rows.reverse(), tmp_path / "reversed"), *dataset[1:])
    later = rows.with_columns(amount=pl.when(pl.col("row") == 399).then(0.0).otherwise("amount"))
    evaluated = read_fit_rows(write(later, tmp_path / "evaluated"), *dataset[1:])
    changed = rows.with_columns(amount=pl.when(pl.col("row") == 3).then(0.0).otherwise("amount"))
    other = read_fit_rows(write(changed, tmp_path / "changed"), *dataset[1:])
    first = read_fit_rows(*dataset).fingerprint
    assert same.fingerprint == first == evaluated.fingerprint != other.fingerprint


def test_without_a_time_the_tail_is_chosen_by_a_hash(dataset):
    columns = json.dumps({"target": "late", "id": "row", "ignore": ["when"]})
    data = read_fit_rows(dataset[0], columns, "{}")
    assert 0.08 < data.tail.height / data.all.height < 0.22
    assert data.tail["row"].to_list() == read_fit_rows(dataset[0], columns, "{}").tail["row"].to_list()


def test_no_target_and_too_few_rows_are_named(dataset, tmp_path):
    with pytest.raises(InputError, match=r"columns\.target is not set"):
        read_fit_rows(dataset[0], "{}", "{}")
    few = pl.read_parquet(f"{dataset[0]}/rows/*.parquet").filter(pl.col("row").is_in([0, 399]))
    with pytest.raises(InputError, match="1 labelled training row: too few"):
        read_fit_rows(write(few, tmp_path / "few"), *dataset[1:])


def test_one_class_is_told_before_any_trial_is_run(dataset, tmp_path):
    rows = pl.read_parquet(f"{dataset[0]}/rows/*.parquet").with_columns(late=pl.lit(True))
    with pytest.raises(InputError, match=r"target column 'late' holds only 'true' in 289 rows.*widen the window"):
        read_fit_rows(write(rows, tmp_path / "same"), *dataset[1:])


def test_a_target_of_nan_counts_as_unlabelled(dataset, tmp_path):
    roles = {"target": "amount", "problem": "regression", "id": "row", "time": "when", "ignore": ["late"]}
    rows = pl.read_parquet(f"{dataset[0]}/rows/*.parquet").with_columns(
        amount=pl.when(pl.col("row") < 7).then(float("nan")).otherwise(pl.col("amount").fill_null(0.0))
    )
    assert read_fit_rows(write(rows, tmp_path / "nan"), json.dumps(roles), dataset[2]).unlabelled == 7

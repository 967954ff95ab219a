"""The model folder as MLflow loads and serves it."""

import datetime as dt
import json

import mlflow.pyfunc
import numpy as np
import pandas as pd
import polars as pl
import pytest
from mlflow.pyfunc.scoring_server import infer_and_parse_data

from kfp_ratchet.components.evaluate.probing import as_json
from kfp_ratchet.components.shared import registry
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.model import Card, model_digest
from kfp_ratchet.components.train.pyfunc import polars_rows, save_pyfunc
from kfp_ratchet.components.train.tabular import Tabular
from kfp_ratchet.testing.rules import RecordingContext
from kfp_ratchet.testing.tables import Example, example


def saved(problem, folder, table=None):
    table = table or example(problem)
    model = Tabular.fit(table.rows, table.validation, table.columns, {"epochs": 2}, RecordingContext())
    model.save(folder / "workload")
    features = table.columns.features(table.rows.columns)
    card = Card(
        workload="tabular",
        parameters={},
        columns=table.columns,
        features={name: str(table.rows.schema[name]) for name in features},
        classes=model.classes,
        revision="",
        window={},
        split_rule="",
        rows=1,
        seed=0,
        device="cpu",
    )
    save_pyfunc(folder / "model", folder / "workload", card, table.rows.select(features).head(3))
    return mlflow.pyfunc.load_model(str(folder / "model")), model, table


@pytest.mark.parametrize("problem", ["binary", "multiclass", "regression"])
def test_the_served_model_gives_the_scores_of_the_workload(problem, tmp_path):
    served, model, table = saved(problem, tmp_path)
    frame = table.fresh.drop(table.columns.target).to_pandas()
    scores = served.predict(frame)
    if problem == "multiclass":
        assert list(scores.columns) == ["blue", "green", "red"]
    else:
        assert isinstance(scores, list) and isinstance(scores[0], float)
    np.testing.assert_allclose(np.asarray(scores), model.predict(table.fresh), rtol=1e-6)


def test_a_model_that_was_loaded_with_mlflow_is_still_ours(tmp_path):
    """MLflow leaves bytecode and a note of the version in a registry that lies on this machine."""
    saved("binary", tmp_path)
    uri, digest = f"sqlite:///{tmp_path}/mlflow.db", model_digest(tmp_path / "model")
    version = registry.register(uri, "delays", tmp_path / "model", digest, {}, {}, {}, "run")
    mlflow.set_registry_uri(uri)
    mlflow.set_tracking_uri(uri)
    try:
        for _ in range(2):
            mlflow.pyfunc.load_model(f"models:/delays/{version}")
    finally:
        mlflow.set_registry_uri("")
        mlflow.set_tracking_uri("")
    assert model_digest(registry.fetch(uri, "delays", version, digest, tmp_path / "fetched")) == digest


def test_rows_as_a_server_parses_them_from_json_score_the_same(tmp_path):
    served, model, table = saved("binary", tmp_path)
    features = table.columns.features(table.fresh.columns)
    for rows in (table.fresh, table.fresh[:1], table.fresh.filter(pl.col("open").is_null())[:1]):
        records = json.loads(rows.select(features).write_json())
        body = {"columns": features, "data": [[record[name] for name in features] for record in records]}
        for payload in ({"dataframe_split": body}, {"dataframe_records": records}):
            frame = infer_and_parse_data(payload, served.metadata.get_input_schema())
            np.testing.assert_allclose(served.predict(frame), model.predict(rows), rtol=1e-6)


def test_columns_that_json_has_no_type_for_are_saved_asked_and_served(tmp_path):
    """The kept example and the probe both go through JSON: what a server reads there is what the model was trained on."""
    row, table = pl.col("row"), example("binary")
    odd = {
        "length": pl.duration(days=row // 3, seconds=row),
        "clock": pl.time(row % 24, 1, 2, 3),
        "day": pl.date(2024, 1, 1) + pl.duration(days=row),
        "exact": pl.col("amount").cast(pl.Decimal(10, 2)),
        "kind": pl.col("place").cast(pl.Categorical),
        "rank": pl.col("place").cast(pl.Enum(["east", "north", "south"])),
    }
    frames = (table.rows, table.validation, table.fresh)
    served, model, table = saved("binary", tmp_path, Example(*(f.with_columns(**odd) for f in frames), table.columns))
    expected = model.predict(table.rows.head(3))
    kept = json.loads((tmp_path / "model" / "serving_input_example.json").read_text())["dataframe_split"]
    rows = table.rows.select(table.columns.features(table.rows.columns)).head(3)
    asked = {"columns": rows.columns, "data": [[as_json(cell) for cell in cells] for cells in rows.iter_rows()]}
    for body in (kept, asked):
        frame = infer_and_parse_data(
            {"dataframe_split": json.loads(json.dumps(body))}, served.metadata.get_input_schema()
        )
        np.testing.assert_allclose(served.predict(frame), expected, rtol=1e-6)


FEATURES = {
    "whole": "Int64",
    "real": "Float64",
    "text": "String",
    "yes": "Boolean",
    "day": "Date",
    "at": "Datetime(time_unit='us', time_zone=None)",
    "zoned": "Datetime(time_unit='us', time_zone='Europe/Berlin')",
    "clock": "Time",
}


def test_what_json_cannot_say_is_read_as_what_it_was():
    frame = pd.DataFrame(
        {
            "whole": [1, None],
            "real": ["1.5", 2],
            "text": [7, None],
            "yes": [True, None],
            "day": ["2024-01-02", None],
            "at": ["2024-01-02T03:04:05", None],
            "zoned": ["2024-01-02T03:04:05Z", None],
            "clock": ["06:00:00", None],
            "more": [0, 0],
        }
    )
    rows = polars_rows(frame, FEATURES)
    assert rows["whole"].to_list() == [1, None] and rows.schema["whole"] == pl.Int64
    assert rows["real"].to_list() == [1.5, 2.0]
    assert rows["text"].to_list() == ["7", None] or rows["text"].to_list() == ["7.0", None]
    assert rows["yes"].to_list() == [True, None]
    assert rows["day"].to_list() == [dt.date(2024, 1, 2), None]
    assert rows["at"].to_list() == [dt.datetime(2024, 1, 2, 3, 4, 5), None]
    assert str(rows["zoned"][0]) == "2024-01-02 04:04:05+01:00"
    assert rows["clock"][0] == dt.time(6)
    assert "more" not in rows.columns


@pytest.mark.parametrize("empty", [None, float("nan"), pd.NA])
def test_a_row_of_nulls_is_a_row_of_nulls(empty):
    frame = pd.DataFrame({name: pd.Series([empty], dtype=object) for name in FEATURES})
    assert all(polars_rows(frame, FEATURES)[name].null_count() == 1 for name in FEATURES)


@pytest.mark.parametrize("name", ["whole", "yes", "day", "at"])
def test_a_value_that_cannot_be_read_names_its_column(name):
    with pytest.raises(RatchetError, match=f"feature column '{name}' cannot be read as"):
        polars_rows(pd.DataFrame({name: ["nonsense"]}), {name: FEATURES[name]})


def test_a_missing_feature_is_named():
    with pytest.raises(RatchetError, match=r"feature column 'whole' is missing \(has: real\)"):
        polars_rows(pd.DataFrame({"real": [1.0]}), FEATURES)


def test_a_truth_value_as_number_or_text_is_read():
    for value in (1, 1.0, "True", "true", True):
        assert polars_rows(pd.DataFrame({"yes": [value]}), {"yes": "Boolean"})["yes"].item() is True


def test_the_models_own_example_is_json_and_its_server_takes_it(tmp_path):
    """MLflow wrote a missing value as NaN, which no strict reader of JSON takes."""
    row, table = pl.col("row"), example("binary")
    even = row % 2 == 0
    every = {
        "date": pl.date(1996, 4, 3) + pl.duration(days=row),
        "start_time": pl.datetime(2020, 1, 1) + pl.duration(hours=row),
        "lasted": pl.duration(seconds=row),
        "whole": row.cast(pl.Int64),
        "real": row * 0.5,
        "yes": row < 2,
        "text": row.cast(pl.String),
    }
    odd = every | {f"{name}_or_null": pl.when(even).then(value) for name, value in every.items()}
    odd |= {"nan": pl.when(even).then(0.5).otherwise(float("nan")), "modified": pl.when(~even).then(every["date"])}
    frames = (table.rows, table.validation, table.fresh)
    served, model, table = saved("binary", tmp_path, Example(*(f.with_columns(**odd) for f in frames), table.columns))
    expected = model.predict(table.rows.head(3))

    def refuse(name):
        raise AssertionError(f"{name} in JSON")

    kept = json.loads((tmp_path / "model" / "serving_input_example.json").read_text(), parse_constant=refuse)
    body = kept["dataframe_split"]
    first, second = (dict(zip(body["columns"], cells, strict=True)) for cells in body["data"][:2])
    assert (first["date"], second["date_or_null"], second["modified"]) == ("1996-04-03", None, "1996-04-04")
    assert (second["nan"], second["whole_or_null"], second["yes_or_null"], second["lasted_or_null"]) == (None,) * 4
    frame = infer_and_parse_data(kept, served.metadata.get_input_schema())
    np.testing.assert_allclose(served.predict(frame), expected, rtol=1e-6)
    np.testing.assert_allclose(served.predict(served.input_example), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "text", ["1996-04-03", "1996-04-03T00:00:00", "1996-04-03 00:00:00.000", "1996-04-03T00:00:00Z"]
)
def test_a_date_and_midnight_are_the_same_date_and_moment(text):
    features = {"day": "Date", "at": FEATURES["at"]}
    rows = polars_rows(pd.DataFrame({name: [text, None] for name in features}), features)
    assert rows.rows() == [(dt.date(1996, 4, 3), dt.datetime(1996, 4, 3)), (None, None)]


@pytest.mark.parametrize("value", ["1996-04-03T06:00:00", pd.Timestamp("1996-04-03T06:00:00")])
def test_a_time_of_day_is_not_cut_off_a_date(value):
    with pytest.raises(
        RatchetError, match=r"feature column 'day' cannot be read as Date: 1996-04-03.06:00:00.* is a time of day"
    ):
        polars_rows(pd.DataFrame({"day": [value]}), {"day": "Date"})

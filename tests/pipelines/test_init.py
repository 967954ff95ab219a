"""`ratchet init`: what it decides about a table, what it writes, and what it refuses."""

import json
import re
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.config import Config, load
from kfp_ratchet.pipelines.config_yaml import read_yaml
from kfp_ratchet.pipelines.init import init
from kfp_ratchet.pipelines.table_facts import evaluation_length, scan


@pytest.fixture
def table(tmp_path: Path):
    def write(name: str = "data.csv", **columns: object) -> Path:
        path = tmp_path / name
        frame = pl.DataFrame(columns)
        frame.write_csv(path) if name.endswith(".csv") else frame.write_parquet(path)
        return path

    return write


def numbers(rows: int = 300) -> dict[str, object]:
    return {"x": [n / 7 for n in range(rows)], "y": [n % 2 for n in range(rows)]}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("name", "problem", "rows"),
    [("diabetes", "regression", 442), ("wine", "multiclass", 178), ("breast_cancer", "binary", 569)],
)
def test_scikit_learns_tables_give_a_valid_project(tmp_path, name, problem, rows, suffix):
    from sklearn import datasets

    frame = pl.from_pandas(getattr(datasets, f"load_{name}")(as_frame=True).frame)
    data = tmp_path / f"{name}.{suffix}"
    frame.write_csv(data) if suffix == "csv" else frame.write_parquet(data)
    written = init(data, "target", folder=tmp_path)
    config = load(written.config)
    assert config.columns.problem == problem
    assert config.columns.positive == (1 if problem == "binary" else None)
    assert (config.columns.id, config.columns.time) == ("", "")
    assert config.source == data.name
    assert config.policy.min_rows < rows * 0.2, "a table this small could never be judged"
    assert any("whole row" in sentence for sentence in written.said)
    assert json.loads(config.parameters()["schema"]) == {"rows": written.schema.read_text()}


def test_the_drafted_schema_accepts_the_table(tmp_path, table):
    from kfp_ratchet.components.validate.schema import parse_schemas

    data = table(**numbers())
    written = init(data, "y", folder=tmp_path)
    parse_schemas(written.schema.read_text(), ["rows"])["rows"].validate(pl.read_csv(data))


def test_every_key_of_the_configuration_is_in_the_file_and_the_commented_ones_are_valid(tmp_path, table):
    days = [(date(2024, 1, 1) + timedelta(days=n)).isoformat() for n in range(300)]
    written = init(table(**numbers(), on=days, row_id=list(range(300))), "y", folder=tmp_path)
    Path(tmp_path, "rows.sql").write_text("SELECT * FROM rows")
    uncommented = re.sub(r"^( *)#(?=\S|  )", r"\1", written.config.read_text(), flags=re.MULTILINE)
    written.config.write_text(uncommented)
    assert set(read_yaml(written.config).value) == {field.alias or name for name, field in Config.model_fields.items()}
    assert load(written.config).columns.slices == ("x",)


def test_the_only_date_column_and_the_only_unique_id_are_taken_and_said(tmp_path, table):
    days = [(date(2024, 1, 1) + timedelta(days=n % 100)).isoformat() for n in range(300)]
    written = init(table(**numbers(), day=days, customer_id=list(range(300))), "y", folder=tmp_path)
    columns = load(written.config).columns
    assert (columns.time, columns.id) == ("day", "customer_id")
    assert any("'day' is the only date" in sentence for sentence in written.said)


def test_two_date_columns_are_not_guessed_between(tmp_path, table):
    days = [date(2024, 1, 1) + timedelta(days=n) for n in range(300)]
    written = init(table("d.parquet", **numbers(), born=days, died=days), "y", folder=tmp_path)
    assert load(written.config).columns.time == ""
    assert any("born, died: name one" in sentence for sentence in written.said)


def test_names_that_yaml_would_misread_are_quoted(tmp_path, table):
    odd = {"true": ["yes", "no"] * 150, "a: b # c": list(range(300)), "1e3": ["2024-01-01"] * 299 + ["2024-03-01"]}
    columns = load(init(table(**odd), "true", id="a: b # c", time="1e3", folder=tmp_path).config).columns
    assert (columns.target, columns.id, columns.time, columns.positive) == ("true", "a: b # c", "1e3", "yes")


@pytest.mark.parametrize("name", ["2024", "null", "true", "1e3"])
def test_a_name_that_yaml_would_misread_is_quoted(tmp_path, table, name):
    assert load(init(table(f"{name}.csv", **numbers()), "y", folder=tmp_path).config).name == name


@pytest.mark.parametrize("name", ["id", "ID", "row id", "rowid", "Row_ID", "customerId", "order-id"])
def test_a_unique_column_that_is_called_an_id_is_one(tmp_path, table, name):
    data = table(**numbers(), paid=list(range(300)), **{name: list(range(5, 305))})
    assert load(init(data, "y", folder=tmp_path).config).columns.id == name


def test_a_file_that_ratchet_would_refuse_is_not_written(tmp_path, table, monkeypatch):
    from kfp_ratchet.pipelines import init as module

    monkeypatch.setattr(module, "_quoted", str)
    with pytest.raises(InputError, match="name: must be text"):
        init(table("2024.csv", **numbers()), "y", folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["2024.csv"]


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, table):
    data = table(**numbers())
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file cannot be written to: .*--folder"):
        init(data, "y", folder=tmp_path / "file")
    (tmp_path / "half" / "schema.yaml").mkdir(parents=True)
    with pytest.raises(InputError, match=r"half cannot be written to"):
        init(data, "y", folder=tmp_path / "half", force=True)
    assert not (tmp_path / "half" / "ratchet.yaml").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "x,y\n1,caf\xe9\n2,b\n".encode("latin-1"),
            r"odd\.csv cannot be read in line 2: invalid utf-8.*write it in UTF-8",
        ),
        (b"x;y\n1;2\n2;3\n", r"odd\.csv is separated by ';'; write it comma-separated"),
        (b"x;y\n1,5;2\n2;3\n", r"odd\.csv is separated by ';'; write it comma-separated"),
        (b"x\ty\n1\t2\n", r"odd\.csv is separated by '\\t'"),
        (b"x,y\n1,2\n2,3,4\n", r"odd\.csv cannot be read in line 3: .*comma-separated .* as many values in each line"),
        (b"", r"odd\.csv is empty"),
        (b"x,y\n", r"odd\.csv has no rows"),
    ],
)
def test_a_csv_of_another_kind_is_an_input_error_that_says_what_to_do(tmp_path, content, expected):
    data = tmp_path / "odd.csv"
    data.write_bytes(content)
    for read in (lambda: init(data, "y", folder=tmp_path), lambda: scan(data).collect()):
        with pytest.raises(InputError, match=expected):
            read()
    assert [path.name for path in tmp_path.iterdir()] == ["odd.csv"]


def test_present_files_are_never_overwritten_without_force(tmp_path, table):
    data = table(**numbers())
    (tmp_path / "schema.yaml").write_text("mine")
    with pytest.raises(InputError, match=r"schema\.yaml exist.*--force"):
        init(data, "y", folder=tmp_path)
    assert (tmp_path / "schema.yaml").read_text() == "mine"
    assert not (tmp_path / "ratchet.yaml").exists()
    init(data, "y", folder=tmp_path, force=True)
    assert (tmp_path / "schema.yaml").read_text() != "mine"


def test_a_failure_leaves_nothing_behind(tmp_path, table):
    with pytest.raises(InputError):
        init(table(**numbers()), "z", folder=tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("columns", "options", "expected"),
    [
        ({"target": "yy"}, numbers(), "target column 'yy' is not in .* did you mean 'y'"),
        ({"time": "x1"}, numbers(), "time column 'x1' is not in"),
        ({"id": "x1"}, numbers(), "id column 'x1' is not in"),
        ({"id": "k"}, {**numbers(), "k": [1] * 300}, "id column 'k' does not identify rows: 1 different values in 300"),
        ({"id": "y"}, numbers(), "does not identify|two roles"),
        ({"time": "x"}, numbers(), "time column 'x' holds Float64"),
        ({"time": "s"}, {**numbers(), "s": ["soon"] * 300}, "holds no ISO dates or times .first: 'soon'"),
        ({"name": "My Model"}, numbers(), "try my-model"),
        ({}, {"x": [1, 2], "y": [5, 5]}, "'y' is 5 in every row"),
        ({}, {"x": [1, 2], "y": [None, None]}, "'y' is empty in every row"),
        ({}, {"x": [1], "y": [5]}, "has 1 row$|has 1 row;"),
        ({}, {"x": list(range(90)), "y": [f"name {n}" for n in range(90)]}, "90 different values in 90 rows"),
    ],
)
def test_what_cannot_be_learnt_is_refused_with_a_remedy(tmp_path, table, columns, options, expected):
    arguments = {"target": "y", **columns}
    with pytest.raises(InputError, match=expected):
        init(table("d.parquet", **options), folder=tmp_path, **arguments)


def test_missing_broken_and_unknown_files_are_input_errors(tmp_path, table):
    table("flights.csv", **numbers())
    with pytest.raises(InputError, match=r"did you mean .*flights\.csv"):
        init(tmp_path / "flihgts.csv", "y", folder=tmp_path)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="broken"):
        init(tmp_path / "broken.parquet", "y", folder=tmp_path)
    (tmp_path / "a.xlsx").write_bytes(b"x")
    with pytest.raises(InputError, match="xlsx"):
        init(tmp_path / "a.xlsx", "y", folder=tmp_path)


def test_a_folder_of_files_is_one_table(tmp_path):
    for month in (1, 2):
        folder = tmp_path / "data" / f"month={month}"
        folder.mkdir(parents=True)
        pl.DataFrame(numbers()).write_parquet(folder / "part.parquet")
    (tmp_path / "data" / "_SUCCESS").touch()
    written = init(tmp_path / "data", "y", folder=tmp_path)
    assert load(written.config).source == "data"


@pytest.mark.parametrize(
    ("days", "expected"), [(400, "14d"), (70, "14d"), (30, "6d"), (5, "1d"), (1, "4h"), (0.01, "1h")]
)
def test_the_evaluation_window_never_takes_most_of_the_data(days, expected):
    assert evaluation_length(timedelta(days=days)) == expected


def test_a_date_column_without_a_date_is_no_time(tmp_path, table):
    data = table("t.parquet", **numbers(), day=pl.Series([None] * 300, dtype=pl.Date))
    assert load(init(data, "y", folder=tmp_path).config).columns.time == ""


def test_a_date_beyond_the_calendar_is_told(tmp_path, table):
    data = table("t.parquet", **numbers(), day=pl.Series([2**31 - 1] * 300, dtype=pl.Int32).cast(pl.Date))
    with pytest.raises(InputError, match=r"column 'day' of .*t\.parquet holds a time outside the years 1 to 9999"):
        init(data, "y", folder=tmp_path)


def test_a_target_of_lists_is_told(tmp_path, table):
    with pytest.raises(InputError, match=r"target 'y' holds List\(Int64\)"):
        init(table("t.parquet", x=[1, 2], y=[[1], [1]]), "y", folder=tmp_path)


def test_a_pipelines_yaml_is_written_that_compiles_and_whose_comments_are_valid(tmp_path, table):
    from kfp_ratchet.pipelines.compile import compiled_pipelines
    from kfp_ratchet.pipelines.declared import load_declared

    path = init(table(**numbers()), "y", name="my-model", folder=tmp_path).pipelines
    (found,) = compiled_pipelines(load_declared(path)).values()
    assert found.name == "my-model" and found.spec.parameters["model_name"].default == "my-model"
    path.write_text(re.sub(r"^#(?=  )", "", path.read_text(), flags=re.MULTILINE))
    declared = load_declared(path)
    assert list(declared.servers) == ["local", "production"]
    assert list(declared.pipelines["my-model"].schedules) == ["nightly"]
    assert declared.pipelines["my-model"].parameters == {"trials": 20}


def test_a_pipelines_yaml_that_is_there_stays(tmp_path, table):
    (tmp_path / "pipelines.yaml").write_text("name: others\n")
    data = table(**numbers())
    assert init(data, "y", folder=tmp_path, force=True).pipelines is None
    assert (tmp_path / "pipelines.yaml").read_text() == "name: others\n"
    assert init(data, "y", folder=tmp_path / "none", pipelines=False).pipelines is None
    assert not (tmp_path / "none" / "pipelines.yaml").exists()

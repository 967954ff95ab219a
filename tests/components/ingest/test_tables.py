"""Ingest: a pinned revision of the source as a Dataset."""

import json
import subprocess
import sys
from datetime import date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_ratchet.components.ingest.tables import _within, ingest_source
from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.dataset import Dataset, read_main, scan_table
from kfp_ratchet.components.shared.errors import BlockedError, InputError, RatchetError
from kfp_ratchet.components.shared.journal import read_run
from kfp_ratchet.components.shared.manifest import list_source
from kfp_ratchet.components.shared.split import split
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.components.shared.window import Window


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def ingest(tmp_path, data):
    """Pin and ingest `data`; returns the main table."""
    out = str(tmp_path / "run-1" / "ingest" / "dataset")

    def run(source=None, columns="{}", window="{}", schema="", revision=None, keep=True):
        source = str(data) if source is None else source
        store = str(tmp_path / "store") if keep else ""
        if revision is None:
            manifest = list_source(source)
            revision = manifest.revision
            if keep:
                manifest.keep(Store(store))
        ingest_source(source, revision, columns, window, schema, store, out, out)
        return read_main(out)

    return run


def schema(**dtypes):
    return json.dumps({"columns": {name: {"dtype": dtype, "nullable": True} for name, dtype in dtypes.items()}})


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("x.parquet", lambda rows, path: rows.write_parquet(path)),
        ("x.csv", lambda rows, path: rows.write_csv(path)),
        ("x.csv.gz", lambda rows, path: rows.write_csv(path, compression="gzip")),
        ("x.csv.zst", lambda rows, path: rows.write_csv(path, compression="zstd")),
        ("x.jsonl", lambda rows, path: rows.write_ndjson(path)),
        ("x.ndjson.gz", lambda rows, path: rows.write_ndjson(path, compression="gzip")),
        ("x.arrow", lambda rows, path: rows.write_ipc(path)),
        ("X.PARQUET", lambda rows, path: rows.write_parquet(path)),
    ],
)
def test_every_format_gives_the_same_rows(ingest, data, name, write):
    rows = pl.DataFrame({"n": [1, None, 3], "f": [0.5, 1.0, None], "b": [True, False, None], "s": ["a", "NA", "ü,\n"]})
    write(rows, data / name)
    assert ingest().equals(rows)


def test_types_do_not_depend_on_which_rows_come_first(ingest, data):
    (data / "a.csv").write_text("code,amount\n" + "1,1\n" * 2000 + "x,2.5\n")
    (data / "b.csv").write_text("code,amount\n2,3\n")
    rows = ingest()
    assert rows.schema == {"code": pl.String, "amount": pl.Float64}
    assert rows["code"][-1] == "2"


def test_a_file_without_values_does_not_turn_numbers_into_text(ingest, data):
    (data / "a.csv").write_text("n,m\n")
    (data / "b.csv").write_text("n,m\n5,\n")
    (data / "c.csv").write_text("n,m\n,NA\n")
    assert ingest().schema == {"n": pl.Int64, "m": pl.String}


def test_a_large_number_used_as_a_name_keeps_all_its_digits(ingest, data):
    (data / "a.csv").write_text("n\n99999999999999999999\n")
    assert ingest()["n"].to_list() == ["99999999999999999999"]


def test_the_schema_names_types_that_the_data_would_hide(ingest, data):
    (data / "a.csv").write_text("zip,at,day,late,n\n00501,2013-01-01T00:00:00Z,2013-01-01,TRUE, 7\n,,,0,NA\n")
    rows = ingest(schema=schema(zip="String", at="Datetime", day="Date", late="Boolean", n="Int8"))
    assert rows.rows() == [
        ("00501", datetime(2013, 1, 1), date(2013, 1, 1), True, 7),
        (None, None, None, False, None),
    ]
    assert rows.schema["n"] == pl.Int8


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("Int64", "1.5"),
        ("Int8", "300"),
        ("Float64", "abc"),
        ("Date", "2013-13-01"),
        ("Boolean", "maybe"),
        ("Datetime", "noon"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_value_that_is_not_of_its_type_is_shown_with_file_and_column(ingest, data, dtype, value, suffix):
    good = {"Boolean": "true", "Date": "2013-01-01", "Datetime": "2013-01-01"}.get(dtype, "1")
    for name, text in (("a", good), ("b", value)):
        line = f"v\n{text}\n" if suffix == "csv" else json.dumps({"v": text}) + "\n"
        (data / f"{name}.{suffix}").write_text(line)
    with pytest.raises(BlockedError, match=rf"column 'v' of .*b\.{suffix} holds '{value}', which is not {dtype}"):
        ingest(schema=schema(v=dtype))


def test_folders_named_key_value_are_columns(ingest, data):
    for month, day, place in ((7, "2013-07-01", "a%20b"), (12, "2013-12-01", "__HIVE_DEFAULT_PARTITION__")):
        folder = data / f"month={month:02}" / f"day={day}" / f"place={place}"
        folder.mkdir(parents=True)
        pl.DataFrame({"n": [month]}).write_parquet(folder / "part.parquet")
    rows = ingest()
    assert rows.rows() == [(7, 7, date(2013, 7, 1), "a b"), (12, 12, date(2013, 12, 1), None)]
    assert ingest(schema=schema(month="String"))["month"].to_list() == ["07", "12"]


def test_a_column_in_the_file_goes_before_its_folder(ingest, data):
    (data / "month=7").mkdir()
    pl.DataFrame({"month": ["July"]}).write_parquet(data / "month=7" / "part.parquet")
    assert ingest().rows() == [("July",)]


def test_folders_above_the_source_are_no_columns(ingest, data):
    below = data / "tenant=3" / "flights"
    below.mkdir(parents=True)
    pl.DataFrame({"n": [1]}).write_parquet(below / "part.parquet")
    assert ingest(source=str(below)).columns == ["n"]


def test_files_of_one_table_must_have_the_same_columns(ingest, data):
    pl.DataFrame({"n": [1], "m": [1]}).write_parquet(data / "a.parquet")
    pl.DataFrame({"m": [2], "n": [1]}).write_parquet(data / "b.parquet")
    assert ingest().rows() == [(1, 1), (1, 2)]
    pl.DataFrame({"n": [1], "k": [2]}).write_parquet(data / "c.parquet")
    with pytest.raises(BlockedError, match=r"c\.parquet lacks column 'm' and adds column 'k', unlike .*a\.parquet"):
        ingest()


def test_the_odd_file_is_named_even_when_it_comes_first(ingest, data):
    pl.DataFrame({"n": [1]}).write_parquet(data / "a.parquet")
    for name in ("b", "c"):
        pl.DataFrame({"n": [1], "m": [1]}).write_parquet(data / f"{name}.parquet")
    with pytest.raises(BlockedError, match=r"a\.parquet lacks column 'm', unlike .*b\.parquet"):
        ingest()


def test_types_widen_without_loss_or_not_at_all(ingest, data):
    pl.DataFrame({"n": [1]}, schema={"n": pl.Int32}).write_parquet(data / "a.parquet")
    pl.DataFrame({"n": [2**40]}).write_parquet(data / "b.parquet")
    pl.DataFrame({"n": [None]}).write_parquet(data / "c.parquet")
    assert ingest()["n"].to_list() == [1, 2**40, None]
    pl.DataFrame({"n": [0.5]}).write_parquet(data / "d.parquet")
    with pytest.raises(BlockedError, match=r"column 'n' is Float64 in .*d\.parquet"):
        ingest()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("b.csv", b"", "is empty"),
        ("b.csv", b"n\n1,2\n", "cannot be read in line 2: .*a line holds more values than the header names"),
        ("b.csv", b"n\n\xff\xfe\n", "cannot be read in line 2: .*save it as UTF-8"),
        ("b.csv", b"M\xfcnchen\n1\n", "not UTF-8 text; save it as UTF-8"),
        ("b.csv.gz", b"\x1f\x8b\x08\x00", "cannot be read"),
        ("b.xlsx", b"PK", "not a supported file"),
        ("b.jsonl", b'{"n": 1}', "keep one format"),
        ("README.md", b"# Data", "not a supported file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(ingest, data, name, content, told):
    (data / "a.csv").write_text("n\n1\n")
    (data / name).write_bytes(content)
    with pytest.raises(InputError, match=told) as caught:
        ingest()
    assert name in caught.value.message


def test_a_truncated_file_is_named(ingest, data):
    pl.DataFrame({"n": range(10_000)}).write_parquet(data / "a.parquet")
    content = (data / "a.parquet").read_bytes()
    (data / "b.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"b\.parquet cannot be read"):
        ingest()


def test_a_damaged_page_is_named(ingest, data):
    pl.DataFrame({"n": range(10_000)}).write_parquet(data / "a.parquet")
    content = bytearray((data / "a.parquet").read_bytes())
    content[40 : len(content) // 2] = bytes(len(content) // 2 - 40)
    (data / "b.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"b\.parquet cannot be read"):
        ingest()


def test_a_column_named_twice_is_told(ingest, data):
    (data / "a.csv").write_text("n,n\n1,2\n")
    with pytest.raises(InputError, match="names the column 'n' twice"):
        ingest()


def test_a_file_that_changed_after_it_was_pinned_is_named(ingest, data, tmp_path):
    (data / "a.csv").write_text("n\n1\n")
    manifest = list_source(str(data))
    manifest.keep(Store(str(tmp_path / "store")))
    (data / "late.csv").write_text("n\n2\n")
    assert ingest(revision=manifest.revision).height == 1, "what came later is no part of the revision"
    (data / "a.csv").write_text("n\n9\n")
    with pytest.raises(RatchetError, match=r"a\.csv has changed since it was pinned"):
        ingest(revision=manifest.revision)


def test_without_a_kept_manifest_the_source_must_still_be_the_same(ingest, data):
    (data / "a.csv").write_text("n\n1\n")
    revision = list_source(str(data)).revision
    assert ingest(revision=revision, keep=False).height == 1
    (data / "late.csv").write_text("n\n2\n")
    with pytest.raises(RatchetError, match="no longer at"):
        ingest(revision=revision, keep=False)
    with pytest.raises(InputError, match="revision is empty"):
        ingest(revision="", keep=False)


def test_several_tables_keep_their_names_and_order(ingest, data, tmp_path):
    (data / "f.csv").write_text("n\n1\n")
    (data / "a.csv").write_text("m\n1\n2\n")
    source = json.dumps({"flights": str(data / "f.csv"), "airports": str(data / "a.csv")})
    assert ingest(source=source, schema='{"flights": {"columns": {"n": {"dtype": "Float64"}}}}').schema == {
        "n": pl.Float64
    }
    out = tmp_path / "run-1" / "ingest" / "dataset"
    assert Dataset.read(out).main == "flights"
    assert scan_table(out, "airports").collect().height == 2
    assert read_run(Store(str(tmp_path / "store")), "run-1")["ingest"].line.startswith("1 row, 1 column from 2 files, ")


def test_rows_outside_the_window_are_left_out_and_rows_without_a_time_are_not(ingest, data, tmp_path):
    (data / "a.csv").write_text('at\n2012-01-01\n2013-06-01\n2013-06-30T23:59:59\n2013-07-01\n\n"?"\n')
    rows = ingest(columns='{"time": "at"}', window='{"end": "2013-06-30", "evaluate": "14d", "train": "30d"}')
    assert rows["at"].to_list() == ["2013-06-01", "2013-06-30T23:59:59", None, "?"]
    assert read_run(Store(str(tmp_path / "store")), "run-1")["ingest"].details["left_out"] == 2
    with pytest.raises(InputError, match="none of 1 row of table 'rows' is in the window, which ends at 2013-06-30"):
        (data / "a.csv").write_text("at\n2014-01-01\n")
        ingest(columns='{"time": "at"}', window='{"end": "2013-06-30"}')


@given(
    st.lists(st.integers(0, 400), min_size=5, max_size=40),
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(100, 400),
)
@settings(max_examples=60, deadline=None)
def test_leaving_rows_out_never_changes_the_split(offsets, train, evaluate, end):
    start = datetime(2013, 1, 1)
    rows = pl.DataFrame({"id": range(len(offsets)), "at": [start + timedelta(days=day) for day in offsets]})
    window = Window(train=f"{train}d", evaluate=f"{evaluate}d", end=(start + timedelta(days=end)).date().isoformat())
    roles = Columns(id="id", time="at")
    kept, left_out = _within(rows.lazy(), "at", window)
    assert kept.collect().height + left_out == rows.height
    try:
        before = split(rows, roles, window)
    except RatchetError:
        return
    after = split(kept.collect(), roles, window)
    assert before.train.equals(after.train)
    assert before.evaluate.equals(after.evaluate)


def test_the_newest_row_may_be_left_out_later(ingest, data):
    """The split counts back from the newest row that validation accepts, not from the newest one in the files."""
    start, roles = datetime(2013, 1, 1), Columns(id="id", time="at")
    rows = pl.DataFrame({"id": range(200), "at": [start + timedelta(days=day) for day in range(200)]})
    window = Window(train="30d", evaluate="14d", end="2013-12-31")
    kept = _within(rows.lazy(), "at", window)[0].collect()
    assert kept.height < rows.height
    accepted = pl.col("id") < 180
    before, after = (split(table.filter(accepted), roles, window) for table in (rows, kept))
    assert before.train.equals(after.train)


def test_a_source_that_knows_its_types_needs_no_pandera():
    code = "import sys, kfp_ratchet.components.ingest.tables; print([m for m in ('pandera', 'pandas') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )

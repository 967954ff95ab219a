"""Text files: read in one pass, by polars' reader where it can; the result is the same whichever reads."""

import gzip
import io
import zipfile
from datetime import datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_ratchet.components.ingest.conversion import MISSING, UnreadableError
from kfp_ratchet.components.ingest.formats import READ_ERRORS, broken, scan_files
from kfp_ratchet.components.ingest.table_file import TableFile
from kfp_ratchet.components.ingest.tables import write_files
from kfp_ratchet.components.shared.dataset import scan_table
from kfp_ratchet.components.shared.errors import BlockedError, InputError
from kfp_ratchet.components.shared.window import Window

ROWS = 300_000
"""Enough for polars to read in several batches."""


def table_file(path, content):
    path.write_bytes(content)
    return TableFile(path, path.name, f"s3://bucket/{path.name}")


@pytest.fixture
def ingested(tmp_path):
    """Writes files, given by name, as a table, and reads it back."""

    def ingested(types=None, /, **contents):
        files = [table_file(tmp_path / name.replace("__", "."), content) for name, content in contents.items()]
        try:
            write_files(files, types or {}, str(tmp_path / "out"), "rows", "", Window())
        except READ_ERRORS as error:
            raise broken(files, types or {}, error) from error
        return scan_table(tmp_path / "out", "rows").collect()

    return ingested


def left(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


numbers = st.from_regex(r"[ \t]?[-+]?[0-9]{0,4}(\.[0-9]{0,3})?([eE][-+]?[0-9]{1,3})?[ \t]?", fullmatch=True)
words = st.sampled_from(
    [*MISSING, "NAN", "-nan", "+NaN", "inf", "-Infinity", "1_000", "0x1", "٣", "--1", '"7"', '" 7 "', '""', '"NA"']
)
edges = st.sampled_from([127, 128, -129, 255, 65_536, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30]).map(str)
NUMBERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt64, pl.Float32, pl.Float64)  # fmt: skip


@given(st.lists(numbers | words | edges, min_size=1, max_size=4), st.sampled_from(NUMBERS))
@settings(max_examples=150, deadline=None)
def test_polars_reader_never_makes_another_number_of_a_text(tmp_path_factory, texts, dtype):
    content = "v,w\n" + "".join(f"{text},x\n" for text in texts)
    file = table_file(tmp_path_factory.mktemp("numbers") / "a.csv", content.encode())
    try:
        direct = scan_files([file], {"v": dtype}, direct=True).collect()
    except (pl.exceptions.ComputeError, UnreadableError):
        return
    assert direct.equals(scan_files([file], {"v": dtype}).collect())


@pytest.mark.parametrize("late", [b"7 ,a\n", b"N/A,NA\n", b'" 8 ",a\n'])
def test_a_number_that_only_the_slower_reading_takes_is_read(ingested, late):
    """Far from the first rows, from which the faster reading is guessed."""
    rows = ingested({"n": pl.Int64, "s": pl.String}, a__csv=b"n,s\n" + b"1,NA\n" * ROWS + b"NA,NA\n" + late)
    assert rows["s"][0] == "NA", "in text it is text"
    assert rows["n"].sum() == ROWS + int(late.strip(b'" N/A,a\n') or 0)
    assert rows["n"][-2] is None


def test_nan_of_any_spelling_is_missing(ingested):
    rows = ingested({"f": pl.Float64, "n": pl.Int64}, a__csv=b"f,n\n1.5,1\nNAN,2\n-nan,3\nNaN,4\nnan,nan\n")
    assert rows["f"].to_list() == [1.5, None, None, None, None]


@pytest.mark.parametrize("dtype", [pl.Int64, pl.Float64, pl.Datetime("us"), pl.Date, pl.Boolean])
def test_a_bad_value_far_down_is_named_and_counted(ingested, tmp_path, dtype):
    good = {pl.Int64: b"1", pl.Float64: b"1.5", pl.Boolean: b"true"}.get(dtype, b"2013-01-01")
    content = b"s,v\n" + b"a," + (good + b"\na,") * ROWS + b"oops\nb,oops\n"
    with pytest.raises(BlockedError, match=r"'v' of s3://bucket/b\.csv holds 'oops' \(and 1 more such\), which is not"):
        ingested({"s": pl.String, "v": dtype}, a__csv=b"s,v\na,\n", b__csv=content)
    assert not left(tmp_path / "out")


def test_times_of_several_forms_in_one_column_are_read(ingested):
    texts = [
        "2013-01-01T05:00:00Z",
        "2013-01-01",
        "2013-01-01 05:00",
        "2013-01-01T05:00:00.5+02:00",
        " 2013-01-01 ",
        "",
    ]
    first, hour = datetime(2013, 1, 1), datetime(2013, 1, 1, 5)
    expected = [hour, first, hour, datetime(2013, 1, 1, 3, 0, 0, 500_000), first, None]
    for turn in range(len(texts)):
        content = "\n".join(["s,at", *(f"x,{text}" for text in texts[turn:] + texts[:turn])])
        rows = ingested({"at": pl.Datetime("us")}, a__csv=content.encode())
        assert rows["at"].to_list() == expected[turn:] + expected[:turn]
    zoned = ingested({"at": pl.Datetime("us", "Europe/Berlin")}, a__csv=b"at\n2013-01-01T05:00:00Z\n")
    assert zoned["at"].dt.convert_time_zone("UTC").dt.replace_time_zone(None).to_list() == [hour]


def test_types_that_no_schema_names_fit_all_rows_of_all_files(ingested):
    header = b"truth,whole,real,phone,big,late,empty,zip\n"
    rows = ingested(
        a__csv=header + b"TRUE, 1,1,+49,99999999999999999999,1,,00501\n" * ROWS + b"NA,NA,NaN,,,x,,\n",
        b__csv=header + b"false,2 ,2.5,7,1.5,2,NA,1\n",
        c__csv=header,
    )
    assert dict(rows.schema) == {
        "truth": pl.Boolean,
        "whole": pl.Int64,
        "real": pl.Float64,
        "phone": pl.String,
        "big": pl.String,
        "late": pl.String,
        "empty": pl.String,
        "zip": pl.Int64,
    }
    assert rows.row(-1) == (False, 2, 2.5, "7", "1.5", "2", "NA", 1)


@pytest.mark.parametrize("cut", [8, 30, "half"])
@pytest.mark.parametrize("packer", ["gz", "zst"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("types", [{}, {"n": pl.Int64, "s": pl.String}])
def test_a_truncated_archive_is_named_and_nothing_of_it_stays(ingested, tmp_path, cut, packer, suffix, types):
    rows = pl.DataFrame({"n": range(50_000)}).with_columns(s=pl.col("n").hash().cast(pl.String))
    archive = io.BytesIO()
    write = rows.write_csv if suffix == "csv" else rows.write_ndjson
    write(archive, compression="gzip" if packer == "gz" else "zstd")
    packed = archive.getvalue()
    damaged = packed[: len(packed) // 2 if cut == "half" else -cut]
    names = {f"a__{suffix}__{packer}": packed, f"b__{suffix}__{packer}": damaged}
    with pytest.raises(InputError, match=rf"bucket/b\.{suffix}\.{packer} cannot be read: .*is it complete\? write it"):
        ingested(types, **names)
    assert not left(tmp_path / "out")
    assert ingested(types, **dict.fromkeys(names, packed)).height == 100_000


def parquet():
    content = io.BytesIO()
    pl.DataFrame({"n": [1]}).write_parquet(content)
    return content.getvalue()


def archive():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as files:
        files.writestr("a.csv", "n\n1\n")
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a__parquet", b"n\n1\n", "it is Parquet by its name, and something else by its content; name it after what it holds"),
        ("a__parquet", gzip.compress(parquet()), "it is Parquet by its name, and something else by its content"),
        ("a__arrow", parquet(), "it is Arrow IPC by its name, and Parquet by its content"),
        ("a__csv", parquet(), "it is CSV by its name, and Parquet by its content"),
        ("a__csv", archive(), "it is CSV by its name, and a zip archive by its content"),
        ("a__parquet__gz", gzip.compress(parquet()), "a.parquet.gz is compressed as a whole, .*; deliver it uncompressed"),
        ("a__csv__gz", b"", "a.csv.gz is empty"),
        ("a__csv__gz", gzip.compress(b""), "a.csv.gz cannot be read: empty CSV"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_its_name_says_is_named(ingested, name, content, told):
    with pytest.raises(InputError, match=rf"s3://bucket/.*{told}"):
        ingested(**{name: content})


def test_compression_may_be_left_out_of_a_name(ingested):
    assert ingested(a__csv=gzip.compress(b"n\n1\n"), b__csv=b"n\n2\n")["n"].to_list() == [1, 2]


@pytest.mark.parametrize("types", [{}, {"n": pl.Int64}])
def test_text_files_with_other_columns_are_named(ingested, tmp_path, types):
    with pytest.raises(
        BlockedError, match=r"bucket/b\.csv lacks column 'm' and adds column 'k', unlike s3://bucket/a\.csv"
    ):
        ingested(types, a__csv=b"n,m\n1,2\n", b__csv=b"n,k\n1,2\n", c__csv=b"n,j\n1,2\n")
    assert not left(tmp_path / "out")


def test_files_of_a_header_alone_have_no_rows_and_do_no_harm(ingested):
    assert ingested(a__csv=b"n,s\n").shape == (0, 2)
    assert ingested({"n": pl.Int8}, a__csv=b"n,s\n", b__csv=b"s,n\nx,7").rows() == [(7, "x")]

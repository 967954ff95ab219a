"""Objects that change, go or are damaged between the pin and the read: what was pinned is read, or nothing."""

import shutil
from datetime import datetime

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from kfp_ratchet.components.pin.watermark import watermark
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.manifest import list_source
from kfp_ratchet.components.shared.sources import Memory, fetching, open_source
from kfp_ratchet.components.shared.sources.fetching import fetched_folder


def test_a_versioned_bucket_is_read_as_it_was_pinned(data, steps):
    data.keep_versions()
    rows = data.put_rows(4)
    revision = steps.pin(f"{data.uri}/rows")
    data.put("rows/0001.parquet", b"something else")
    data.delete("rows/0002.parquet")
    data.put_rows(1, first=9)
    assert_frame_equal(steps.ingest(f"{data.uri}/rows", revision), rows)
    assert steps.pin(f"{data.uri}/rows") != revision


def test_an_object_overwritten_after_the_pin_is_named(data, steps):
    data.put_rows(4)
    revision = steps.pin(f"{data.uri}/rows")
    data.put_rows(1, first=2)
    before = (data.client.head_object(Bucket=data.name, Key="rows/0003.parquet"))["ETag"]
    data.put("rows/0003.parquet", b"x" * 900)
    assert data.client.head_object(Bucket=data.name, Key="rows/0003.parquet")["ETag"] != before
    error = steps.refused(f"{data.uri}/rows", revision)
    assert error.message == f"{data.uri}/rows/0003.parquet has changed since it was pinned"
    assert "start a new run" in error.remedy


def test_an_object_written_again_with_the_same_bytes_is_the_same(data, steps):
    rows = data.put_rows(2)
    revision = steps.pin(f"{data.uri}/rows")
    data.put_rows(2)
    assert steps.pin(f"{data.uri}/rows") == revision
    assert_frame_equal(steps.ingest(f"{data.uri}/rows", revision), rows)


@pytest.mark.parametrize("gone", [["0002"], ["0000", "0001", "0003"]])
def test_objects_deleted_after_the_pin_are_named(data, steps, gone):
    data.put_rows(6)
    revision = steps.pin(f"{data.uri}/rows")
    for name in gone:
        data.delete(f"rows/{name}.parquet")
    error = steps.refused(f"{data.uri}/rows", revision)
    assert any(f"{data.uri}/rows/{name}.parquet is gone since it was pinned" in error.message for name in gone)
    assert "start a new run" in error.remedy


def test_a_version_deleted_for_ever_is_named(data, steps):
    data.keep_versions()
    data.put_rows(2)
    revision = steps.pin(f"{data.uri}/rows")
    for one in data.client.list_object_versions(Bucket=data.name, Prefix="rows/0001")["Versions"]:
        data.client.delete_object(Bucket=data.name, Key=one["Key"], VersionId=one["VersionId"])
    assert "/rows/0001.parquet is gone since" in steps.refused(f"{data.uri}/rows", revision).message


def test_a_bucket_that_is_gone_after_the_pin_is_named(data, steps):
    data.put_rows(1)
    revision = steps.pin(f"{data.uri}/rows")
    data.delete("rows/0000.parquet")
    data.client.delete_bucket(Bucket=data.name)
    assert data.uri in steps.refused(f"{data.uri}/rows", revision).message


def test_a_server_that_ignores_the_condition_is_noticed(rclone, steps):
    """`rclone serve s3` gives what is there now, whatever ETag was asked for."""
    rows = rclone / "data" / "rows"
    rows.mkdir(parents=True)
    for number in range(3):
        pl.DataFrame({"x": [number, 0]}).write_parquet(rows / f"{number}.parquet")
    revision = steps.pin("s3://data/rows")
    size = (rows / "1.parquet").stat().st_size
    content = (rows / "1.parquet").read_bytes()
    (rows / "1.parquet").write_bytes(content[:-20] + b"?" + content[-19:])
    assert (rows / "1.parquet").stat().st_size == size
    assert "s3://data/rows/1.parquet has changed" in steps.refused("s3://data/rows", revision).message


def test_a_server_that_hides_what_is_a_range_is_read_in_one(rclone, steps):
    """`rclone serve s3` answers a range as if it were the whole object, by the status 200."""
    rows = rclone / "data" / "rows"
    rows.mkdir(parents=True)
    table = pl.DataFrame({"at": [datetime(2013, 1, 1)] * 400_000, "x": range(400_000)})
    table.write_parquet(rows / "large.parquet", compression="uncompressed")
    assert (rows / "large.parquet").stat().st_size > fetching._SMALL_BYTES
    table[:1].write_parquet(rows / "small.parquet")
    source = open_source("s3://data/rows")
    assert watermark(source, source.listing(Memory({})), "at") == datetime(2013, 1, 1)
    assert_frame_equal(steps.ingest("s3://data/rows", steps.pin("s3://data/rows")), pl.concat([table, table[:1]]))


def test_a_large_object_that_changes_between_its_ranges_is_no_file(data, faulty, steps, monkeypatch):
    monkeypatch.setattr(fetching, "_RANGE_BYTES", 1000)
    monkeypatch.setattr(fetching, "_SMALL_BYTES", 1000)
    data.put("rows/large.csv", b"x\n" + b"1\n" * 50_000)
    revision = steps.pin(f"{data.uri}/rows")
    faulty.heal()
    faulty.after(30, lambda: data.put("rows/large.csv", b"x\n" + b"2\n" * 50_000))
    error = steps.refused(f"{data.uri}/rows", revision)
    assert "/rows/large.csv has changed since it was pinned" in error.message
    assert not [path for path in fetched_folder().rglob("*") if path.is_file()]


def test_a_fetched_file_that_was_cut_since_is_fetched_again(data, faulty, steps):
    rows = data.put_rows(5)
    revision = steps.pin(f"{data.uri}/rows")
    steps.ingest(f"{data.uri}/rows", revision)
    cut, *_ = fetched_folder().rglob("*.parquet")
    cut.write_bytes(cut.read_bytes()[:100])
    faulty.heal()
    shutil.rmtree(steps.dataset)
    assert_frame_equal(steps.ingest(f"{data.uri}/rows", revision), rows)
    assert len(faulty.gets()) == 1


def test_a_table_in_which_nothing_changed_needs_no_request_to_ingest_again(data, faulty, steps):
    data.put_rows(5)
    revision = steps.pin(f"{data.uri}/rows")
    steps.ingest(f"{data.uri}/rows", revision)
    faulty.heal()
    shutil.rmtree(steps.dataset)
    steps.ingest(f"{data.uri}/rows", revision)
    assert faulty.gets() == []


def test_empty_objects_are_fetched_and_folders_of_consoles_are_none(data, tmp_path, monkeypatch):
    monkeypatch.setenv("RATCHET_DATA", str(tmp_path / "fetched"))
    data.put("rows/", b"")
    data.put("rows/sub/", b"")
    data.put("rows/a.csv", b"")
    data.put("rows/sub/b.csv", b"x\n")
    listed = list_source(f"{data.uri}/rows").tables["rows"]
    assert listed["path"].to_list() == ["a.csv", "sub/b.csv"]
    paths = open_source(f"{data.uri}/rows").fetch(listed, print)
    assert [path.read_bytes() for path in paths] == [b"", b"x\n"]


def test_an_empty_object_is_no_table(data, steps):
    data.put("rows/a.csv", b"")
    revision = steps.pin(f"{data.uri}/rows")
    error = steps.refused(f"{data.uri}/rows", revision)
    assert f"{data.uri}/rows/a.csv" in error.message


KEYS = [
    "with space.csv",
    "a+b.csv",
    "100%.csv",
    "%2e%2e.csv",
    "grüße-日本.csv",
    "quote\"and'.csv",
    "a&b<c>.csv",
    "day=2013-01-01 00:00/part.csv",
    "back\\slash.csv",
    "a#hash?query=1.csv",
]


@pytest.mark.parametrize("versioned", [False, True])
def test_keys_of_any_characters_are_read(data, tmp_path, monkeypatch, versioned):
    monkeypatch.setenv("RATCHET_DATA", str(tmp_path / "fetched"))
    if versioned:
        data.keep_versions()
    for number, key in enumerate(KEYS):
        data.put(f"rows/{key}", b"x\n%d\n" % number)
    listed = list_source(f"{data.uri}/rows").tables["rows"]
    assert listed["path"].to_list() == sorted(KEYS)
    paths = open_source(f"{data.uri}/rows").fetch(listed, print)
    assert {path: file.read_bytes() for path, file in zip(listed["path"], paths, strict=True)} == {
        key: b"x\n%d\n" % number for number, key in enumerate(KEYS)
    }
    assert all(fetched_folder() in path.parents for path in paths)


@pytest.mark.parametrize(
    "key",
    [
        "rows/../../etc/passwd.csv",
        "rows//double.csv",
        "rows/./dot.csv",
        "rows/..csv/../x.csv",
        "rows/new\nline.csv",
        "rows/tab\t.csv",
    ],
)
def test_keys_that_cannot_be_read_are_named(data, faulty, steps, key):
    """Neither moto nor rclone can keep a line break, so the proxy has one for a carriage return."""
    faulty.calls["%0D"] = "%0A"
    data.put(key.replace("\n", "\r"), b"x\n1\n")
    data.put("rows/a.csv", b"x\n2\n")
    for uri in (f"{data.uri}/rows", f"{data.uri}/{key}"):
        with pytest.raises(InputError) as caught:
            steps.pin(uri)
        assert repr(f"{data.uri}/{key}") in caught.value.message
        assert "copy the object to another key" in caught.value.remedy

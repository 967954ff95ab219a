"""Killed in the middle, several at once, no space left: what was verified stays, and nothing half-written ever counts."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.manifest import list_source
from kfp_ratchet.components.shared.sources import fetching, open_source
from kfp_ratchet.components.shared.sources.fetching import fetched_folder

FETCH = """
import sys
from kfp_ratchet.components.shared.manifest import list_source
from kfp_ratchet.components.shared.sources import open_source
uri = sys.argv[1]
open_source(uri).fetch(list_source(uri).tables["rows"], print)
"""


def _fetched() -> list[Path]:
    return list(fetched_folder().rglob("*.parquet"))


@pytest.mark.slow
def test_after_a_kill_only_what_was_not_verified_is_fetched(data, faulty, steps):
    rows = data.put_rows(150)
    revision = steps.pin(f"{data.uri}/rows")
    faulty.fail("wait 0.05", r"\.parquet$")
    process = subprocess.Popen([sys.executable, "-c", FETCH, f"{data.uri}/rows"])
    while len(_fetched()) < 20:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    faulty.settle()
    there = len(_fetched())
    assert there < 150
    assert_frame_equal(steps.ingest(f"{data.uri}/rows", revision), rows)
    assert len(faulty.gets()) == 150 - there


@pytest.mark.slow
def test_what_a_killed_run_left_half_written_is_removed_a_day_later(data, steps):
    import os

    data.put_rows(2)
    revision = steps.pin(f"{data.uri}/rows")
    steps.ingest(f"{data.uri}/rows", revision)
    folder = _fetched()[0].parent
    young, old, superseded = (folder / name for name in ("a.parquet.1.part", "b.parquet.2.part", "c.parquet"))
    for path in (young, old, superseded):
        path.write_bytes(b"half")
    for path in (old, superseded, _fetched()[0]):
        os.utime(path, (1, 1))
    steps.ingest(f"{data.uri}/rows", revision)
    assert young.exists(), "somebody may be writing it"
    assert not old.exists()
    assert not superseded.exists()
    assert len(_fetched()) == 2


def test_two_at_once_end_with_the_same_files(data, faulty, steps):
    data.put_rows(60)
    listed = list_source(f"{data.uri}/rows").tables["rows"]
    faulty.fail("wait 0.02", r"\.parquet$")
    source = open_source(f"{data.uri}/rows")
    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(lambda _: source.fetch(listed, print), range(3))
    assert all(paths == first for paths in others)
    assert [path.stat().st_size for path in first] == listed["size"].to_list()
    assert sorted(path.name for path in first[0].parent.iterdir()) == sorted(path.name for path in first)


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """`RATCHET_DATA` on a file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    monkeypatch.setenv("RATCHET_DATA", str(folder / "data"))
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_what_does_not_fit_is_said_before_anything_is_fetched(data, faulty, steps, small_disk):
    for number in range(5):
        data.put(f"rows/{number}.csv", b"x\n" + b"1\n" * 500_000)
    revision = steps.pin(f"{data.uri}/rows")
    faulty.heal()
    error = steps.refused(f"{data.uri}/rows", revision)
    assert "5,000,010 bytes are to be fetched" in error.message
    assert "RATCHET_DATA" in error.remedy
    assert faulty.gets() == []


@pytest.mark.parametrize("large", [False, True])
def test_a_disk_that_fills_in_the_middle_is_said_and_later_gone_on_with(
    data, faulty, steps, small_disk, monkeypatch, large
):
    if large:
        monkeypatch.setattr(fetching, "_SMALL_BYTES", 1000)
    for number in range(6):
        data.put(f"rows/{number}.csv", b"x\n" + b"1\n" * 250_000)
    revision = steps.pin(f"{data.uri}/rows")
    other = small_disk / "other"
    faulty.heal()
    faulty.after(2, lambda: other.write_bytes(b"x" * 3_000_000))
    faulty.fail("wait 0.2", r"\.csv$")
    error = steps.refused(f"{data.uri}/rows", revision)
    assert str(small_disk / "data") in error.message
    assert "free space on that disk" in error.remedy
    other.unlink()
    assert steps.ingest(f"{data.uri}/rows", revision).height == 1_500_000


@pytest.mark.parametrize("large", [False, True])
def test_bytes_that_changed_on_the_way_are_no_file(data, faulty, steps, monkeypatch, large):
    """Where the digest is known, as in DVC and on the web."""
    import hashlib

    from kfp_ratchet.components.shared.buckets import open_bucket

    if large:
        monkeypatch.setattr(fetching, "_SMALL_BYTES", 1000)
        monkeypatch.setattr(fetching, "_RANGE_BYTES", 1000)
    content = b"x\n" + b"1\n" * 5000
    data.put("rows/a.csv", content)
    wanted = fetching.Wanted("a.csv", "a.csv", len(content), f"md5:{hashlib.md5(content).hexdigest()}")
    faulty.fail("flip", r"a\.csv")
    with pytest.raises(RatchetError, match=r"a\.csv has the md5 [0-9a-f]{32}, not "):
        fetching.fetch_objects(open_bucket(f"{data.uri}/rows"), data.uri, [wanted])
    assert not [path for path in fetched_folder().rglob("*") if path.is_file()]
    faulty.heal()
    (path,) = fetching.fetch_objects(open_bucket(f"{data.uri}/rows"), data.uri, [wanted])
    assert path.read_bytes() == content

"""Pin: what a run's moving references stand for."""

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from kfp_ratchet.components.pin.pins import cache_epoch, pin_run
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.journal import read_run
from kfp_ratchet.components.shared.ledger import Draft, Ledger
from kfp_ratchet.components.shared.manifest import Manifest
from kfp_ratchet.components.shared.split import length
from kfp_ratchet.components.shared.store import Store

TIME = '{"time": "at"}'


@pytest.fixture
def pin(tmp_path):
    """Pin a table of times: `pin(times, window=…)`."""
    (tmp_path / "run-1" / "pin").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    pins = str(tmp_path / "run-1" / "pin" / "pins")

    def run(times=None, source=None, model_name="model", columns=TIME, window="{}", as_of="", store=None, **more):
        if times is not None:
            pl.DataFrame({"at": times}).write_parquet(tmp_path / "data" / "part.parquet")
        source = str(tmp_path / "data") if source is None else source
        store = str(tmp_path / "store") if store is None else store
        return pin_run(source, model_name, store, columns, window, as_of, pins, pins, **more)

    return run


def end(pins):
    return json.loads(pins.window)["end"]


@pytest.mark.parametrize(
    ("times", "newest"),
    [
        ([date(2013, 1, 2), date(2013, 1, 1)], "2013-01-02T00:00:00"),
        ([datetime(2013, 1, 2, 3, 4, 5, 6), None], "2013-01-02T03:04:05.000006"),
        (pl.Series([datetime(2013, 1, 2)]).dt.replace_time_zone("America/New_York"), "2013-01-02T05:00:00"),
        (pl.Series([datetime(2013, 1, 2)]).cast(pl.Datetime("ns")), "2013-01-02T00:00:00"),
        (pl.Series([], dtype=pl.Datetime("us")), ""),
        (pl.Series([None], dtype=pl.Date), ""),
        (["2013-01-02"], ""),
    ],
)
def test_the_end_is_the_newest_row_where_footers_tell(pin, times, newest):
    assert end(pin(times)) == newest


def test_as_of_goes_before_the_window_and_the_window_before_the_data(pin):
    times = [date(2013, 1, 2)]
    assert end(pin(times, window='{"end": "2012-06-30"}')) == "2012-06-30"
    assert end(pin(times, window='{"end": "2012-06-30"}', as_of="2012-05-31")) == "2012-05-31"


def test_one_file_that_does_not_tell_leaves_the_end_open(pin, tmp_path):
    pin([date(2013, 1, 2)])
    pl.DataFrame({"at": [date(2014, 1, 2)]}).write_parquet(tmp_path / "data" / "b.parquet", statistics=False)
    assert end(pin()) == ""


def test_a_row_of_the_future_fixes_no_end(pin):
    """Else it would move the window past all real rows; validate names it."""
    times = [datetime.now(UTC).replace(tzinfo=None) + timedelta(days=3)]
    assert end(pin(times)) == ""
    assert end(pin(times, as_of="2013-01-01")) == "2013-01-01"


@pytest.mark.parametrize("name", ["source", "model_name", "store"])
def test_an_empty_parameter_is_named(pin, name):
    with pytest.raises(InputError, match=f"{name} is empty"):
        pin([date(2013, 1, 2)], **{name: ""})


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"as_of": "yesterday"}, "as_of: 'yesterday' is not"),
        ({"window": '{"evaluat": "3d"}'}, "window.evaluat is not a setting"),
        ({"window": '{"evaluate": "3x"}'}, "window.evaluate"),
        ({"columns": "{"}, "columns is not JSON"),
        ({"model_name": "a/b"}, "a/b"),
    ],
)
def test_a_parameter_that_cannot_be_read_is_named(pin, parameters, told):
    with pytest.raises(InputError, match=told):
        pin([date(2013, 1, 2)], **parameters)


def test_champion_and_baseline_come_from_the_ledger(pin, tmp_path):
    first = pin([date(2013, 1, 2)])
    assert first[2:] == ("", "", 0, "", "", 0, "")
    ledger = Ledger(Store(str(tmp_path / "store")), "model")
    ledger.append(
        Draft(kind="promote", version="7", digest="sha256:aa", epoch=0, run="r", revision=first.revision, rows=123)
    )
    assert pin()[2:] == ("7", "sha256:aa", 1, "", "", 0, ""), "rows of the same revision are no baseline"
    assert pin([date(2013, 1, 3)])[2:] == ("7", "sha256:aa", 1, "", "", 123, "")
    fresh = Draft(kind="promote", version="8", digest="sha256:bb", epoch=1, run="r", sets_anchor=False)
    ledger.append(fresh)
    assert pin()[2:7] == ("8", "sha256:bb", 2, "7", "sha256:aa"), "a champion not shown to be better is no anchor"


def test_manifest_and_journal_are_kept(pin, tmp_path):
    pins = pin([date(2013, 1, 2)])
    store = Store(str(tmp_path / "store"))
    manifest = Manifest.load(store, pins.revision)
    assert manifest.tables["rows"]["path"].to_list() == ["part.parquet"]
    written = json.loads((tmp_path / "run-1" / "pin" / "pins").read_text())
    assert store.get(written["manifest"]) is not None
    record = read_run(store, "run-1")["pin"]
    assert record.state == "succeeded"
    assert "of 1 file, until 2013-01-02T00:00:00, no champion yet" in record.line


def test_a_failure_is_in_the_journal(pin, tmp_path):
    with pytest.raises(RatchetError):
        pin(source=str(tmp_path / "missing"))
    record = read_run(Store(str(tmp_path / "store")), "run-1")["pin"]
    assert (record.state, record.error.remedy) == ("failed", "check `source`")


def test_pin_never_loads_what_takes_seconds():
    code = "import sys, kfp_ratchet.components.pin.pins; print([m for m in ('boto3', 'dvc', 'pandas', 'pyarrow') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def at(text):
    return datetime.fromisoformat(text)


@pytest.mark.parametrize("max_age", ["5h", "36h", "1d", "7d", "2w"])
def test_what_is_cached_is_never_served_when_it_is_older_than_the_max_age(max_age):
    """Every moment of a stretch has the same epoch, and the next stretch another."""
    start = at(cache_epoch(max_age, at("2026-11-22T21:30:00+00:00")))
    assert start <= at("2026-11-22T21:30:00+00:00") < start + length(max_age)
    last = start + length(max_age) - timedelta(microseconds=1)
    assert cache_epoch(max_age, start) == cache_epoch(max_age, last) == start.isoformat()
    assert cache_epoch(max_age, last + timedelta(microseconds=1)) == (start + length(max_age)).isoformat()


def test_an_epoch_is_the_same_in_all_time_zones():
    assert (
        cache_epoch("1d", at("2026-11-23T01:30:00+05:00"))
        == cache_epoch("1d", at("2026-11-22T20:30:00+00:00"))
        == "2026-11-22T00:00:00+00:00"
    )


def test_without_a_max_age_the_epoch_never_changes(pin):
    pins = pin([date(2013, 1, 2)])
    assert pins.cache_epoch == ""
    with_age = pin(cache_max_age="1d")
    assert at(with_age.cache_epoch) <= datetime.now(UTC)
    assert with_age._replace(cache_epoch="") == pins


@pytest.mark.parametrize("text", ["7", "1 day", "0d", "-1d", "d", "٣d", "7d\n"])
def test_a_max_age_that_is_no_length_is_refused(pin, text):
    with pytest.raises(InputError, match="is not a length"):
        pin([date(2013, 1, 2)], cache_max_age=text)

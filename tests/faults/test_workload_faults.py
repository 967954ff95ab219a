"""Whatever a workload does, the run ends, says why and what to do, and the champion keeps serving."""

import json
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from kfp_ratchet.components.shared.dataset import Dataset, write_table
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.journal import read_run
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.components.train.fit import train_workload
from kfp_ratchet.pipelines import runner, watchdog

WORKLOADS = str(Path(__file__).parent / "workloads")
COLUMNS = '{"target": "late", "problem": "binary", "positive": "yes", "id": "key"}'


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Runs the train step on a few rows and returns its journal record."""
    monkeypatch.syspath_prepend(WORKLOADS)
    monkeypatch.chdir(tmp_path)
    places = ["north", "south", "east"] * 100
    late = ["yes" if place == "north" and i % 4 else "no" for i, place in enumerate(places)]
    rows = pl.DataFrame({"key": [f"k{i}" for i in range(300)], "place": places, "late": late})
    table = write_table(rows, tmp_path / "data", "rows")
    Dataset(revision="sha256:r", source="s", tables={"rows": table}).write(tmp_path / "data")

    def train(fault: str, workload: str = "faulty:Faulty"):
        arguments = [str(tmp_path / "data"), "/root/run-1/validate/accepted", workload, COLUMNS, "{}"]
        arguments += [
            json.dumps({"fault": fault}),
            0,
            "cpu",
            "store",
            str(tmp_path / "model"),
            "/root/run-1/train/model",
        ]
        try:
            train_workload(*arguments)
        finally:
            # Relative: a workload that moved the working directory would have the record somewhere else.
            record = read_run(Store(str(tmp_path / "store")), "run-1")["train"]
        return record

    return train


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("raises", "workload faulty:Faulty failed in fit: KeyError: 'wheels'"),
        ("raises in save", "workload faulty:Faulty failed in save: KeyError: 'wheels'"),
        ("raises in predict", "workload faulty:Faulty failed in predict: KeyError: 'wheels'"),
        ("exits", r"misbehave in .*faulty\.py, line \d+, called sys\.exit\(0\)"),
        ("exits in predict", r"misbehave in .*faulty\.py, line \d+, called sys\.exit\(0\)"),
        ("loss is nan", "the fit diverged: loss is nan in epoch 1"),
        ("nan", r"workload faulty:Faulty gave \d+ NaN or infinite scores on \d+ rows"),
        ("inf", r"workload faulty:Faulty gave \d+ NaN or infinite scores on \d+ rows"),
        ("pickles", r"model\.pkl ends in \.pkl, as pickles do"),
    ],
)
def test_a_fault_is_named_with_its_remedy_and_recorded(train, tmp_path, fault, says):
    with pytest.raises(RatchetError, match=says) as caught:
        train(fault)
    assert caught.value.remedy and caught.value.exit_code == 3
    record = read_run(Store(str(tmp_path / "store")), "run-1")["train"]
    assert (record.state, record.error.message, record.error.remedy) == (
        "failed",
        caught.value.message,
        caught.value.remedy,
    )
    assert "Traceback" not in record.line


def test_a_workload_that_changes_the_working_directory_does_not_move_the_store(train, tmp_path):
    assert train("moves away").state == "succeeded"
    assert Path.cwd() == tmp_path


def test_a_module_that_raises_on_import_is_named(train, tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    sys.path.insert(0, str(tmp_path))
    with pytest.raises(RatchetError, match="workload 'broken:Model' cannot be imported: division by zero"):
        train("", "broken:Model")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("leaves at once", "train began and never ended; it was last seen at: fitting faulty:Faulty"),
        ("crashes", "train began and never ended; it was last seen at: fitting faulty:Faulty"),
        ("eats memory", "workload faulty:Faulty failed in fit: .*MemoryError"),
    ],
)
def test_a_process_that_is_gone_fails_the_run_and_leaves_the_champion_alone(promoted, fault, says):
    before, history = promoted.serving(), promoted.ledger()
    outcome = promoted.fault(fault)
    assert outcome["exit_code"] == 3 and outcome["remedy"]
    assert re.search(says, outcome["reason"]), outcome["reason"]
    # And what it left is not served from the cache as if it were whole.
    assert promoted.fault(fault)["exit_code"] == 3
    assert promoted.serving() == before and promoted.ledger() == history


@pytest.mark.slow
def test_a_workload_that_closes_stdout_still_ends_and_is_judged(promoted):
    outcome = promoted.fault("closes stdout")
    assert outcome["outcome"] in ("promoted", "rejected", "inconclusive"), outcome["reason"]


@pytest.fixture
def watched(promoted, monkeypatch):
    """Runs with a fault in this process, so that the watchdog can be set to be impatient."""

    def run(fault, config=""):
        path = promoted.folder / "ratchet.yaml"
        kept = path.read_text()
        path.write_text(kept + config)
        try:
            return runner.run(path, {"parameters": json.dumps({"fault": fault})})
        finally:
            path.write_text(kept)

    before = promoted.serving()
    yield run
    assert promoted.serving()["answers"] and before["answers"]


@pytest.mark.slow
def test_a_hanging_fit_is_ended_after_step_timeout_and_the_run_says_so(watched, promoted):
    finished = watched("hangs", "step_timeout: 15s\n")
    view = finished.view
    assert (view.outcome, view.exit_code, view.stopped.step) == ("failed", 3, "train")
    assert view.reason == "train ran longer than the 15s that step_timeout allows, and was ended"
    assert "raise step_timeout" in view.remedy
    assert "step_timeout allows" in finished.report.read_text(), "notify must have run, and have known"
    assert watchdog.members(finished.folder) == []


@pytest.mark.slow
def test_a_thread_that_never_ends_does_not_keep_the_run(watched, monkeypatch):
    monkeypatch.setattr(watchdog, "_LINGER_SECONDS", 3.0)
    finished = watched("leaves a thread")
    assert finished.view.exit_code == 3
    assert finished.view.reason.startswith("train had done its work, but its process did not end within 3 s")
    assert "make it a daemon" in finished.view.remedy


@pytest.mark.slow
def test_children_that_outlive_their_step_are_ended_and_do_not_keep_the_run(watched, monkeypatch):
    # Enough for the step itself to end on a busy machine.
    monkeypatch.setattr(watchdog, "_LINGER_SECONDS", 20.0)
    finished = watched("leaves children")
    assert finished.view.outcome in ("promoted", "rejected", "inconclusive"), finished.view.reason
    assert watchdog.members(finished.folder) == []


@pytest.mark.slow
def test_a_flood_of_output_does_not_fill_the_disk(watched, monkeypatch):
    monkeypatch.setattr(watchdog, "_LOG_BYTES", 2_000_000)
    finished = watched("prints")
    assert finished.view.outcome in ("promoted", "rejected", "inconclusive"), finished.view.reason
    log = (finished.folder / "log.txt").read_text(errors="replace")
    assert len(log) < 12_000_000 and "left out here" in log
    assert "pin" in log[:20_000], "the beginning stays"


def test_a_log_is_cut_while_it_is_written_and_goes_on_behind_the_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(watchdog, "_LOG_BYTES", 1_000_000)
    log = tmp_path / "log.txt"
    with log.open("ab", buffering=0) as written, log.open(encoding="utf-8", errors="replace") as read:
        written.write(b"the beginning\n" + b"x" * 1_500_000)
        assert sum(map(len, runner._news(read))) == 1_500_014
        watchdog.cut_log(log)
        assert "".join(runner._news(read)) == ""
        written.write(b"the end\n")
        assert "".join(runner._news(read)) == "the end\n"
    text = log.read_text()
    assert len(text) < 600_000 and text.startswith("the beginning\n") and text.endswith("the end\n")


def test_only_what_a_run_has_started_is_ended(tmp_path):
    """Not another run's, and not a model server, which starts without the mark."""
    started = {}
    for name, mark in (("own", str(tmp_path / "a")), ("other", str(tmp_path / "b")), ("server", "")):
        started[name] = subprocess.Popen(["sleep", "60"], env={watchdog.MARK: mark}, start_new_session=True)
    try:
        assert [process.pid for process in watchdog.members(tmp_path / "a")] == [started["own"].pid]
        watchdog.end(watchdog.members(tmp_path / "a"))
        assert started["own"].wait(10) is not None
        assert started["other"].poll() is None and started["server"].poll() is None
    finally:
        for process in started.values():
            process.kill()
            process.wait()

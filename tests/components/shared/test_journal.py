"""The run journal."""

import json
import os
import sys
import time

import numpy as np
import pytest

from kfp_ratchet.components.shared import cgroup
from kfp_ratchet.components.shared.attempts import told
from kfp_ratchet.components.shared.errors import BlockedError, InputError, RatchetError
from kfp_ratchet.components.shared.journal import Origin, journal, read_record, read_run
from kfp_ratchet.components.shared.store import Store

RUN = "0f9d5f2e-6f0c-4a3e-9a53-3f4f3a1f7c11"


@pytest.mark.parametrize(
    ("uri", "run", "step"),
    [
        ("/home/u/.ratchet/runs/flights-20131101/train/model", "flights-20131101", "train"),
        (".ratchet/runs/flights-20131101/gate/decision", "flights-20131101", "gate"),
        ("runs/r1/pin/pins", "r1", "pin"),
        (
            f"s3://mlpipeline/v2/artifacts/continuous-training/{RUN}/train/8a6f2f5c-1111-4222-8333-944445555666/model",
            RUN,
            "train",
        ),
        (
            f"minio://bucket/root/continuous-training/{RUN}/gate/8a6f2f5c-1111-4222-8333-944445555666/decision",
            RUN,
            "gate",
        ),
        (f"/root/{RUN}/train/model", RUN, "train"),
        (
            f"s3://b/root/p/{RUN}/gate/8a6f2f5c-1111-4222-8333-944445555666/decision?endpoint=https://s3.example:9000/x",
            RUN,
            "gate",
        ),
        ("/home/u/why?/r1/train/model", "r1", "train"),
        (
            f"s3://b/root/p/{RUN}/evaluate both models/8a6f2f5c-1111-4222-8333-944445555666/evidence",
            RUN,
            "evaluate",
        ),
    ],
)
def test_origin_that_names_the_wrong_run(uri, run, step):
    assert Origin.of(uri) == Origin(run=run, step=step)


@pytest.mark.parametrize("uri", ["", "model", "/model"])
def test_origin_of_a_path_too_short_for_a_run(uri):
    assert Origin.of(uri).run == "adhoc"


def test_running_step_that_left_no_record(tmp_path):
    store = Store(str(tmp_path))
    with journal(str(tmp_path), "/root/r1/train/model", {"dataset": "/root/r0/prepare/rows"}) as step:
        seen = read_run(store, "r1")["train"]
        assert seen.state == "running"
        assert seen.inputs == {"dataset": Origin(run="r0", step="prepare")}
        step.found("done", rows=3)
    left = read_run(store, "r1")["train"]
    assert (left.state, left.line, left.details, left.error) == ("succeeded", "done", {"rows": 3}, None)
    assert left.started and left.peak_memory_mb > 0


@pytest.mark.parametrize(
    ("error", "kind"), [(RatchetError, "failed"), (InputError, "input"), (BlockedError, "blocked")]
)
def test_failure_without_its_remedy(tmp_path, error, kind):
    with pytest.raises(error), journal(str(tmp_path), "/root/r1/validate/accepted") as step:
        step.found("looked", failures=[{"column": "a"}])
        raise error("column 'a' is missing", "add it to the source")
    left = read_run(Store(str(tmp_path)), "r1")["validate"]
    assert left.state == "failed"
    assert left.error is not None
    assert (left.error.kind, left.error.message, left.error.remedy) == (
        kind,
        "column 'a' is missing",
        "add it to the source",
    )
    assert left.error.traceback == "", "a user's error needs none"
    assert left.details == {"failures": [{"column": "a"}]}, "what was found before counts"


@pytest.mark.parametrize("error", [ValueError("boom"), KeyboardInterrupt()])
def test_unexpected_end_without_a_trace(tmp_path, error):
    with pytest.raises(type(error)), journal(str(tmp_path), "/root/r1/train/model"):
        raise error
    left = read_run(Store(str(tmp_path)), "r1")["train"]
    assert left.error is not None
    assert left.error.kind == "unexpected"
    assert type(error).__name__ in left.error.message
    assert "test_journal" in left.error.traceback


@pytest.mark.parametrize("status", [0, None, 1, "bye"])
def test_a_users_exit_that_would_count_as_success(tmp_path, status):
    def predict():
        sys.exit(status)

    told = rf"predict in .*test_journal.py, line \d+, called sys.exit\({status!r}\); raise an error instead"
    with pytest.raises(RatchetError, match=told), journal(str(tmp_path), "/root/r1/train/model"):
        predict()
    left = read_run(Store(str(tmp_path)), "r1")["train"]
    assert left.state == "failed"
    assert left.error is not None
    assert "SystemExit" in left.error.traceback


def test_known_error_that_hides_its_cause(tmp_path):
    with pytest.raises(RatchetError), journal(str(tmp_path), "/root/r1/train/model"):
        try:
            json.loads("{")
        except ValueError as cause:
            raise RatchetError("settings cannot be read") from cause
    left = read_run(Store(str(tmp_path)), "r1")["train"]
    assert left.error is not None
    assert "JSONDecodeError" in left.error.traceback


def test_nan_in_the_journal(tmp_path):
    with journal(str(tmp_path), "/root/r1/train/model") as step:
        step.found("found", loss=float("nan"), curve=[{"loss": float("inf")}], nested={"a": {"b": float("-inf")}})

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in JSON")

    content = Store(str(tmp_path)).get("runs/r1/steps/train.json")
    assert content is not None
    left = json.loads(content, parse_constant=refuse)
    assert left["details"] == {"loss": None, "curve": [{"loss": None}], "nested": {"a": {"b": None}}}


def test_numpy_number_that_fails_a_finished_step(tmp_path):
    with journal(str(tmp_path), "/root/r1/train/model") as step:
        step.found("found", rows=np.int64(3), share=np.float32(0.5), flag=np.bool_(True))
    left = read_run(Store(str(tmp_path)), "r1")["train"]
    assert left.state == "succeeded"
    assert left.details == {"rows": 3, "share": 0.5, "flag": True}


def test_records_out_of_order(tmp_path):
    for step in ("pin", "ingest", "deploy", "gate"):
        with journal(str(tmp_path), f"/root/r1/{step}/out"):
            pass
    with journal(str(tmp_path), "/root/r2/pin/out"):
        pass
    started = [record.started for record in read_run(Store(str(tmp_path)), "r1").values()]
    assert started == sorted(started)
    assert len(started) == 4


def test_progress_that_floods_the_store(tmp_path):
    store = Store(str(tmp_path))
    with journal(str(tmp_path), "/root/r1/train/model") as step:
        for epoch in range(100):
            step.progress(f"epoch {epoch}")
        record = read_record(store, Origin(run="r1", step="train"))
        assert record is not None
        assert record.line != "epoch 99"
    record = read_record(store, Origin(run="r1", step="train"))
    assert record is not None
    assert record.line == "epoch 99"


def test_store_that_goes_away_in_the_middle(tmp_path):
    with pytest.raises(ZeroDivisionError), journal(str(tmp_path / "store"), "/root/r1/train/model") as step:
        (tmp_path / "store").rename(tmp_path / "gone")
        (tmp_path / "store").write_text("no folder")
        step._written = 0.0
        step.progress("still at it")
        assert step.record.line == "still at it"
        1 / 0  # noqa: B018
    with pytest.raises(RatchetError, match=f"runs/r1/steps/train.json in the store {tmp_path}/store cannot be reached"):
        step.write()


def test_component_used_alone_without_a_store(tmp_path):
    with journal("", str(tmp_path / "r1" / "train" / "model")) as step:
        step.found("fine")
    assert list(tmp_path.iterdir()) == []


def test_record_of_a_step_that_left_none(tmp_path):
    assert read_record(Store(str(tmp_path)), Origin(run="r1", step="train")) is None
    assert read_run(Store(str(tmp_path)), "r1") == {}


def test_a_step_says_how_it_was_called_and_on_what_it_ran(tmp_path):
    import polars  # noqa: F401 - what a step has imported is told

    called = {"source": "data/a b.csv", "trials": 3, "columns": '{"target": "y"}'}
    with journal(str(tmp_path), "/root/r1/ingest/dataset", parameters=called):
        pass
    left = read_run(Store(str(tmp_path)), "r1")["ingest"]
    assert left.parameters == called
    machine = left.environment
    assert machine.package and machine.code.startswith("sha256:") and machine.python and machine.cores > 0
    assert "polars" in machine.libraries and f"{machine.cores} core" in machine.hardware


@pytest.mark.parametrize(
    "value",
    [
        "postgresql://ann:hunter2@db/mlflow",
        "https://hunter2@git.example/a.git",
        '{"rows": "s3://key:hunter2@bucket/a", "more": "b"}',
        '{"rows": "s3://key:hunter2@bucket/a", "more"',
        " s3://bucket/a?secret_key=hunter2",
        {"nested": ["s3://key:hunter2@bucket/a"]},
    ],
)
def test_a_credential_in_a_parameter_that_the_journal_would_keep(tmp_path, value):
    """A step refuses it, but its record is written before it can."""
    with pytest.raises(InputError), journal(str(tmp_path), "/root/r1/pin/pins", parameters={"source": value}):
        assert "hunter2" not in (tmp_path / "runs/r1/steps/pin.json").read_text()
        raise InputError("source holds a password in its URI")
    assert "hunter2" not in (tmp_path / "runs/r1/steps/pin.json").read_text()


@pytest.mark.parametrize(
    "value",
    [
        'columns:\n  a:\n    check: "https://user@x"\n',
        "SELECT 'a?key=b' AS x, y FROM t WHERE u LIKE '%://%'",
        '{"flights": "# see https://x.example/?key=1\\nschema_type: polars"}',
        "s3://bucket/a b",
        "git@github.com:a/b",
    ],
)
def test_a_harmless_parameter_that_was_taken_for_a_credential(tmp_path, value):
    with journal(str(tmp_path), "/root/r1/ingest/dataset", parameters={"schema": value}):
        pass
    assert read_run(Store(str(tmp_path)), "r1")["ingest"].parameters == {"schema": value}


def test_a_former_attempt_that_lives_on_writes_over_the_record_of_the_one_in_its_place(tmp_path):
    store, uri, origin = Store(str(tmp_path)), "/root/r1/train/model", Origin(run="r1", step="train")
    with journal(str(tmp_path), uri) as old:
        time.sleep(0.002)  # Records are told apart by when they began.
        with journal(str(tmp_path), uri) as new:
            new.found("the model is there")
        old._beat()
        assert read_record(store, origin).state == "succeeded"
        old.progress("epoch 9/10")
    assert read_record(store, origin).line == "the model is there"


def test_an_attempt_that_died_without_a_last_word_is_forgotten_by_the_next(tmp_path):
    store, uri = Store(str(tmp_path)), "/root/r1/train/model"

    def attempt(line):
        with journal(str(tmp_path), uri) as step:
            step.progress(line)
            return read_record(store, Origin(run="r1", step="train"))

    died = attempt("epoch 3/10")
    store.put("runs/r1/steps/train.json", died.model_dump_json().encode())
    with pytest.raises(RatchetError), journal(str(tmp_path), uri):
        raise RatchetError("the fit diverged")
    last = attempt("epoch 1/10")
    assert [(one.failure, one.line) for one in last.attempts] == [("", "epoch 3/10"), ("failed", "the fit diverged")]
    assert [one.ending for one in last.attempts] == ["was preempted or killed", "failed (the fit diverged)"]
    assert told(last.attempts).endswith("went on in attempt 3") and told(()) == ""
    assert attempt("again").attempts == last.attempts, "one that succeeded is no former attempt"


def test_steps_used_alone_are_not_attempts_of_one_another(tmp_path):
    for _ in range(2):
        with pytest.raises(RatchetError), journal(str(tmp_path), "model"):
            raise RatchetError("no")
    assert read_record(Store(str(tmp_path)), Origin(run="adhoc", step="step")).attempts == ()


def test_a_step_that_dies_near_its_memory_limit_without_a_word_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroup, "_ROOT", tmp_path)
    (tmp_path / "memory.max").write_text(str(1000 << 20))
    stat = tmp_path / "memory.stat"
    stat.write_text(f"anon {100 << 20}\nfile {900 << 20}\nshmem 0\n")
    store, origin = Store(str(tmp_path / "store")), Origin(run="r1", step="train")
    with journal(store.uri, "/root/r1/train/model"):
        assert read_record(store, origin).ended_attempt().ending == "was preempted or killed", (
            "file cache is no use of memory"
        )
        stat.write_text(f"anon {800 << 20}\nfile 0\nshmem {150 << 20}\n")
        # It says nothing more, as a step does that reads a table too large.
        for _ in range(200):
            if read_record(store, origin).memory_mb == 950.0:
                break
            time.sleep(0.05)
        died = read_record(store, origin)
    assert (died.state, died.memory_mb, died.memory_limit_mb) == ("running", 950.0, 1000.0)
    assert died.ended_attempt().ending == "probably ran out of memory (limit 1,000 MiB)"


@pytest.mark.parametrize(
    ("files", "limit", "cpus"),
    [
        ({"memory.max": "max", "cpu.max": "max 100000"}, None, None),
        ({"memory.max": "1048576", "cpu.max": "50000 100000"}, 1.0, 1),
        ({"memory/memory.limit_in_bytes": "9223372036854771712", "cpu/cpu.cfs_quota_us": "-1"}, None, None),
        (
            {
                "memory/memory.limit_in_bytes": "2097152",
                "cpu/cpu.cfs_quota_us": "100000",
                "cpu/cpu.cfs_period_us": "100000",
            },
            2.0,
            1,
        ),
        ({}, None, None),
    ],
)
def test_limits_of_a_container_that_are_not_seen(tmp_path, monkeypatch, files, limit, cpus):
    monkeypatch.setattr(cgroup, "_ROOT", tmp_path)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert cgroup.memory_limit_mb() == limit
    assert cgroup.available_cpus() == (cpus or len(os.sched_getaffinity(0)))

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.journal import Origin, read_record
from kfp_ratchet.components.shared.model import Card, load_model, model_digest
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.components.train.checkpoints import PreemptedError
from kfp_ratchet.components.train.contexts import TrainContext
from kfp_ratchet.components.train.fit import train_workload


def train(dataset, run, workload="tabular", parameters='{"epochs":3}', device="cpu", **more):
    model = run / "train" / "model"
    model.parent.mkdir(parents=True, exist_ok=True)
    folder, columns, window = dataset
    settings = {"columns": columns, "window": window, **more}
    train_workload(
        folder,
        str(run / "ingest" / "dataset"),
        workload,
        settings["columns"],
        settings["window"],
        parameters,
        0,
        device,
        str(run.parent / "store"),
        str(model),
        str(model),
    )
    return model


def test_a_model_folder_holds_what_it_promises(dataset, tmp_path):
    model = train(dataset, tmp_path / "run")
    card = Card.read(model)
    assert (card.rows, card.classes, card.revision) == (340, ["false", "true"], "sha256:abc")
    assert list(card.features) == ["amount", "size", "place", "open", "since", "nothing"]
    assert card.features["place"] == "String" and card.features["since"].startswith("Datetime")
    assert set(card.code) == {"kfp-ratchet", "workload"} and card.metrics["auc"] > 0.5
    assert set(card.baseline["place"]["top"]) == {"north", "south", "east"}
    assert card.baseline["amount"]["nulls"] > 0 and card.baseline["amount"]["quantiles"]["0.5"] == pytest.approx(
        50, abs=5
    )
    assert card.baseline["nothing"] == {"rows": 340, "nulls": 340}
    files = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()}
    assert {
        "MLmodel",
        "ratchet.json",
        "artifacts/workload/spec.json",
        "artifacts/workload/weights.safetensors",
    } <= files
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pth"))]
    fresh = pl.read_parquet(f"{dataset[0]}/rows/*.parquet").tail(60)
    assert np.isfinite(load_model(model).predict(fresh)).all()


def test_the_same_seed_gives_the_same_digest_and_the_journal_says_it(dataset, tmp_path):
    first, second = train(dataset, tmp_path / "one"), train(dataset, tmp_path / "two")
    assert model_digest(first) == model_digest(second)
    store = Store(str(tmp_path / "store"))
    record = read_record(store, Origin(run="one", step="train"))
    assert record.state == "succeeded" and record.inputs["dataset"] == Origin(run="one", step="ingest")
    assert record.details["digest"] == model_digest(first)
    assert [point["epoch"] for point in record.details["curve"]] == [1, 2, 3]
    assert not list(store.keys("checkpoints"))


def test_a_killed_fit_goes_on_from_its_checkpoint_with_the_same_result(dataset, tmp_path, monkeypatch):
    whole = model_digest(train(dataset, tmp_path / "whole"))
    report, store = TrainContext.report, Store(str(tmp_path / "store"))
    monkeypatch.setattr(TrainContext.__init__, "__defaults__", (None, "", 0.0))

    def dies(self, epoch, scores, epochs=0):
        report(self, epoch, scores, epochs)
        if epoch == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainContext, "report", dies)
    with pytest.raises(KeyboardInterrupt):
        train(dataset, tmp_path / "killed")
    assert len(list(store.keys("checkpoints"))) == 1
    lines = []
    monkeypatch.setattr(
        TrainContext, "report", lambda self, epoch, *rest: (lines.append(epoch), report(self, epoch, *rest))
    )
    loaded = TrainContext.load_checkpoint
    found = []
    monkeypatch.setattr(TrainContext, "load_checkpoint", lambda self: found.append(loaded(self)) or found[-1])
    assert model_digest(train(dataset, tmp_path / "again")) == whole
    assert found[0] is not None and lines == [1, 2, 3]
    assert not list(store.keys("checkpoints"))


def test_sigterm_during_a_fit_loses_nothing_of_it(dataset, tmp_path, monkeypatch):
    whole = model_digest(train(dataset, tmp_path / "whole"))
    report, store = TrainContext.report, Store(str(tmp_path / "store"))

    def told_to_end(self, epoch, scores, epochs=0):
        report(self, epoch, scores, epochs)
        if epoch == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(TrainContext, "report", told_to_end)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(PreemptedError, match="a checkpoint is kept"):
        train(dataset, tmp_path / "run")
    assert signal.getsignal(signal.SIGTERM) == before
    record = read_record(store, Origin(run="run", step="train"))
    assert record.error.kind == "preempted" and "goes on" in record.error.remedy
    assert len(list(store.keys("checkpoints"))) == 1, "no checkpoint was due, so only SIGTERM wrote it"
    monkeypatch.setattr(TrainContext, "report", report)
    assert model_digest(train(dataset, tmp_path / "run")) == whole
    record = read_record(store, Origin(run="run", step="train"))
    assert [attempt.ending for attempt in record.attempts] == ["was preempted"]
    assert not list(store.keys("checkpoints"))


def test_sigterm_ends_a_fit_that_never_saves_at_once(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainContext, "report", lambda *given: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(60))
    with pytest.raises(PreemptedError, match="no checkpoint was kept"):
        train(dataset, tmp_path / "run", workload="toy:Toy", parameters="{}")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"workload": "toy:Raises"}, RatchetError, "workload toy:Raises failed in fit: KeyError: 'wheels'"),
        (
            {"workload": "toy:ScoresNan", "parameters": "{}"},
            RatchetError,
            "toy:ScoresNan gave 51 NaN or infinite scores",
        ),
        ({"workload": "toy:Diverges"}, RatchetError, "the fit diverged: loss is nan in epoch 1"),
        ({"workload": "no.such:Thing"}, InputError, "cannot be imported"),
        ({"parameters": "[1]"}, InputError, "not a JSON object"),
        ({"parameters": '{"epoch":1}'}, InputError, "did you mean 'epochs'"),
        ({"columns": '{"targt":"late"}'}, InputError, "did you mean target"),
        ({"device": "tpu"}, InputError, "device is 'tpu'"),
    ],
)
def test_what_goes_wrong_is_named_and_recorded(dataset, tmp_path, settings, error, message):
    with pytest.raises(error, match=message):
        train(dataset, tmp_path / "run", **settings)
    record = read_record(Store(str(tmp_path / "store")), Origin(run="run", step="train"))
    assert record.state == "failed" and record.error.remedy
    assert not (tmp_path / "run" / "train" / "model").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_gpu_that_is_not_there_is_an_input_error(dataset, tmp_path):
    with pytest.raises(InputError, match="torch finds no CUDA device"):
        train(dataset, tmp_path / "run", device="cuda:1")


def test_a_workload_of_ones_own_is_trained_without_torch_weights(dataset, tmp_path):
    model = train(dataset, tmp_path / "run", workload="toy:Toy", parameters="{}")
    assert json.loads(Path(model, "ratchet.json").read_text())["workload"] == "toy:Toy"
    assert [path.name for path in Path(model, "artifacts", "workload").iterdir()] == ["toy.json"]


def test_a_multiclass_and_a_regression_model_are_saved_too(tmp_path):
    from kfp_ratchet.components.shared.dataset import Dataset, write_table
    from kfp_ratchet.testing.tables import example

    for problem in ("multiclass", "regression"):
        table, folder = example(problem), tmp_path / problem
        folder.mkdir()
        rows = write_table(pl.concat([table.rows, table.validation, table.fresh]), folder, "rows")
        Dataset(revision="r", source="s", tables={"rows": rows}).write(folder)
        given = (str(folder), table.columns.model_dump_json(), '{"evaluate":"60h"}')
        scores = load_model(train(given, tmp_path / f"run-{problem}")).predict(table.fresh)
        assert scores.shape == ((60, 3) if problem == "multiclass" else (60,))


@pytest.mark.parametrize("method", ["fit", "predict"])
def test_a_workload_that_exits_with_0_fails_the_step(dataset, tmp_path, monkeypatch, method):
    """Kubeflow took the step for a success, and nothing came after it."""
    import toy

    def leaves(*_):
        sys.exit(0)

    monkeypatch.setattr(toy.Toy, method, classmethod(leaves) if method == "fit" else leaves)
    with pytest.raises(RatchetError, match=r"leaves in .*, called sys\.exit\(0\); raise an error instead"):
        train(dataset, tmp_path / "run", workload="toy:Toy", parameters="{}")
    assert read_record(Store(str(tmp_path / "store")), Origin(run="run", step="train")).state == "failed"

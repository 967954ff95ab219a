import numpy as np
import polars as pl
import pytest
import torch

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.train import measures
from kfp_ratchet.components.train.tabular import Tabular
from kfp_ratchet.testing.rules import Interrupted, RecordingContext
from kfp_ratchet.testing.tables import example


def fit(problem="binary", table=None, context=None, **parameters):
    table = table or example(problem)
    return Tabular.fit(table.rows, table.validation, table.columns, parameters, context or RecordingContext())


def saved(model, folder):
    model.save(folder)
    return (folder / "weights.safetensors").read_bytes() + (folder / "spec.json").read_bytes()


@pytest.mark.parametrize("problem", ["binary", "multiclass", "regression"])
def test_it_learns_what_is_there_to_learn(problem):
    table = example(problem)
    scores = fit(problem, epochs=30, patience=30).predict(table.fresh)
    target = table.fresh[table.columns.target]
    if problem == "binary":
        assert measures.auc(target.to_numpy(), scores) > 0.85
    elif problem == "multiclass":
        names = ["blue", "green", "red"]
        assert np.mean([names[i] for i in scores.argmax(axis=1)] == target.to_numpy()) > 0.6
    else:
        assert np.std(target.to_numpy() - scores) < 0.75 * np.std(target.to_numpy())


def test_a_fit_resumed_within_or_after_an_epoch_is_the_uninterrupted_fit(tmp_path):
    settings = {"epochs": 5, "dropout": 0.3}
    context = RecordingContext()
    whole = saved(fit(context=context, **settings), tmp_path / "whole")
    steps = context.saved // 5
    assert steps > 3, "no checkpoint within an epoch"
    for save in (1, 2, steps - 1, steps, steps + 1, 3 * steps + 2, 5 * steps - 1, 5 * steps):
        died = RecordingContext(die_after=save)
        with pytest.raises(Interrupted):
            fit(context=died, **settings)
        resumed = RecordingContext(checkpoint=died.checkpoint)
        assert saved(fit(context=resumed, **settings), tmp_path / f"resumed-{save}") == whole, f"after save {save}"
        assert resumed.epochs == [1, 2, 3, 4, 5]
        assert resumed.saved == context.saved - save, "steps were done again"


@pytest.mark.parametrize("cut", [0, 20, -20])
def test_a_damaged_checkpoint_lets_the_fit_begin_anew(cut, tmp_path):
    whole = saved(fit(epochs=2), tmp_path / "whole")
    died = RecordingContext(die_after=3)
    with pytest.raises(Interrupted):
        fit(context=died, epochs=2)
    resumed = RecordingContext(checkpoint=died.checkpoint[:cut])
    assert saved(fit(context=resumed, epochs=2), tmp_path / "again") == whole


def test_the_random_state_of_the_process_neither_matters_nor_changes(tmp_path):
    torch.manual_seed(1)
    first = saved(fit(epochs=2), tmp_path / "first")
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert saved(fit(epochs=2), tmp_path / "second") == first
    assert torch.equal(before, torch.get_rng_state())
    assert saved(fit(context=RecordingContext(seed=1), epochs=2), tmp_path / "third") != first


def test_a_fit_that_diverges_says_in_which_epoch():
    with pytest.raises(RatchetError, match=r"the fit diverged: .* is (nan|inf) in epoch \d; lower learning_rate"):
        fit("regression", epochs=5, learning_rate=1e30)


def test_the_best_epoch_is_kept_and_patience_ends_the_fit():
    table, context = example("binary"), RecordingContext()
    model = fit(table=table, context=context, epochs=60, patience=2, learning_rate=0.05, dropout=0.0)
    assert len(context.epochs) < 60
    label = table.validation["late"].cast(pl.Float64).to_numpy()
    kept = measures.loss("binary", label, model.predict(table.validation), np.ones(len(label)))
    losses = []
    context.report = lambda epoch, scores, epochs=0: losses.append(scores["loss"])
    fit(table=table, context=context, epochs=60, patience=2, learning_rate=0.05, dropout=0.0)
    context.checkpoint = None
    assert kept == pytest.approx(min(losses), rel=1e-5)


def rare_positives(n=2000):
    random = np.random.default_rng(0)
    frame = pl.DataFrame({"x": random.normal(size=n), "w": random.random(n) + 0.5, "y": (random.random(n) < 0.1) * 1})
    return frame[:1600], frame[1600:]


def test_probabilities_are_those_of_the_data_unless_balanced():
    rows, validation = rare_positives()
    columns = Columns(target="y", ignore=("w",))
    plain = Tabular.fit(rows, validation, columns, {"epochs": 3}, RecordingContext())
    balanced = Tabular.fit(rows, validation, columns, {"epochs": 3, "class_weight": "balanced"}, RecordingContext())
    assert plain.predict(validation).mean() == pytest.approx(0.1, abs=0.03)
    assert balanced.predict(validation).mean() == pytest.approx(0.5, abs=0.1)


def test_rows_of_weight_zero_are_not_learnt_from():
    rows, validation = rare_positives()
    lying = rows.with_columns(y=1 - pl.col("y"), w=0.0)
    columns = Columns(target="y", weight="w")
    model = Tabular.fit(pl.concat([rows, lying]), validation, columns, {"epochs": 3}, RecordingContext())
    assert model.predict(validation).mean() == pytest.approx(0.1, abs=0.03)


def test_scores_of_a_regression_are_in_units_of_the_target():
    table = example("regression")
    assert fit("regression", epochs=1).predict(table.fresh).mean() == pytest.approx(1000, abs=100)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"learning_rat": 0.1}, "tabular has no hyperparameter 'learning_rat'; did you mean 'learning_rate'?"),
        ({"epochs": 0}, "hyperparameter 'epochs' of tabular is 0"),
        ({"activation": "sine"}, "hyperparameter 'activation' of tabular is 'sine'"),
    ],
)
def test_bad_hyperparameters_are_named(given, message):
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        fit(**given)


def test_a_missing_target_is_named():
    table = example("regression")
    holes = table.rows.with_columns(pl.when(pl.col("row") > 3).then("price").alias("price"))
    with pytest.raises(RatchetError, match="target column 'price' has 4 missing"):
        Tabular.fit(holes, table.validation, table.columns, {}, RecordingContext())


def test_a_damaged_model_folder_is_named(tmp_path):
    fit(epochs=1).save(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"not weights")
    with pytest.raises(RatchetError, match="is not a saved tabular model"):
        Tabular.load(tmp_path)


def test_a_table_of_numbers_only_and_one_of_categories_only_are_fitted():
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 100)
    for frame in (pl.DataFrame({"x": y + random.normal(size=100), "y": y}), pl.DataFrame({"c": y.astype(str), "y": y})):
        model = Tabular.fit(frame[:80], frame[80:], Columns(target="y"), {"epochs": 1, "layers": 0}, RecordingContext())
        assert np.isfinite(model.predict(frame)).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_fit_on_a_gpu_scores_on_the_cpu():
    context = RecordingContext()
    context.device = "cuda"
    table = example("binary")
    scores = fit(table=table, context=context, epochs=20).predict(table.fresh)
    assert measures.auc(table.fresh["late"].to_numpy(), scores) > 0.8

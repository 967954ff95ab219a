"""`check_workload` passes what keeps the protocol and names the rule that a broken class breaks."""

import pickle
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kfp_ratchet.testing import check_workload
from kfp_ratchet.testing.rules import RULES

sys.path.insert(0, str(Path(__file__).parent))
from toy import Toy


def test_a_correct_workload_is_not_accused():
    kept = check_workload(Toy)
    assert len(kept) == 3 * len(RULES)
    assert "regression: nulls are scored" in kept


class ChangesParameters(Toy):
    @classmethod
    def fit(cls, rows, validation, columns, parameters, context):
        model = super().fit(rows, validation, columns, parameters, context)
        parameters["shrink"] = 2.0
        return model


class ReportsNothing(Toy):
    @classmethod
    def fit(cls, rows, validation, columns, parameters, context):
        return super().fit(rows, validation, columns, {**parameters, "epochs": 0}, context)


class WrongShape(Toy):
    def predict(self, rows):
        return super().predict(rows)[:, None]


class NotProbabilities(Toy):
    def predict(self, rows):
        return super().predict(rows) * 3


class ClassesReversed(Toy):
    @classmethod
    def fit(cls, *args):
        model = super().fit(*args)
        model.classes = model.classes[::-1]
        return model


class LooksAtTheTarget(Toy):
    def predict(self, rows):
        return super().predict(rows) * (0.5 if "late" in rows.columns else 1.0)


class Constant(Toy):
    def predict(self, rows):
        return np.full(rows.height, 0.5)


class RanksTheBatch(Toy):
    def predict(self, rows):
        return super().predict(rows) * (np.arange(rows.height) + 1) / rows.height


class ChokesOnUnseen(Toy):
    def predict(self, rows):
        scores = super().predict(rows)
        scores[~rows["place"].is_in(["north", "south", "east"]).fill_null(True).to_numpy()] = np.nan
        return scores


class ChokesOnNulls(Toy):
    def predict(self, rows):
        scores = super().predict(rows)
        scores[rows.select(pl.all_horizontal(pl.col("place", "amount", "size").is_null())).to_series().to_numpy()] = (
            np.nan
        )
        return scores


class IgnoresUnknown(Toy):
    @classmethod
    def fit(cls, rows, validation, columns, parameters, context):
        known = {name: value for name, value in parameters.items() if name in ("shrink", "epochs")}
        return super().fit(rows, validation, columns, known, context)


class LosesStateOnSave(Toy):
    @classmethod
    def load(cls, folder: Path):
        model = super().load(folder)
        model.means = {}
        return model


class GlobalRandomness(Toy):
    def save(self, folder: Path):
        super().save(folder)
        (folder / "noise").write_text(str(np.random.random()))


class Pickles(Toy):
    def save(self, folder: Path):
        super().save(folder)
        (folder / "weights.dat").write_bytes(pickle.dumps(self.means))


class ForgetsOnResume(Toy):
    @classmethod
    def fit(cls, rows, validation, columns, parameters, context):
        saved = context.load_checkpoint()
        context.save_checkpoint(lambda: b"state")
        model = super().fit(rows, validation, columns, parameters, context)
        if saved:
            model.means = {}
        return model


class StrangeSpace(Toy):
    @classmethod
    def search_space(cls):
        return {"shrink": {"type": "float", "low": 3.0, "high": 1.0}}


BROKEN = {
    ChangesParameters: "fit leaves its inputs alone",
    ReportsNothing: "fit reports its loss",
    WrongShape: "scores have the right shape",
    NotProbabilities: "scores have the right shape",
    ClassesReversed: "classes are named",
    LooksAtTheTarget: "the target is not needed",
    Constant: "the model has learnt",
    RanksTheBatch: "scores do not depend on other rows",
    ChokesOnUnseen: "unseen categories are scored",
    ChokesOnNulls: "nulls are scored",
    IgnoresUnknown: "unknown hyperparameters are refused",
    LosesStateOnSave: "save and load keep the scores",
    GlobalRandomness: "the same seed gives the same bytes",
    Pickles: "nothing is pickled",
    ForgetsOnResume: "a resumed fit is the same fit",
    StrangeSpace: "the search space parses",
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_a_broken_workload_is_told_its_rule(broken):
    with pytest.raises(AssertionError, match=f"{broken.__name__} .* the rule 'binary: {BROKEN[broken]}'"):
        check_workload(broken, ["binary"])


def test_every_rule_has_a_class_that_breaks_it():
    assert {rule.__name__.replace("_", " ") for rule in RULES} == set(BROKEN.values())


def test_a_class_that_cannot_fit_is_named_with_its_error():
    class Raises(Toy):
        @classmethod
        def fit(cls, *args):
            raise KeyError("wheels")

    with pytest.raises(AssertionError, match=r"Raises cannot be fitted on a binary table: KeyError\('wheels'\)"):
        check_workload(Raises, ["binary"])


@pytest.mark.parametrize("problem", ["binary", "multiclass", "regression"])
def test_tabular_keeps_the_protocol(problem):
    import torch

    from kfp_ratchet.components.train.tabular import Tabular

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert len(check_workload(Tabular, [problem], {"epochs": 3})) == len(RULES)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.slow
def test_the_gradient_boosting_example_keeps_the_protocol(monkeypatch):
    from threadpoolctl import threadpool_limits

    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples" / "gradient_boosting"))
    from workload import GradientBoosting

    with threadpool_limits(1):
        assert len(check_workload(GradientBoosting, parameters={"iterations": 10, "report_every": 5})) == 3 * len(RULES)

"""Association of single features with the target."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.validate.leakage import associations

LABELS = ["a", "b"] * 30


@given(st.lists(st.integers(0, 5), min_size=60, max_size=60), st.permutations(LABELS))
@settings(max_examples=40, deadline=None)
def test_auc_is_the_one_of_scikit_learn_ties_included(values, labels):
    rows = pl.DataFrame({"x": values, "y": labels})
    (found,) = associations(rows, Columns(target="y"))
    expected = roc_auc_score([label == "b" for label in labels], values)
    assert found.value == pytest.approx(max(expected, 1 - expected), abs=1e-12)


def test_spearman_is_the_one_of_scipy_and_sees_any_monotone_copy():
    generator = np.random.default_rng(0)
    target = generator.normal(size=100)
    rows = pl.DataFrame(
        {"y": target, "copy": -np.exp(target), "noise": generator.normal(size=100), "flat": [1.0] * 100}
    )
    found = {one.feature: one.value for one in associations(rows, Columns(target="y", problem="regression"))}
    assert found["copy"] == pytest.approx(1)
    assert found["noise"] == pytest.approx(abs(spearmanr(rows["noise"], target).statistic))
    assert "flat" not in found, "a constant has no rank correlation"


def test_a_leak_of_one_class_among_several_is_found():
    labels = ["a", "b", "c"] * 20
    rows = pl.DataFrame({"x": [label == "c" for label in labels], "y": labels})
    (found,) = associations(rows, Columns(target="y", problem="multiclass"))
    assert (found.value, found.of_class) == (1.0, "c")


def test_missing_and_non_finite_values_hide_no_leak():
    values = [
        None if index % 7 == 0 else math.nan if index % 7 == 1 else float(label == "b")
        for index, label in enumerate(LABELS)
    ]
    assert associations(pl.DataFrame({"x": values, "y": LABELS}), Columns(target="y"))[0].value == 1


def test_chance_order_of_a_few_rows_is_no_leak():
    few = [float(label == "b") if index < 20 else None for index, label in enumerate(LABELS)]
    assert associations(pl.DataFrame({"x": few, "y": LABELS}), Columns(target="y")) == []
    rare = ["b"] * 3 + ["a"] * 57
    assert associations(pl.DataFrame({"x": list(range(60)), "y": rare}), Columns(target="y")) == []


def test_roles_and_texts_are_no_features():
    rows = pl.DataFrame({"key": range(60), "s": LABELS, "y": LABELS, "x": range(60)})
    assert [one.feature for one in associations(rows, Columns(target="y", id="key"))] == ["x"]
    assert associations(rows, Columns(target="elsewhere")) == []


@pytest.mark.parametrize("problem", ["binary", "multiclass", "regression"])
def test_a_table_without_numeric_features_is_judged_on_nothing(problem):
    rows = pl.DataFrame({"id": range(40), "y": [0, 1] * 20, "word": ["a", "b"] * 20})
    assert associations(rows, Columns(id="id", target="y", problem=problem)) == []

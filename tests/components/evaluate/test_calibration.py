"""Predicted beside observed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfp_ratchet.components.evaluate import explain
from kfp_ratchet.components.evaluate.calibration import calibration


def binary(n: int = 400, seed: int = 0):
    rng = np.random.default_rng(seed)
    scores = rng.uniform(size=n)
    return (rng.uniform(size=n) < scores).astype(float), scores, np.ones(n)


def test_interval_of_a_share_that_is_not_wilsons():
    from scipy.stats import binomtest

    label, scores, weight = binary()
    for one in calibration("binary", label, scores, weight):
        exact = binomtest(round(one["observed"] * one["count"]), one["count"]).proportion_ci(0.95, method="wilson")
        assert (one["low"], one["high"]) == pytest.approx((exact.low, exact.high), abs=1e-6)


def test_interval_that_narrows_because_weights_are_large():
    label, scores, weight = binary()
    one, other = (calibration("binary", label, scores, weight * factor) for factor in (1, 1000))
    assert [b["high"] for b in one] == pytest.approx([b["high"] for b in other])


def test_weights_that_count_as_rows():
    label, scores, weight = binary()
    weight[::2] = 9.0
    even, uneven = calibration("binary", label, scores, np.ones(400)), calibration("binary", label, scores, weight)
    assert sum(b["high"] - b["low"] for b in uneven) > sum(b["high"] - b["low"] for b in even)


@given(
    st.sampled_from(["binary", "regression"]),
    st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1), st.floats(0.1, 9)), min_size=1, max_size=60),
)
def test_rows_that_are_in_no_bin_or_in_two(problem, rows):
    label, scores, weight = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found = calibration(problem, label, scores, weight)
    assert sum(one["count"] for one in found) == len(rows)
    for one in found:
        assert one["low"] is None or one["low"] - 1e-9 <= one["observed"] <= one["high"] + 1e-9


def test_row_of_no_weight_that_counts():
    label, scores, weight = binary(10)
    weight[0] = 0.0
    assert sum(one["count"] for one in calibration("binary", label, scores, weight)) == 9


def test_classes_judged_by_another_than_the_likeliest():
    scores = np.array([[0.7, 0.2, 0.1], [0.1, 0.15, 0.75], [0.3, 0.72, 0.0]])
    (only,) = calibration("multiclass", np.array([0.0, 2.0, 2.0]), scores, np.ones(3))
    assert only["predicted"] == pytest.approx((0.7 + 0.75 + 0.72) / 3)
    assert only["observed"] == pytest.approx(2 / 3)


def test_quantities_in_bins_of_equal_width():
    scores = np.exp(np.random.default_rng(0).normal(0, 3, 1000))
    found = calibration("regression", scores, scores, np.ones(1000))
    assert [one["count"] for one in found] == [100] * 10
    assert all(one["predicted"] == one["observed"] for one in found)


def test_mean_of_a_few_rows_drawn_as_certain():
    (only,) = calibration("regression", np.array([3.0]), np.array([2.0]), np.ones(1))
    assert (only["observed"], only["low"], only["high"]) == (3.0, None, None)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite(bad):
    label, scores, weight = binary()
    scores[3] = bad
    assert calibration("binary", label, scores, weight) == []


def test_quantile_of_another_number_of_repeats():
    from scipy.stats import t

    assert pytest.approx(t.ppf(0.975, explain._REPEATS - 1), abs=1e-5) == explain._T

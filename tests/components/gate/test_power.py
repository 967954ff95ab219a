"""The power calculation, against what then happens."""

import numpy as np
import pytest
from scipy import stats

from kfp_ratchet.components.gate.intervals import Needed, Sampling, detectable, measure, rows_to_decide
from kfp_ratchet.components.gate.metrics import prepare


def mae_gain(n, true_gain, rng, cluster=None):
    """Two predictors whose absolute errors differ by `true_gain` on average."""
    label, errors = np.zeros(n), np.abs(rng.normal(size=(2, n))) + 5
    shift = 0.0 if cluster is None else rng.normal(size=cluster.max() + 1)[cluster]
    sampling = Sampling(np.ones(n), cluster)
    statistics = {
        "candidate": prepare("mae", label, errors[0] - true_gain + shift),
        "champion": prepare("mae", label, errors[1]),
    }
    return measure(statistics, {"gain": ("candidate", "champion", -1)}, sampling)["gain"], sampling


@pytest.mark.parametrize("clusters", [0, 15])
def test_a_gain_of_the_detectable_size_is_promoted_four_times_in_five(clusters):
    rng, trials = np.random.default_rng(3), 300
    cluster = np.arange(300) % clusters if clusters else None
    named = np.median([detectable(mae_gain(300, 0.0, rng, cluster)[0]) for _ in range(100)])
    passed = sum(mae_gain(300, named, rng, cluster)[0].interval.low > 0 for _ in range(trials))
    assert stats.binom.ppf(0.001, trials, 0.8) <= passed <= stats.binom.ppf(0.999, trials, 0.93)


def test_that_many_rows_do_decide():
    rng, trials, true_gain = np.random.default_rng(4), 200, 0.05
    found, sampling = mae_gain(400, true_gain, rng)
    steady = found.__class__(
        found.interval.model_copy(
            update={
                "value": true_gain,
                "low": true_gain - (found.interval.value - found.interval.low),
                "high": true_gain + (found.interval.high - found.interval.value),
            }
        ),
        *(getattr(found, name) for name in ("error", "freedom", "p_below", "method")),
    )
    needed = rows_to_decide(steady, 0.0, sampling).rows
    assert needed > 1000
    passed = sum(mae_gain(needed, true_gain, rng)[0].interval.low > 0 for _ in range(trials))
    assert stats.binom.ppf(0.001, trials, 0.8) <= passed <= stats.binom.ppf(0.999, trials, 0.95)


def test_half_the_difference_takes_four_times_the_rows():
    found, sampling = mae_gain(400, 0.05, np.random.default_rng(0))
    value = found.interval.value
    near, far = (rows_to_decide(found, value - distance, sampling).rows for distance in (0.001, 0.002))
    assert near == pytest.approx(4 * far, rel=0.001)


def test_with_clusters_it_takes_more_clusters_not_more_rows_of_the_same():
    found, sampling = mae_gain(400, 0.0, np.random.default_rng(0), np.arange(400) % 20)
    needed = rows_to_decide(found, found.interval.value - 0.01, sampling)
    assert needed.rows / 400 == pytest.approx(needed.clusters / 20, rel=0.01)
    assert needed.clusters > 20


def test_what_lies_on_the_bound_is_never_decided():
    found, sampling = mae_gain(400, 0.0, np.random.default_rng(0))
    assert rows_to_decide(found, found.interval.value, sampling) is None
    assert rows_to_decide(found, found.interval.value + 1e-12, sampling) is None


def test_what_is_decided_needs_no_fewer_rows_than_there_are():
    found, sampling = mae_gain(400, 3.0, np.random.default_rng(0))
    assert rows_to_decide(found, 0.0, sampling) == Needed(rows=400)


def test_where_no_row_tells_the_models_apart_nothing_is_said_to_be_detectable():
    label, scores = np.zeros(50), np.linspace(0, 1, 50)
    statistics = {name: prepare("mae", label, scores) for name in ("candidate", "champion")}
    found = measure(statistics, {"gain": ("candidate", "champion", -1)}, Sampling(np.ones(50)))["gain"]
    assert np.isnan(detectable(found))


def test_a_row_that_outweighs_all_others_was_a_division_by_zero():
    label, weight = np.zeros(1000), np.ones(1000)
    weight[0] = 1e9
    scores = {
        name: np.random.default_rng(seed).normal(size=1000) for seed, name in enumerate(("candidate", "champion"))
    }
    statistics = {name: prepare("mae", label, one) for name, one in scores.items()}
    found = measure(statistics, {"gain": ("candidate", "champion", -1)}, Sampling(weight))["gain"]
    assert not np.isfinite(detectable(found)) and rows_to_decide(found, 0.0, Sampling(weight)) is None


def test_no_number_of_rows_tells_a_tie_from_next_to_nothing():
    found, sampling = mae_gain(400, 0.0, np.random.default_rng(0))
    assert rows_to_decide(found, np.nextafter(found.interval.value, 1), sampling) is None
    tie = found.__class__(
        found.interval.model_copy(update={"value": 0.0}),
        *(getattr(found, name) for name in ("error", "freedom", "p_below", "method")),
    )
    assert rows_to_decide(tie, 5e-227, sampling) is None

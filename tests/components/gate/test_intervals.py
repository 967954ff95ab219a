"""Intervals against textbook variances, resampling, and the rate at which equal models pass."""

import numpy as np
import pytest
from scipy import stats

from kfp_ratchet.components.gate.bootstrap import resample
from kfp_ratchet.components.gate.intervals import JACKKNIFE_CLUSTERS, Sampling, measure
from kfp_ratchet.components.gate.metric_kinds import kind
from kfp_ratchet.components.gate.metrics import prepare
from kfp_ratchet.components.shared.errors import InputError

BINARY = ["roc_auc", "average_precision", "log_loss", "brier", "accuracy", "balanced_accuracy", "f1", "f1_macro"]
TOP = ["precision@0.6", "recall@0.4", "precision@top0.2", "recall@top0.2", "calibration_error"]
REGRESSION = ["rmse", "mae", "mape", "pinball@0.8", "r2"]


def logistic(x):
    return 1 / (1 + np.exp(-x))


def two_models(n, rng, second=0.8):
    x = rng.normal(size=n)
    label = (rng.random(n) < logistic(1.5 * x - 1)).astype(float)
    return label, logistic(x + 0.8 * rng.normal(size=n)), logistic(x + second * rng.normal(size=n))


def two_predictions(n, rng, second=0.8):
    value = rng.normal(size=n) + 5
    return value, value + 0.8 * rng.normal(size=n), value + second * rng.normal(size=n)


def rows_for(metric, n, rng, second=0.8):
    return (two_predictions if metric in REGRESSION else two_models)(n, rng, second)


def gain(metric, label, one, other, **sampling):
    sampling.setdefault("weight", np.ones(len(label)))
    statistics = {"candidate": prepare(metric, label, one), "champion": prepare(metric, label, other)}
    return measure(statistics, {"gain": ("candidate", "champion", kind(metric).sign)}, Sampling(**sampling))["gain"]


def delong(label, one, other):
    """Gain in AUC and its standard error (DeLong, DeLong & Clarke-Pearson 1988), by placements, O(positives x negatives)."""
    positive, negative = np.flatnonzero(label == 1)[:, None], np.flatnonzero(label == 0)[None, :]
    placed = [(s[positive] > s[negative]) + 0.5 * (s[positive] == s[negative]) for s in (one, other)]
    difference = placed[0] - placed[1]
    by_positive, by_negative = difference.mean(axis=1), difference.mean(axis=0)
    # Divided by the number of rows, not by one less for each class as in the paper: the same to one part in the class's rows.
    return difference.mean(), np.sqrt(by_positive.var() / len(by_positive) + by_negative.var() / len(by_negative))


@pytest.mark.parametrize("digits", [12, 1])
def test_the_standard_error_of_a_gain_in_auc_is_delongs(digits):
    label, one, other = two_models(800, np.random.default_rng(3), second=1.4)
    one, other = one.round(digits), other.round(digits)  # with ties
    found = gain("roc_auc", label, one, other)
    value, error = delong(label, one, other)
    assert found.interval.value == pytest.approx(value)
    assert found.error == pytest.approx(error * np.sqrt(800 / 799), rel=1e-9)
    assert found.method.startswith("DeLong's variance")


def test_the_standard_error_of_a_gain_in_accuracy_is_mcnemars():
    label, one, other = two_models(500, np.random.default_rng(4), second=1.4)
    right, other_right = ((scores > 0.5) == label for scores in (one, other))
    won, lost = (right & ~other_right).sum(), (~right & other_right).sum()
    found = gain("accuracy", label, one, other)
    assert found.interval.value == pytest.approx((won - lost) / 500)
    variance = (won + lost - (won - lost) ** 2 / 500) / 500**2
    assert found.error == pytest.approx(np.sqrt(variance * 500 / 499), rel=1e-9)


@pytest.mark.parametrize("metric", [name for name in [*BINARY, *TOP, *REGRESSION] if name != "calibration_error"])
def test_the_closed_form_is_what_resampling_finds(metric):
    rng = np.random.default_rng(8)
    label, one, other = rows_for(metric, 1500, rng, second=1.2)
    found = gain(metric, label, one, other)
    own, rival = resample([prepare(metric, label, s) for s in (one, other)], np.ones(1500), 1500, seed=1)
    assert found.error == pytest.approx((own - rival).std(), rel=0.12)


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision", "rmse"])
@pytest.mark.parametrize("clusters", [60, 300])
def test_the_error_by_cluster_is_what_resampling_whole_clusters_finds(metric, clusters):
    rng = np.random.default_rng(8)
    cluster = np.repeat(np.arange(clusters), 1800 // clusters)
    label, one, _ = rows_for(metric, len(cluster), rng)
    other = one + np.where(rng.random(clusters) < 0.3, 1.0, 0.1)[cluster] * rng.normal(size=len(cluster))
    found = gain(metric, label, one, other, cluster=cluster)
    own, rival = resample([prepare(metric, label, s) for s in (one, other)], np.ones(len(label)), 1500, 1, cluster)
    assert found.error == pytest.approx((own - rival).std(), rel=0.12)
    assert ("jackknife" in found.method) == (clusters <= JACKKNIFE_CLUSTERS)
    assert f"{clusters} clusters" in found.method


def test_rows_of_a_cluster_that_err_together_do_not_count_as_so_many():
    rng = np.random.default_rng(8)
    cluster = np.arange(1800) % 60
    label, one, _ = two_predictions(1800, rng)
    together = one + rng.normal(size=60)[cluster]
    apart = gain("rmse", label, one, together).error
    assert gain("rmse", label, one, together, cluster=cluster).error > 2 * apart


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "rmse"])
def test_clusters_of_one_row_are_rows(metric):
    label, one, other = rows_for(metric, 400, np.random.default_rng(2))
    alone = gain(metric, label, one, other, cluster=np.random.default_rng(0).permutation(400))
    plain = gain(metric, label, one, other)
    assert (alone.interval, alone.freedom) == (plain.interval, pytest.approx(plain.freedom))


def test_few_clusters_leave_fewer_degrees_of_freedom_than_there_are_clusters():
    label, one, other = two_models(600, np.random.default_rng(2))
    even = gain("roc_auc", label, one, other, cluster=np.arange(600) % 12)
    uneven = gain("roc_auc", label, one, other, cluster=np.minimum(np.arange(600) // 20, 11))
    assert even.freedom <= 11 + 1e-9
    assert uneven.freedom < 4


def test_one_cluster_says_nothing():
    label, one, other = two_models(100, np.random.default_rng(2))
    assert gain("roc_auc", label, one, other, cluster=np.zeros(100, dtype=np.int64)).interval.low is None


@pytest.mark.parametrize("metric", [*BINARY, *TOP, *REGRESSION])
@pytest.mark.parametrize("clusters", [0, 12, 150])
def test_an_interval_mirrors_to_the_last_bit_when_the_models_are_swapped(metric, clusters):
    label, one, other = rows_for(metric, 300, np.random.default_rng(5), second=1.1)
    sampling = {"cluster": np.arange(300) % clusters if clusters else None, "resamples": 300}
    there, back = gain(metric, label, one, other, **sampling), gain(metric, label, other, one, **sampling)
    assert there.interval.low is not None
    assert (there.interval.value, there.interval.low, there.interval.high) == (
        -back.interval.value,
        -back.interval.high,
        -back.interval.low,
    )


def rmse_by_hand(label, score, weight):
    return float(np.sqrt(weight @ (label - score) ** 2 / weight.sum()))


rmse_by_hand.greater_is_better = False


def test_a_function_of_the_users_gets_the_interval_of_the_same_metric_by_resampling():
    label, one, other = two_predictions(400, np.random.default_rng(6), second=1.0)
    own = gain(f"{__name__}:rmse_by_hand", label, one, other)
    built_in = gain("rmse", label, one, other)
    assert own.interval.value == pytest.approx(built_in.interval.value)
    assert own.error == pytest.approx(built_in.error, rel=0.1)
    assert own.method == "bootstrap, 2,000 resamples"
    few = {"cluster": np.arange(400) % 20}
    assert (
        gain(f"{__name__}:rmse_by_hand", label, one, other, **few).interval
        == gain("rmse", label, one, other, **few).interval
    )


def test_a_floor_without_influence_does_not_make_the_gain_resampled():
    label, one, other = two_models(300, np.random.default_rng(0))
    statistics = {
        "candidate": prepare("roc_auc", label, one),
        "champion": prepare("roc_auc", label, other),
        "floor": prepare("calibration_error", label, one),
    }
    found = measure(statistics, {"gain": ("candidate", "champion", 1)}, Sampling(np.ones(300)))
    assert "DeLong" in found["gain"].method
    assert "bootstrap" in found["floor"].method
    assert found["floor"].interval.low < found["floor"].interval.high


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision", "calibration_error", "f1"])
def test_what_is_undefined_has_no_ends_and_proves_nothing(metric):
    label, scores = np.zeros(50), np.linspace(0, 0.4, 50)
    found = gain(metric, label, np.full(50, np.nan) if metric == "calibration_error" else scores, scores)
    assert (found.interval.low, found.interval.high) == (None, None)
    assert found.p_below(-1.0) == 1.0


def test_a_cluster_that_the_metric_cannot_do_without_leaves_the_interval_open():
    label, one, other = two_models(200, np.random.default_rng(0))
    cluster = np.where(label == 1, 0, 1 + np.arange(200) % 11)  # all positives in one
    assert gain("roc_auc", label, one, other, cluster=cluster).interval.low is None


def test_models_that_answer_alike_gain_exactly_nothing():
    label, one, _ = two_models(200, np.random.default_rng(0))
    found = gain("log_loss", label, one, one.copy())
    assert (found.interval.low, found.interval.value, found.interval.high) == (0, 0, 0)
    assert (found.p_below(0.0), found.p_below(0.1)) == (1.0, 0.0)


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "calibration_error"])
@pytest.mark.parametrize("clusters", [0, 12])
def test_the_p_value_is_the_level_at_which_the_interval_ends_at_the_bound(metric, clusters):
    label, one, other = two_models(400, np.random.default_rng(0), second=0.6)
    cluster = np.arange(400) % clusters if clusters else None
    for confidence in (0.8, 0.95, 0.999):
        found = gain(metric, label, one, other, cluster=cluster, confidence=confidence)
        p = found.p_below(found.interval.high)
        # The bootstrap's percentiles may lie further out than Student's interval, which the p-value is of.
        assert (
            p <= 1 - confidence + 1e-9 if "bootstrap" in found.method else p == pytest.approx(1 - confidence, rel=1e-6)
        )


def test_rows_that_are_counted_by_weight_have_the_textbook_error_of_a_weighted_mean():
    rng = np.random.default_rng(1)
    label, one, other = two_predictions(300, rng)
    weight = rng.choice([0.5, 1.0, 4.0], 300)
    by_row = np.abs(label - other) - np.abs(label - one)
    share = weight / weight.sum()
    error = np.sqrt(((share * (by_row - share @ by_row)) ** 2).sum())
    assert gain("mae", label, one, other, weight=weight).error == pytest.approx(error, rel=0.01)


@pytest.mark.parametrize(("metric", "n"), [("roc_auc", 300), ("log_loss", 300), ("accuracy", 250), ("rmse", 250)])
def test_of_candidates_that_are_no_better_at_most_one_in_twenty_passes(metric, n):
    rng, trials = np.random.default_rng(11), 800
    found = [gain(metric, *rows_for(metric, n, rng)).interval for _ in range(trials)]
    for passed in (sum(each.low > 0 for each in found), sum(each.high < 0 for each in found)):
        # The bounds miss a rate of 5 %, and of 1.5 %, once in a thousand times.
        assert stats.binom.ppf(0.001, trials, 0.015) <= passed <= stats.binom.ppf(0.999, trials, 0.05)


@pytest.mark.parametrize("metric", ["average_precision", "rmse"])
def test_of_equal_candidates_on_few_uneven_clusters_at_most_one_in_twenty_passes(metric):
    rng, trials, passed, naive = np.random.default_rng(12), 400, 0, 0
    for _ in range(trials):
        sizes = rng.integers(5, 60, 12)
        cluster = np.repeat(np.arange(12), sizes)
        label, one, other = rows_for(metric, len(cluster), rng)
        if metric == "rmse":
            one, other = (s + (rng.normal(size=12) ** 2)[cluster] * rng.normal(size=len(cluster)) for s in (one, other))
        else:
            one, other = (s + 0.4 * rng.normal(size=12)[cluster] for s in (one, other))
        passed += gain(metric, label, one, other, cluster=cluster).interval.low > 0
        naive += gain(metric, label, one, other).interval.low > 0
    assert passed <= stats.binom.ppf(0.999, trials, 0.05)
    assert naive > passed  # else the clusters would not matter here, and the test say nothing


@pytest.mark.parametrize(("answers", "share"), [(5, 0.8), (20, 0.9), (100, 0.98)])
def test_a_few_lucky_answers_were_more_precise_than_a_thousand_for_certain(answers, share):
    rng, trials, passed = np.random.default_rng(13), 400, 0
    for _ in range(trials):
        label = (rng.random(3000) < share).astype(float)
        few, many = (np.where(np.arange(3000) < count, 0.9, 0.1) for count in (answers, 1500))
        passed += gain("precision", label, few, many).interval.low > 0
    assert passed <= stats.binom.ppf(0.999, trials, 0.05)


def alone(metric, label, scores, **sampling):
    return measure({metric: prepare(metric, label, scores)}, {}, Sampling(np.ones(len(label)), **sampling))[metric]


@pytest.mark.parametrize("clusters", [0, 12])
@pytest.mark.parametrize(
    ("metric", "rows"),
    [("accuracy", 100), ("recall", 20), ("precision", 20), ("balanced_accuracy", 40), ("roc_auc", 20)],
)
def test_a_share_of_rows_that_all_agree_was_known_for_certain(metric, rows, clusters):
    """None of n rows speaks against it: a share of 3 in n would let that happen once in twenty times."""
    label = (np.arange(100) < 20).astype(float)
    found = alone(metric, label, 0.2 + 0.6 * label, cluster=np.arange(100) % clusters if clusters else None)
    assert (found.interval.value, found.interval.high) == (1, 1)
    assert 1 - 5 / rows < found.interval.low < 1 - 2 / rows


def test_one_row_more_makes_no_difference_between_shares_of_the_same_rows():
    label, one, other = two_models(300, np.random.default_rng(0))
    for metric in ("accuracy", "recall", "balanced_accuracy", "roc_auc"):
        first, second = prepare(metric, label, one), prepare(metric, label, other)
        assert (first.contrary(np.ones(300), second), first.contrary(np.ones(300)) > 0) == (0, True)
    assert gain("precision", label, one, one.copy()).interval.low == 0


def whole_accuracy(label, score, weight):
    return float(np.mean((score > 0.5) == label))


whole_accuracy.greater_is_better = True


def test_an_own_metric_that_forgets_the_weights_had_intervals_of_a_point():
    label, one, _ = two_models(300, np.random.default_rng(0))
    with pytest.raises(InputError, match="whole_accuracy does not use its third argument, the weights"):
        prepare(f"{__name__}:whole_accuracy", label, one)
    perfect = f"{__name__}:whole_accuracy"
    assert prepare(perfect, label, label)(np.ones((1, 300)))[0] == 1  # that it never moves proves nothing here
    assert alone(perfect, label, label).interval.low is None

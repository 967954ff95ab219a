import numpy as np
import pytest

from kfp_ratchet.components.gate import bootstrap
from kfp_ratchet.components.gate.bootstrap import interval, resample
from kfp_ratchet.components.gate.metrics import prepare, score


def logistic(x):
    return 1 / (1 + np.exp(-x))


def two_models(n, rng, second=0.8):
    x = rng.normal(size=n)
    label = (rng.random(n) < logistic(1.5 * x - 1)).astype(float)
    return label, logistic(x + 0.8 * rng.normal(size=n)), logistic(x + second * rng.normal(size=n))


def delong(label, one, other):
    """Gain in AUC and its standard error (DeLong, DeLong & Clarke-Pearson 1988), by placements, O(positives x negatives)."""
    wins = [np.where(label == 1)[0][:, None], np.where(label == 0)[0][None, :]]
    placed = [(s[wins[0]] > s[wins[1]]) + 0.5 * (s[wins[0]] == s[wins[1]]) for s in (one, other)]
    difference = placed[0] - placed[1]
    by_positive, by_negative = difference.mean(axis=1), difference.mean(axis=0)
    variance = by_positive.var(ddof=1) / len(by_positive) + by_negative.var(ddof=1) / len(by_negative)
    return difference.mean(), np.sqrt(variance)


def test_the_interval_of_a_gain_in_auc_is_the_one_of_delong():
    label, one, other = two_models(800, np.random.default_rng(3), second=1.4)
    drawn = resample([prepare("roc_auc", label, one), prepare("roc_auc", label, other)], np.ones(800), 2000, seed=1)
    gain, error = delong(label, one, other)
    found = interval(gain, drawn[0] - drawn[1], 0.95)
    assert (found.low, found.high) == pytest.approx((gain - 1.645 * error, gain + 1.645 * error), abs=0.15 * error)


def test_both_models_are_weighed_by_the_same_resample():
    label, one, _ = two_models(100, np.random.default_rng(0))
    drawn = resample([prepare("roc_auc", label, one), prepare("roc_auc", label, one.copy())], np.ones(100), 200, seed=1)
    assert (drawn[0] == drawn[1]).all()
    assert drawn[0].std() > 0


def test_a_heavy_row_is_heavy_in_every_resample():
    label, scores = np.zeros(100), np.linspace(0, 1, 100)
    weight = np.where(scores > 0.5, 10.0, 0.1)
    plain, weighted = (resample([prepare("mae", label, scores)], w, 400, seed=1)[0] for w in (np.ones(100), weight))
    value = score("mae", label, scores, weight)
    assert weighted.mean() == pytest.approx(value, abs=4 * weighted.std() / 20)
    assert abs(plain.mean() - value) > 0.1


def test_chunks_do_not_change_what_is_drawn(monkeypatch):
    label, one, _ = two_models(50, np.random.default_rng(0))
    whole = resample([prepare("roc_auc", label, one)], np.ones(50), 300, seed=5)
    monkeypatch.setattr(bootstrap, "_CHUNK_CELLS", 50 * 7)
    assert (resample([prepare("roc_auc", label, one)], np.ones(50), 300, seed=5) == whole).all()


def test_an_undefined_resample_leaves_the_interval_open_instead_of_being_dropped():
    found = interval(0.1, np.array([0.1, np.nan, 0.2]), 0.95)
    assert (found.value, found.low, found.high) == (0.1, None, None)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["roc_auc", "log_loss"])
def test_of_candidates_that_are_no_better_about_one_in_twenty_passes(metric):
    rng, passed, trials = np.random.default_rng(11), 0, 400
    for trial in range(trials):
        label, one, other = two_models(300, rng)
        drawn = resample([prepare(metric, label, s) for s in (one, other)], np.ones(300), 600, seed=trial)
        gain = interval(0.0, drawn[0] - drawn[1], 0.95)
        passed += gain.low > 0
    # 20 expected of 400; 36 is 3.7 standard errors above.
    assert 4 <= passed <= 36

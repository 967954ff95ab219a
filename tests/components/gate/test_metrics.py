import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_ratchet.components.gate.metrics import _PREPARE, prepare, score
from kfp_ratchet.components.gate.policy import METRICS

BINARY = [name for name, kind in METRICS.items() if "binary" in kind.problems]
MULTICLASS = [name for name, kind in METRICS.items() if "multiclass" in kind.problems]
REGRESSION = [name for name, kind in METRICS.items() if "regression" in kind.problems]


def rows(problem, seed, n=60):
    """Labels, scores (coarse, so that ties abound) and weights (some zero)."""
    rng = np.random.default_rng(seed)
    weight = rng.choice([0.0, 0.5, 1.0, 3.0], n)
    if problem == "binary":
        label = (np.arange(n) % 3 == 0).astype(float)
        return label, np.round(np.clip(0.3 * label + rng.random(n) * 0.7, 0.01, 0.99), 1), weight
    if problem == "multiclass":
        odds = rng.random((n, 3)) + 0.01
        return (np.arange(n) % 3).astype(float), odds / odds.sum(axis=1, keepdims=True), weight
    label = rng.normal(size=n) * 10 + 1000
    return label, label + rng.normal(size=n), weight


def reference(name, label, scores, weight):
    answer = (scores > 0.5).astype(float) if scores.ndim == 1 else scores.argmax(axis=1)
    w = {"sample_weight": weight}
    return {
        "roc_auc": lambda: sk.roc_auc_score(label, scores, **w),
        "average_precision": lambda: sk.average_precision_score(label, scores, **w),
        "log_loss": lambda: sk.log_loss(label, scores, **w),
        "brier": lambda: (
            sk.brier_score_loss(label, scores, **w)
            if scores.ndim == 1
            else sk.brier_score_loss(label, scores, scale_by_half=False, **w)
        ),
        "accuracy": lambda: sk.accuracy_score(label, answer, **w),
        "balanced_accuracy": lambda: sk.balanced_accuracy_score(label, answer, **w),
        "f1_macro": lambda: sk.f1_score(label, answer, average="macro", **w),
        "rmse": lambda: sk.root_mean_squared_error(label, scores, **w),
        "mae": lambda: sk.mean_absolute_error(label, scores, **w),
        "r2": lambda: sk.r2_score(label, scores, **w),
    }[name]()


def test_every_metric_that_a_policy_may_name_can_be_computed():
    assert set(_PREPARE) == set(METRICS)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("problem", "name"),
    [("binary", m) for m in BINARY] + [("multiclass", m) for m in MULTICLASS] + [("regression", m) for m in REGRESSION],
)
def test_weighted_values_with_ties_are_those_of_scikit_learn(problem, name, seed):
    label, scores, weight = rows(problem, seed)
    assert score(name, label, scores, weight) == pytest.approx(reference(name, label, scores, weight), abs=1e-10)


@pytest.mark.parametrize(
    ("problem", "name"),
    [("binary", m) for m in BINARY] + [("multiclass", m) for m in MULTICLASS] + [("regression", m) for m in REGRESSION],
)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_weight_is_a_repetition(problem, name, seed):
    label, scores, _ = rows(problem, seed, n=24)
    counts = np.random.default_rng(seed).integers(0, 4, 24) + (np.arange(24) < 6)
    repeated = np.repeat(np.arange(24), counts)
    weighted = score(name, label, scores, counts.astype(float))
    assert weighted == pytest.approx(
        score(name, label[repeated], scores[repeated], np.ones(len(repeated))), abs=1e-9, nan_ok=True
    )


@pytest.mark.parametrize("name", BINARY)
def test_a_batch_of_weightings_is_each_weighting_by_itself(name):
    label, scores, weight = rows("binary", 1)
    batch = np.stack([weight, np.ones_like(weight), weight[::-1] + 0.5])
    assert prepare(name, label, scores)(batch) == pytest.approx([score(name, label, scores, w) for w in batch])


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_ranking_metrics_are_undefined_without_positives_instead_of_a_number(name):
    assert np.isnan(score(name, np.zeros(5), np.linspace(0, 1, 5), np.ones(5)))


def test_a_certain_and_wrong_probability_costs_much_but_not_infinity():
    assert 30 < score("log_loss", np.array([1.0]), np.array([0.0]), np.ones(1)) < 40

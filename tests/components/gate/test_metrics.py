"""Values against scikit-learn, weights against repetition, influences against the derivative in a row's weight."""

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_ratchet.components.gate.metric_kinds import METRICS, kind
from kfp_ratchet.components.gate.metrics import _PREPARE, _WITH_LEVEL, prepare, score
from kfp_ratchet.components.shared.errors import InputError

COST = {2: [[0.0, 1.0], [5.0, 0.5]], 3: [[0.0, 1.0, 4.0], [2.0, 0.0, 1.0], [9.0, 3.0, 0.0]]}
WRITTEN = {"f1": ["f1", "f1@0.3"], "pinball": ["pinball@0.9", "pinball@0.1"]} | {
    name: [name, f"{name}@0.3", f"{name}@top10", f"{name}@top0.3"] for name in ("precision", "recall")
}
CASES = [
    (problem, name)
    for problem in ("binary", "multiclass", "regression")
    for base, each in METRICS.items()
    if problem in each.problems
    for name in WRITTEN.get(base, [base])
]
MANY_VALUED = {"calibration_error"}
"""No influence: resampling only."""


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
    label = rng.normal(size=n) * 10 + 1000 * (seed % 2)
    return label, label + rng.normal(size=n), weight


def classes(scores):
    return 2 if scores.ndim == 1 else scores.shape[1]


def value(name, label, scores, weight):
    return score(name, label, scores, weight, COST[classes(scores)])


def made(name, label, scores):
    return prepare(name, label, scores, COST[classes(scores)])


def above(level):
    return lambda scores: (scores > level).astype(float)


def reference(name, label, scores, weight):
    base, _, level = name.partition("@")
    answer = scores.argmax(axis=1) if scores.ndim == 2 else above(float(level or 0.5))(scores)
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
        "f1": lambda: sk.f1_score(label, answer, **w),
        "f1_macro": lambda: sk.f1_score(label, answer, average="macro", **w),
        "precision": lambda: sk.precision_score(label, answer, **w),
        "recall": lambda: sk.recall_score(label, answer, **w),
        "rmse": lambda: sk.root_mean_squared_error(label, scores, **w),
        "mae": lambda: sk.mean_absolute_error(label, scores, **w),
        "pinball": lambda: sk.mean_pinball_loss(label, scores, alpha=float(level), **w),
        "r2": lambda: sk.r2_score(label, scores, **w),
    }[base]()


OWN = ("calibration_error", "expected_cost", "mape")


def test_every_metric_that_a_policy_may_name_can_be_computed():
    assert {*_PREPARE, *_WITH_LEVEL, "expected_cost"} == set(METRICS)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("problem", "name"), [(p, n) for p, n in CASES if n not in OWN and "top" not in n])
def test_weighted_values_with_ties_are_those_of_scikit_learn(problem, name, seed):
    label, scores, weight = rows(problem, seed)
    assert value(name, label, scores, weight) == pytest.approx(reference(name, label, scores, weight), abs=1e-10)


@pytest.mark.parametrize(("problem", "name"), CASES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_weight_is_a_repetition(problem, name, seed):
    label, scores, _ = rows(problem, seed, n=24)
    counts = np.random.default_rng(seed).integers(0, 4, 24) + (np.arange(24) < 6)
    repeated = np.repeat(np.arange(24), counts)
    weighted = value(name, label, scores, counts.astype(float))
    assert weighted == pytest.approx(
        value(name, label[repeated], scores[repeated], np.ones(len(repeated))), abs=1e-9, nan_ok=True
    )


@pytest.mark.parametrize(("problem", "name"), CASES)
def test_a_batch_of_weightings_is_each_weighting_by_itself(problem, name):
    label, scores, weight = rows(problem, 1)
    batch = np.stack([weight, np.ones_like(weight), weight[::-1] + 0.5])
    assert made(name, label, scores)(batch) == pytest.approx([value(name, label, scores, w) for w in batch])


@pytest.mark.parametrize(("problem", "name"), CASES)
def test_the_order_of_rows_does_not_matter(problem, name):
    label, scores, weight = rows(problem, 2)
    other = np.random.default_rng(0).permutation(len(label))
    assert value(name, label, scores, weight) == pytest.approx(
        value(name, label[other], scores[other], weight[other]), abs=1e-12
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("problem", "name"), [(p, n) for p, n in CASES if n not in MANY_VALUED])
def test_the_influence_of_a_row_is_the_derivative_in_its_weight(problem, name, seed):
    label, scores, weight = rows(
        problem, seed, n=600
    )  # ten scores: the boundary of a top share lies in a wide run of ties
    statistic, total, step = made(name, label, scores), weight.sum(), 1e-4
    some = np.random.default_rng(seed).choice(600, 40, replace=False)
    # The share of rows is what is held, not their number: as in a resample.
    ends = [weight + step * sign * (np.eye(600)[some] - weight / total) for sign in (1, -1)]
    derivative = (statistic(ends[0]) - statistic(ends[1])) / (2 * step)
    influence = statistic.influence(weight)
    assert weight @ influence / total == pytest.approx(0, abs=1e-9)
    assert influence[some] / total == pytest.approx(derivative, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("name", ["precision@top0.1", "recall@top0.1"])
def test_the_influence_at_the_boundary_of_a_top_share_is_right_without_ties(name):
    # One row's own label, 0 or 1, in place of its neighbours' share would make the variance wrong by half.
    errors, found = [], []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        scores = rng.random(1000)
        label = (rng.random(1000) < scores).astype(float)
        statistic, ones = prepare(name, label, scores), np.ones(1000)
        found.append(statistic(ones[None])[0])
        errors.append(np.sqrt((statistic.influence(ones) ** 2).sum()) / 1000)
    assert np.median(errors) == pytest.approx(np.std(found), rel=0.12)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_ranking_metrics_are_undefined_without_positives_instead_of_a_number(name):
    assert np.isnan(score(name, np.zeros(5), np.linspace(0, 1, 5), np.ones(5)))


def test_the_precision_of_a_model_that_answers_nothing_is_undefined():
    assert np.isnan(score("precision", np.ones(4), np.full(4, 0.1), np.ones(4)))


def test_a_certain_and_wrong_probability_costs_much_but_not_infinity():
    assert 30 < score("log_loss", np.array([1.0]), np.array([0.0]), np.ones(1)) < 40


def test_top_rows_of_equal_score_are_taken_by_share_not_by_row_order():
    label, scores = np.array([1.0, 1, 0, 0, 0]), np.array([0.9, 0.5, 0.5, 0.5, 0.1])
    assert score("precision@top2", label, scores, np.ones(5)) == pytest.approx((1 + 1 / 3) / 2)
    assert score("recall@top0.4", label, scores, np.ones(5)) == pytest.approx((1 + 1 / 3) / 2)


def test_more_top_rows_than_there_are_are_all_rows():
    assert score("precision@top100", np.array([1.0, 0]), np.array([0.9, 0.1]), np.ones(2)) == 0.5


def test_the_answer_of_least_expected_cost_is_not_the_likeliest_class():
    # A missed positive costs five: at probability 0.3 it pays to answer 1 (cost 0.7 x 1 against 0.3 x 5).
    assert score("expected_cost", np.array([1.0]), np.array([0.3]), np.ones(1), [[0, 1], [5, 0]]) == 0
    assert score("expected_cost", np.array([0.0]), np.array([0.1]), np.ones(1), [[0, 1], [5, 0]]) == 0
    with pytest.raises(InputError, match="cost matrix of 2 rows"):
        prepare("expected_cost", np.zeros(1), np.zeros(1), [[0, 1, 2]] * 3)


def test_a_label_near_zero_does_not_outweigh_all_others_in_mape():
    label, scores = np.array([100.0] * 99 + [1e-9]), np.array([101.0] * 99 + [1.0])
    assert score("mape", label, scores, np.ones(100)) == pytest.approx(0.0099 + 1 / 0.99 / 100)
    assert score("mape", label[:99], scores[:99], np.ones(99)) == pytest.approx(
        sk.mean_absolute_percentage_error(label[:99], scores[:99])
    )
    assert np.isnan(score("mape", np.zeros(3), np.ones(3), np.ones(3)))


def test_calibration_error_is_the_gap_between_stated_and_observed_shares():
    label = np.tile([1.0, 0, 0, 0, 0], 200)
    assert score("calibration_error", label, np.full(1000, 0.2), np.ones(1000)) == pytest.approx(0)
    assert score("calibration_error", label, np.full(1000, 0.5), np.ones(1000)) == pytest.approx(0.3)
    halves = np.r_[np.full(500, 0.1), np.full(500, 0.3)]  # wrong by a tenth on either side: no cancelling over bins
    assert score("calibration_error", label, halves, np.ones(1000)) == pytest.approx(0.1)
    sure = np.column_stack([1 - halves, halves])
    assert score("calibration_error", label, sure, np.ones(1000)) == pytest.approx(0.1)


def hits_in_tens(label, score, weight):
    return float(((label > 0.5) == (score > 0.1)) @ weight / weight.sum())


hits_in_tens.greater_is_better = True


def undirected(label, score, weight):
    return 0.0


def test_a_function_of_the_users_is_a_metric():
    name = f"{__name__}:hits_in_tens"
    assert kind(name).greater_is_better
    label, scores, weight = rows("binary", 1)
    assert score(name, label, scores, weight) == pytest.approx(
        sk.accuracy_score(label, scores > 0.1, sample_weight=weight)
    )


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (f"{__name__}:undirected", "set undirected.greater_is_better"),
        (f"{__name__}:missing", "no function 'missing'"),
        ("no_such_package:f", "cannot be imported"),
    ],
)
def test_a_function_that_cannot_be_used_is_refused_with_the_remedy(name, says):
    with pytest.raises(InputError, match=says):
        kind(name)


def test_a_function_that_fails_is_named():
    undirected.greater_is_better = False
    try:
        with pytest.raises(InputError, match="undirected fails on 1 rows: TypeError"):
            prepare(f"{__name__}:undirected", np.ones(1), np.ones(1)).__class__(
                f"{__name__}:undirected", lambda y, s: 0.0, np.ones(1), np.ones(1)
            )(np.ones((1, 1)))
    finally:
        del undirected.greater_is_better

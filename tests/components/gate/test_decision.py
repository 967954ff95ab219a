import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_ratchet.components.gate import Policy, decide
from kfp_ratchet.components.shared.errors import InputError

FAST = Policy(resamples=200)
PROBLEMS = ("binary", "multiclass", "regression")


def of(pair, problem, **kwargs):
    return getattr(pair, problem)(**kwargs)


def swapped(evidence, rows):
    names = {
        name: name.replace("candidate", "champion")
        if name.startswith("candidate")
        else name.replace("champion", "candidate")
        for name in rows.columns
    }
    other = evidence.model_copy(
        update={"candidate_digest": evidence.champion_digest, "champion_digest": evidence.candidate_digest}
    )
    return other, rows.rename(names)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_clearly_better_candidate_is_promoted_and_its_swap_rejected(pair, problem):
    evidence, rows = of(pair, problem)
    better, worse = decide(evidence, rows, FAST), decide(*swapped(evidence, rows), FAST)
    assert (better.verdict, worse.verdict) == ("promote", "reject")
    assert better.gain.low > 0 > worse.gain.high


def test_the_sentence_says_metric_rival_gain_interval_and_rows(pair):
    decision = decide(*pair.binary(), FAST)
    gain = decision.gain
    assert decision.reason.startswith("Promoted: roc_auc 0.")
    assert "beats the champion's (v3) 0." in decision.reason
    assert f"by {gain.value:.3f} [{gain.low:.3f}, {gain.high:.3f}] on 400 rows." in decision.reason


def test_a_metric_where_less_is_better_gains_by_falling(pair):
    decision = decide(*pair.regression(), FAST)
    assert decision.candidate.value < decision.champion.value
    assert decision.gain.value == pytest.approx(decision.champion.value - decision.candidate.value)


@pytest.mark.parametrize("seed", range(8))
def test_a_small_difference_of_either_sign_is_inconclusive_and_says_how_many_rows_it_takes(pair, seed):
    decision = decide(*pair.regression(better=0.99, worse=1.0, seed=seed), FAST)
    expected = {(True, True): "promote", (False, False): "reject"}
    sides = (decision.gain.low > 0, decision.gain.high > 0)
    assert decision.verdict == expected.get(sides, "inconclusive")
    if sides == (False, True):
        assert "would decide" in decision.reason


def test_a_gain_above_zero_whose_interval_holds_zero_is_not_promoted(pair):
    judged = [decide(*pair.regression(better=0.97, worse=1.0, seed=seed), FAST) for seed in range(8)]
    open_ones = [one for one in judged if one.gain.low <= 0 < one.gain.value]
    assert open_ones
    assert {one.verdict for one in open_ones} == {"inconclusive"}


def test_the_rows_to_decide_grow_with_the_square_of_the_interval(pair):
    from kfp_ratchet.components.gate.wording import rows_to_decide
    from kfp_ratchet.components.shared.decision import Interval

    assert "about 9,000 rows" in rows_to_decide(1000, Interval(value=0.01, low=-0.02, high=0.04), 0.0)
    assert "no number of rows" in rows_to_decide(1000, Interval(value=0.0, low=-0.02, high=0.02), 0.0)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_first_model_is_judged_against_the_trivial_one(pair, problem):
    good = decide(*of(pair, problem, first=True), FAST)
    assert good.verdict == "promote"
    assert "first model" in good.reason
    assert "the trivial model's" in good.reason
    assert good.champion_version == ""


def test_a_first_model_that_knows_nothing_is_not_promoted(pair):
    evidence, rows = pair.binary(first=True)
    noise = np.random.default_rng(0).random(rows.height)
    assert decide(evidence, rows.with_columns(candidate=noise), FAST).verdict != "promote"


def test_the_margin_of_a_first_model_is_its_own(pair):
    evidence, rows = pair.binary(first=True)
    strict = Policy.parse('{"resamples": 200, "margin": 0, "first_model": {"margin": 0.45}}')
    decision = decide(evidence, rows, strict)
    assert (decision.verdict, decision.margin) == ("reject", 0.45)


def test_the_champion_itself_is_unchanged_whatever_its_scores(pair):
    decision = decide(*pair.binary(champion_digest="sha256:new"), FAST)
    assert (decision.verdict, decision.unchanged) == ("reject", True)


def test_equal_scores_of_another_model_are_rejected_not_open(pair):
    evidence, rows = pair.binary()
    decision = decide(evidence, rows.with_columns(candidate="champion"), FAST)
    assert (decision.verdict, decision.unchanged) == ("reject", False)


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda e, r: (e, r.drop("champion")), "column 'champion' is missing"),
        (lambda e, r: (e, r.with_columns(pl.col("candidate").cast(pl.String))), "not numbers"),
        (lambda e, r: (e, r.head(300)), "says 400 rows and holds 300"),
        (lambda e, r: (e, r.with_columns(id=pl.lit("same"))), "not unique"),
        (lambda e, r: (e, r.with_columns(id=pl.lit(None, pl.String))), "no id"),
        (lambda e, r: (e, r.with_columns(label=pl.col("label") * 2)), "none of the 2 classes"),
        (lambda e, r: (e, r.with_columns(candidate=pl.col("candidate") * 3)), "no probabilities"),
        (lambda e, r: (e, r.with_columns(weight=-pl.col("weight"))), "weight is negative"),
        (lambda e, r: (e.model_copy(update={"sanity": {"finite": True, "repeatable": False}}), r), "repeatable"),
        (lambda e, r: (e.model_copy(update={"sanity": {}}), r), "no sanity results"),
        (lambda e, r: (e.model_copy(update={"candidate_digest": ""}), r), "which model"),
        (lambda e, r: (e.model_copy(update={"champion_digest": ""}), r), "only one of"),
        (lambda e, r: (e.model_copy(update={"rows": 100}), r.head(100)), "policy.min_rows"),
        (
            lambda e, r: (e, r.with_columns(label=(pl.int_range(pl.len()) < 5).cast(pl.Float64))),
            "class 'yes' has 5 rows",
        ),
    ],
)
def test_unsound_evidence_is_inconclusive_and_says_why(pair, break_it, says):
    decision = decide(*break_it(*pair.binary()), FAST)
    assert decision.verdict == "inconclusive"
    assert says in decision.reason


@pytest.mark.parametrize("baseline", [{}, {"score": None}, {"score": float("nan")}, {"scores": [0.5]}, {"score": 7.0}])
def test_a_first_model_without_a_sound_baseline_is_inconclusive(pair, baseline):
    assert decide(*pair.binary(first=True, baseline=baseline), FAST).verdict == "inconclusive"


def test_a_class_that_only_an_old_champion_knows_does_not_block_for_ever(pair):
    evidence, rows = pair.multiclass()
    evidence = evidence.model_copy(update={"classes": [*evidence.classes, "gone"]})
    rows = rows.with_columns(pl.lit(0.0).alias("candidate:gone"), pl.lit(0.0).alias("champion:gone"))
    assert decide(evidence, rows, FAST).verdict == "promote"
    known = rows.with_columns(pl.lit(0.1).alias("candidate:gone"))
    assert "class 'gone' has 0 rows" in decide(evidence, known, FAST).reason


@pytest.mark.parametrize(("bound", "verdict"), [(0.6, "promote"), (0.95, "reject")])
def test_a_floor_holds_a_better_candidate_back(pair, bound, verdict):
    policy = Policy(resamples=200, floors={"roc_auc": bound})
    assert decide(*pair.binary(), policy).verdict == verdict


def test_a_floor_within_the_interval_is_inconclusive(pair):
    value = decide(*pair.binary(), FAST).candidate.value
    decision = decide(*pair.binary(), Policy(resamples=200, floors={"roc_auc": value}))
    assert decision.verdict == "inconclusive"
    assert "is not shown to be at least" in decision.reason


def test_one_check_that_fails_for_certain_rejects_though_another_is_open(pair):
    evidence, rows = pair.regression(better=1.0, worse=0.5)
    value = decide(evidence, rows, FAST).candidate.value
    decision = decide(evidence, rows, Policy(resamples=200, floors={"rmse": value}))
    assert {"fail", "unknown"} <= {check.outcome for check in decision.checks}
    assert decision.verdict == "reject"


def test_the_floor_of_a_loss_is_its_most(pair):
    evidence, rows = pair.regression()
    assert decide(evidence, rows, Policy(resamples=200, floors={"mae": 1.0})).verdict == "promote"
    assert decide(evidence, rows, Policy(resamples=200, floors={"mae": 0.1})).verdict == "reject"


@pytest.mark.parametrize(
    ("samples", "verdict"),
    [([5.0] * 30, "promote"), ([50.0] * 30, "reject"), ([], "inconclusive"), ([float("nan")] * 30, "inconclusive")],
)
def test_the_latency_budget_goes_by_the_samples_or_stays_open(pair, samples, verdict):
    policy = Policy(resamples=200, max_latency_ms=10)
    assert decide(*pair.binary(), policy, latency_ms=samples).verdict == verdict


def test_one_slow_sample_in_thirty_does_not_break_the_budget(pair):
    policy = Policy(resamples=200, max_latency_ms=10)
    assert decide(*pair.binary(), policy, latency_ms=[5.0] * 29 + [500.0]).verdict == "promote"


def test_a_metric_of_another_problem_is_a_wrong_policy_not_a_verdict(pair):
    with pytest.raises(InputError, match="rmse"):
        decide(*pair.binary(), Policy(metric="rmse"))


def test_an_undefined_metric_is_inconclusive(pair):
    evidence, rows = pair.binary(n=8)
    rows = rows.with_columns(label=(pl.int_range(pl.len()) < 1).cast(pl.Float64))
    decision = decide(evidence, rows, Policy(resamples=200, min_rows=2, min_class_rows=1))
    assert decision.verdict == "inconclusive"
    assert "undefined" in decision.reason


@pytest.mark.parametrize("problem", PROBLEMS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), better=st.floats(0.2, 2.0))
def test_row_order_never_matters(pair, problem, seed, better):
    evidence, rows = of(pair, problem, n=250, better=better, seed=seed)
    shuffled = rows.sample(fraction=1, shuffle=True, seed=seed)
    assert decide(evidence, shuffled, FAST) == decide(evidence, rows, FAST)


@pytest.mark.parametrize("problem", PROBLEMS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), better=st.floats(0.2, 2.0), worse=st.floats(0.2, 2.0))
def test_a_pair_and_its_swap_are_never_both_promoted_and_mirror_each_other(pair, problem, seed, better, worse):
    evidence, rows = of(pair, problem, n=220, better=better, worse=worse, seed=seed)
    one, other = decide(evidence, rows, FAST), decide(*swapped(evidence, rows), FAST)
    assert {one.verdict, other.verdict} != {"promote"}
    assert one.gain.low == pytest.approx(-other.gain.high, abs=1e-9)


@pytest.mark.parametrize("problem", PROBLEMS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), margin=st.floats(0, 0.1))
def test_an_identical_pair_is_never_promoted(pair, problem, seed, margin):
    evidence, rows = of(pair, problem, n=220, seed=seed)
    own = [name for name in rows.columns if name.startswith("candidate")]
    rows = rows.with_columns(pl.col(name).alias(name.replace("candidate", "champion")) for name in own)
    assert decide(evidence, rows, Policy(resamples=200, margin=margin)).verdict == "reject"


@pytest.mark.parametrize("problem", PROBLEMS)
@settings(max_examples=12, deadline=None)
@given(data=st.data(), odd=st.sampled_from([float("nan"), float("inf"), float("-inf"), None]))
def test_nan_anywhere_never_promotes(pair, problem, data, odd):
    evidence, rows = of(pair, problem)
    column = data.draw(st.sampled_from([name for name in rows.columns if name != "id"]))
    at = data.draw(st.integers(0, rows.height - 1))
    values = rows[column].cast(pl.Float64).to_list()
    values[at] = odd
    broken = rows.with_columns(pl.Series(column, values, dtype=pl.Float64))
    assert decide(evidence, broken, FAST).verdict == "inconclusive"


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 50), margins=st.tuples(st.floats(0, 0.3), st.floats(0, 0.3)))
def test_a_larger_margin_is_never_easier(pair, seed, margins):
    rank = {"reject": 0, "inconclusive": 1, "promote": 2}
    evidence, rows = pair.binary(n=220, better=1.0, seed=seed)
    small, large = (decide(evidence, rows, Policy(resamples=200, margin=m)).verdict for m in sorted(margins))
    assert rank[large] <= rank[small]


def test_rows_of_weight_zero_are_as_if_they_were_not_there(pair):
    evidence, rows = pair.binary()
    ghosts = rows.head(50).with_columns(id=pl.col("id") + "-ghost", weight=0.0, candidate=1.0, champion=0.0)
    more = evidence.model_copy(update={"rows": 450})
    with_ghosts, without = decide(more, pl.concat([rows, ghosts]), FAST), decide(evidence, rows, FAST)
    assert (with_ghosts.gain, with_ghosts.rows) == (without.gain, 400)

import numpy as np
import polars as pl
import pytest

from kfp_ratchet.components.gate import Policy, decide
from kfp_ratchet.components.shared.errors import InputError

FAST = Policy(resamples=200)
PROBLEMS = ("binary", "multiclass", "regression")


def of(pair, problem, **kwargs):
    return getattr(pair, problem)(**kwargs)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_clearly_better_candidate_is_promoted_and_its_swap_rejected(pair, problem):
    evidence = of(pair, problem)
    better, worse = decide(evidence, FAST), decide(pair.swapped(evidence), FAST)
    assert (better.verdict, worse.verdict) == ("promote", "reject")
    assert better.gain.low > 0 > worse.gain.high


def test_the_sentence_says_metric_rival_gain_interval_and_rows(pair):
    decision = decide(pair.binary(), FAST)
    gain = decision.gain
    assert decision.reason.startswith("Promoted: roc_auc 0.")
    assert "beats the champion's (v3) 0." in decision.reason
    assert f"by {gain.value:.3f} [{gain.low:.3f}, {gain.high:.3f}] on 400 rows." in decision.reason


def test_a_metric_where_less_is_better_gains_by_falling(pair):
    decision = decide(pair.regression(), FAST)
    assert decision.candidate.value < decision.champion.value
    assert decision.gain.value == pytest.approx(decision.champion.value - decision.candidate.value)


@pytest.mark.parametrize("seed", range(8))
def test_a_small_difference_of_either_sign_is_inconclusive_and_says_how_many_rows_it_takes(pair, seed):
    # The trivial model is as good as these two, and is no part of the question here.
    decision = decide(pair.regression(better=0.99, worse=1.0, seed=seed), Policy(resamples=200, beats_baseline=False))
    expected = {(True, True): "promote", (False, False): "reject"}
    sides = (decision.gain.low > 0, decision.gain.high > 0)
    assert decision.verdict == expected.get(sides, "inconclusive")
    if sides == (False, True):
        assert "would decide" in decision.reason


def test_a_gain_above_zero_whose_interval_holds_zero_is_not_promoted(pair):
    judged = [decide(pair.regression(better=0.97, worse=1.0, seed=seed), FAST) for seed in range(8)]
    open_ones = [one for one in judged if one.gain.low <= 0 < one.gain.value]
    assert open_ones
    assert {one.verdict for one in open_ones} == {"inconclusive"}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_first_model_is_judged_against_the_trivial_one(pair, problem):
    good = decide(of(pair, problem, first=True), FAST)
    assert good.verdict == "promote"
    assert "first model" in good.reason
    assert "the trivial model's" in good.reason
    assert good.champion_version == ""


def test_a_first_model_that_knows_nothing_is_not_promoted(pair):
    evidence = pair.binary(first=True)
    rows = evidence.rows.with_columns(candidate=np.random.default_rng(0).random(evidence.rows.height))
    assert decide(pair.changed(evidence, rows), FAST).verdict != "promote"


def test_the_margin_of_a_first_model_is_its_own(pair):
    evidence = pair.binary(first=True)
    strict = Policy.parse('{"resamples": 200, "margin": 0, "first_model": {"margin": 0.45}}')
    decision = decide(evidence, strict)
    assert (decision.verdict, decision.margin) == ("reject", 0.45)


def test_the_champion_itself_is_unchanged_whatever_its_scores(pair):
    decision = decide(pair.binary(champion_digest="sha256:new"), FAST)
    assert (decision.verdict, decision.unchanged) == ("reject", True)


def test_equal_scores_of_another_model_are_rejected_not_open(pair):
    evidence = pair.binary()
    decision = decide(pair.changed(evidence, evidence.rows.with_columns(candidate="champion")), FAST)
    assert (decision.verdict, decision.unchanged) == ("reject", False)


@pytest.mark.parametrize(
    ("rows", "facts", "says"),
    [
        (lambda r: r.drop("champion"), {}, "column 'champion' is missing"),
        (lambda r: r.drop("id"), {}, "column 'id' is missing"),
        (lambda r: r.with_columns(pl.col("candidate").cast(pl.String)), {}, "not numbers"),
        (lambda r: r.with_columns(id=pl.concat_list("id")), {}, "which has no text"),
        (lambda r: r.head(300), {}, "says 400 rows and holds 300"),
        (lambda r: r.clear(), {"rows": 0}, "no rows"),
        (lambda r: r.with_columns(id=pl.lit("same")), {}, "not unique"),
        (lambda r: pl.concat([r.head(399), r.head(1)]), {}, "not unique: 1 repeat"),
        (lambda r: r.with_columns(id=pl.lit(None, pl.String)), {}, "no id"),
        (lambda r: r.with_columns(label=pl.col("label") * 2), {}, "none of the 2 classes"),
        (lambda r: r.with_columns(candidate=pl.col("candidate") * 3), {}, "no probabilities"),
        (lambda r: r.with_columns(weight=-pl.col("weight")), {}, "weight is negative"),
        (lambda r: r.with_columns(weight=0.0), {}, "0 rows to judge on"),
        (lambda r: r.head(10), {"rows": 10}, "10 rows to judge on, fewer than policy.min_rows"),
        (lambda r: r, {"sanity": {"finite": True, "repeatable": False}}, "not repeatable"),
        (lambda r: r, {"sanity": {}}, "no sanity results"),
        (lambda r: r, {"candidate_digest": ""}, "which model"),
        (lambda r: r, {"champion_digest": ""}, "names champion v3 without its digest"),
        (lambda r: r, {"anchor_digest": "sha256:older"}, "column 'anchor' is missing"),
        (lambda r: r, {"clustered_by": "customer"}, "column 'cluster' is missing"),
        (lambda r: r, {"slices": ["port"]}, "column 'slice:port' is missing"),
        (lambda r: r.with_columns(label=(pl.int_range(pl.len()) < 5).cast(pl.Float64)), {}, "class 'yes' has 5 rows"),
    ],
)
def test_unsound_evidence_is_inconclusive_and_says_why(pair, rows, facts, says):
    evidence = pair.binary()
    decision = decide(pair.changed(evidence, rows(evidence.rows), **facts), FAST)
    assert decision.verdict == "inconclusive"
    assert says in decision.reason
    assert not decision.sets_anchor


@pytest.mark.parametrize("baseline", [{}, {"score": None}, {"score": float("nan")}, {"scores": [0.5]}, {"score": 7.0}])
def test_a_first_model_without_a_sound_baseline_is_inconclusive(pair, baseline):
    assert decide(pair.binary(first=True, baseline=baseline), FAST).verdict == "inconclusive"


def test_a_class_that_only_an_old_champion_knows_does_not_block_for_ever(pair):
    evidence = pair.multiclass()
    rows = evidence.rows.with_columns(pl.lit(0.0).alias("candidate:gone"), pl.lit(0.0).alias("champion:gone"))
    classes, baseline = [*evidence.facts.classes, "gone"], {"scores": [1 / 3, 1 / 3, 1 / 3, 0]}
    more = pair.changed(evidence, rows, classes=classes, baseline=baseline)
    assert decide(more, FAST).verdict == "promote"
    known = pair.changed(more, rows.with_columns(pl.lit(0.0005).alias("candidate:gone")))
    assert "class 'gone' has 0 rows" in decide(known, FAST).reason


@pytest.mark.parametrize(("bound", "verdict"), [(0.6, "promote"), (0.95, "reject")])
def test_a_floor_holds_a_better_candidate_back(pair, bound, verdict):
    policy = Policy(resamples=200, floors={"roc_auc": bound})
    assert decide(pair.binary(), policy).verdict == verdict


def test_a_floor_within_the_interval_is_inconclusive(pair):
    value = decide(pair.binary(), FAST).candidate.value
    decision = decide(pair.binary(), Policy(resamples=200, floors={"roc_auc": value}))
    assert decision.verdict == "inconclusive"
    assert "is not shown to be at least" in decision.reason


def test_one_check_that_fails_for_certain_rejects_though_another_is_open(pair):
    evidence = pair.regression(better=1.0, worse=0.5)
    value = decide(evidence, FAST).candidate.value
    decision = decide(evidence, Policy(resamples=200, floors={"rmse": value}))
    assert {"fail", "unknown"} <= {check.outcome for check in decision.checks}
    assert decision.verdict == "reject"


def test_the_floor_of_a_loss_is_its_most(pair):
    evidence = pair.regression()
    assert decide(evidence, Policy(resamples=200, floors={"mae": 1.0})).verdict == "promote"
    assert decide(evidence, Policy(resamples=200, floors={"mae": 0.1})).verdict == "reject"


def test_a_metric_of_another_problem_is_a_wrong_policy_not_a_verdict(pair):
    with pytest.raises(InputError, match="rmse"):
        decide(pair.binary(), Policy(metric="rmse"))


def test_an_undefined_metric_is_inconclusive(pair):
    evidence = pair.regression()
    flat = pair.changed(evidence, evidence.rows.with_columns(label=1.0))
    decision = decide(flat, Policy(resamples=200, metric="r2"))
    assert decision.verdict == "inconclusive"
    assert "no interval" in decision.reason

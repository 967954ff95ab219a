"""Superiority and non-inferiority, the anchor, and the trivial model."""

import numpy as np
import polars as pl
import pytest

from kfp_ratchet.components.gate import Evidence, Policy, decide
from kfp_ratchet.components.shared.errors import InputError

FRESH = Policy.parse('{"preset": "fresh", "metric": "rmse", "non_inferiority_margin": 0.1}')
STRICT = Policy(metric="rmse")


def models(candidate, champion, anchor=None, n=4000, **more):
    """A regression whose models err by what is given, as standard deviation; the trivial model by 3."""
    rng = np.random.default_rng(0)
    label = 3 * rng.normal(size=n)
    scores = [label + spread * rng.normal(size=n) for spread in (candidate, champion, anchor) if spread is not None]
    third = {"anchor": scores[2]} if anchor is not None else {}
    return Evidence.of(label, *scores[:2], problem="regression", **third, **more)


def by_name(decision):
    return {check.name: check for check in decision.checks}


@pytest.mark.parametrize(
    ("candidate", "strict", "fresh"),
    [
        (0.8, "promote", "promote"),
        (1.0, "inconclusive", "promote"),
        (1.03, "reject", "promote"),
        (1.3, "reject", "reject"),
    ],
)
def test_what_is_not_shown_to_be_worse_is_promoted_by_fresh_only(candidate, strict, fresh):
    evidence = models(candidate, 1.0)
    assert (decide(evidence, STRICT).verdict, decide(evidence, FRESH).verdict) == (strict, fresh)


def test_a_loss_on_the_edge_of_what_is_allowed_is_inconclusive_and_says_how_many_rows_decide():
    decision = decide(models(1.09, 1.0, n=1000), FRESH)
    assert decision.verdict == "inconclusive"
    assert "would decide" in decision.reason
    assert (decision.question, decision.margin) == ("non_inferiority", 0.1)


def test_small_losses_never_add_up_to_more_than_one_margin_since_the_anchor():
    """Each of these loses too little to be refused by the champion alone; the anchor refuses from the second on."""
    verdicts = [decide(models(1.0 + 0.07 * i, 1.0 + 0.07 * (i - 1), anchor=1.0, n=12_000), FRESH) for i in (1, 2, 3)]
    assert [one.gain.low > -0.1 for one in verdicts] == [True, True, True]
    assert [one.verdict for one in verdicts] == ["promote", "reject", "reject"]
    assert "is shown to lose at least 0.1 against the anchor's" in verdicts[1].reason
    assert not any(one.sets_anchor for one in verdicts)


def test_only_what_beats_champion_and_anchor_becomes_the_anchor():
    assert decide(models(0.8, 1.0, anchor=0.9), FRESH).sets_anchor
    assert not decide(models(0.93, 1.0, anchor=0.9), FRESH).sets_anchor
    assert decide(models(0.8, 1.0), FRESH).sets_anchor
    assert not decide(models(1.0, 1.0), FRESH).sets_anchor


def test_the_anchor_has_no_say_in_superiority_but_in_who_is_the_next_one():
    decision = decide(models(0.9, 1.0, anchor=0.5), STRICT)
    assert (decision.verdict, decision.sets_anchor) == ("promote", False)
    assert decision.anchor_gain.high < 0


def test_an_anchor_that_is_the_champion_or_the_candidate_is_not_scored_apart():
    evidence = models(0.9, 1.0)
    for same in ("champion", "candidate"):
        facts = evidence.facts.model_copy(update={"anchor_digest": same, "anchor_version": "2"})
        decision = decide(Evidence(facts, evidence.rows), FRESH)
        assert (decision.verdict, decision.sets_anchor) == ("promote", True)


def test_an_anchor_that_could_not_score_locked_fresh_for_ever():
    update = {"anchor_digest": "old", "anchor_version": "2", "anchor_problem": "feature 'wind' is missing"}
    alike, better = (
        Evidence(found.facts.model_copy(update=update), found.rows) for found in (models(1.0, 1.0), models(0.9, 1.0))
    )
    kept = decide(alike, FRESH)
    assert (kept.verdict, kept.sets_anchor) == ("inconclusive", False)
    assert "the anchor (v2) cannot be scored (feature 'wind' is missing)" in kept.reason
    for policy in (FRESH, STRICT):
        decision = decide(better, policy)
        assert (decision.verdict, decision.sets_anchor) == ("promote", True)
    assert "becomes the anchor instead" in by_name(decide(better, FRESH))["anchor gain"].reason


def test_a_first_model_is_held_against_the_trivial_one_by_superiority_whatever_the_preset():
    decision = decide(models(1.0, None), FRESH)
    assert (decision.verdict, decision.question, decision.sets_anchor) == ("promote", "superiority", True)


def test_a_candidate_no_better_than_the_trivial_model_is_refused_though_the_champion_is_worse_still():
    evidence = models(3.3, 4.0)
    decision = decide(evidence, STRICT)
    assert (decision.verdict, by_name(decision)["gain"].outcome) == ("reject", "pass")
    assert "does not beat the trivial model's" in decision.reason
    assert decide(evidence, Policy(metric="rmse", beats_baseline=False)).verdict == "promote"


def correlation(label, score, weight):
    return float(np.cov(label, score, aweights=weight)[0, 1] / score.std()) if score.std() else float("nan")


correlation.greater_is_better = True


def test_a_trivial_model_without_a_value_was_beaten_unseen():
    asked = {"metric": f"{__name__}:correlation", "resamples": 200}
    decision = decide(models(0.5, 2.0), Policy(**asked))
    assert (decision.verdict, by_name(decision)["baseline gain"].outcome) == ("inconclusive", "unknown")
    assert "policy.beats_baseline: false" in decision.reason
    assert decide(models(0.5, 2.0), Policy(**asked, beats_baseline=False)).verdict == "promote"


def test_evidence_without_a_trivial_model_leaves_that_question_open():
    evidence = models(0.8, 1.0)
    evidence = Evidence(evidence.facts.model_copy(update={"baseline": {}}), evidence.rows)
    assert by_name(decide(evidence, STRICT))["baseline gain"].outcome == "unknown"


def test_precision_of_a_first_model_is_held_against_the_prevalence():
    rng = np.random.default_rng(0)
    skill = rng.normal(size=3000)
    label = skill + rng.normal(size=3000) > 0.8
    decision = decide(Evidence.of(label, 1 / (1 + np.exp(-skill))), Policy(metric="precision@0.7"))
    assert decision.verdict == "promote"
    assert decision.champion.value == pytest.approx(label.mean())


def test_clusters_widen_the_interval_and_too_few_are_inconclusive():
    rng = np.random.default_rng(1)
    customer = np.repeat(np.arange(50), 80)
    # What one customer's rows share is the candidate's luck with that customer.
    label, luck = rng.normal(size=4000), np.repeat(rng.normal(size=50), 80)
    candidate, champion = label + 0.5 * luck + rng.normal(size=4000), label + 1.15 * rng.normal(size=4000)

    def judge(cluster):
        evidence = Evidence.of(label, candidate, champion, problem="regression", cluster=cluster, baseline=9.0)
        return decide(evidence, Policy(metric="rmse"))

    alone, together, few = judge(None), judge(customer), judge(customer // 10)
    assert together.gain.value == alone.gain.value
    assert together.gain.high - together.gain.low > 1.5 * (alone.gain.high - alone.gain.low)
    assert few.verdict == "inconclusive"
    assert "5 clusters (values of cluster) to judge on, fewer than policy.min_clusters = 10" in few.reason


def test_a_slice_may_lose_by_fresh_what_the_whole_may():
    slices = {"port": np.arange(4000) % 4}
    bounds = {
        policy.preset: by_name(decide(models(1.0, 1.0, slices=slices), policy))["slice port=0"].bound
        for policy in (STRICT, FRESH)
    }
    assert bounds == {"strict": 0.0, "fresh": -0.1}


def test_the_detectable_gain_is_what_the_rows_can_show():
    few, many = (decide(models(1.0, 1.0, n=n), STRICT).detectable for n in (500, 8000))
    assert few == pytest.approx(4 * many, rel=0.25)
    assert decide(models(1.0, 1.0), FRESH).detectable == pytest.approx(
        decide(models(1.0, 1.0), STRICT).detectable - 0.1
    )


def test_churn_is_the_share_of_answers_that_differ():
    rng = np.random.default_rng(0)
    label = rng.random(2000) < 0.5
    champion = np.where(label, 0.7, 0.3)
    candidate = np.where(np.arange(2000) < 300, 1 - champion, champion) + rng.uniform(-0.1, 0.1, 2000)
    evidence = Evidence.of(label, candidate, champion)
    assert decide(evidence, Policy()).churn.value == pytest.approx(0.15)
    outcomes = {most: by_name(decide(evidence, Policy(max_churn=most)))["churn"].outcome for most in (0.1, 0.15, 0.2)}
    assert outcomes == {0.1: "fail", 0.15: "unknown", 0.2: "pass"}


def test_scores_out_of_the_range_that_was_set_are_refused():
    evidence = models(0.8, 1.0)
    assert decide(evidence, Policy(metric="rmse", score_range=(-100, 100))).verdict == "promote"
    decision = decide(evidence, Policy(metric="rmse", score_range=(0, 100)))
    assert decision.verdict == "reject"
    assert "not inside [0, 100]" in decision.reason


def test_a_cost_matrix_of_another_size_names_key_and_classes(pair):
    policy = Policy(metric="expected_cost", cost_matrix=((0, 1), (5, 0)))
    with pytest.raises(InputError, match=r"policy\.cost_matrix: it has 2 rows, and there are 3 classes \(a, b, c\)"):
        decide(pair.multiclass(), policy)
    assert decide(pair.binary(), policy).metric == "expected_cost"


def test_an_expected_cost_promotes_the_model_that_saves_money():
    rng = np.random.default_rng(0)
    skill = rng.normal(size=4000)
    label = skill + rng.normal(size=4000) > 1
    good, bad = (1 / (1 + np.exp(1 - 1.5 * skill + noise * rng.normal(size=4000))) for noise in (0, 1.5))
    policy = Policy(metric="expected_cost", cost_matrix=((0, 1), (5, 0)))
    assert decide(Evidence.of(label, good, bad), policy).verdict == "promote"
    assert decide(Evidence.of(label, bad, good), policy).verdict == "reject"


def test_the_evaluation_is_told_apart_by_rows_not_by_scores():
    one, other = models(0.8, 1.0), models(1.2, 0.9)
    same, fewer = decide(one, STRICT).evaluation, decide(other, STRICT).evaluation
    assert same == fewer
    less = Evidence(one.facts.model_copy(update={"rows": 3999}), one.rows.head(3999))
    assert decide(less, STRICT).evaluation.digest != same.digest


def test_a_duplicate_id_and_a_missing_cluster_are_told():
    evidence = models(0.8, 1.0, cluster=[None, *range(1, 4000)])
    assert by_name(decide(evidence, STRICT))["clusters"].outcome == "pass"
    twice = evidence.rows.with_columns(id=pl.lit(1))
    assert "not unique" in decide(Evidence(evidence.facts, twice), STRICT).reason

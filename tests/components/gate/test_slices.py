import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfp_ratchet.components.gate import Evidence, Policy, decide, figures
from kfp_ratchet.components.gate.policy import Slices
from kfp_ratchet.components.gate.slices import holm, judge_slices
from kfp_ratchet.components.gate.sound import Scored

ASKED = Policy.parse('{"resamples": 300, "slices": {"margin": 0.1, "min_rows": 100}}')


def sliced(pair, bad_rows=0):
    """A regression pair where the candidate is far better overall, and far worse on the last slice."""
    evidence = pair.regression(n=640, better=0.2)
    rows = evidence.rows.with_columns(
        (pl.int_range(pl.len()) // 150).cast(pl.String).alias("slice:carrier"),
        candidate=pl.when(pl.int_range(pl.len()) < bad_rows)
        .then(pl.col("label") + 1.5 * (pl.col("champion") - pl.col("label")))
        .otherwise("candidate"),
    )
    return pair.changed(evidence, rows, slices=["carrier"])


def sliced_wide(pair, bad_rows=0):
    """The same, with slices that are large enough for the default policy."""
    evidence = sliced(pair, bad_rows)
    wider = (pl.int_range(pl.len()) // 210).cast(pl.String).alias("slice:carrier")
    return pair.changed(evidence, evidence.rows.with_columns(wider))


def test_a_candidate_that_is_worse_on_one_slice_is_rejected_by_name_though_better_overall(pair):
    evidence = sliced(pair, bad_rows=100)
    assert decide(evidence, Policy(resamples=300, slices=None)).verdict == "promote"
    decision = decide(evidence, ASKED)
    assert decision.verdict == "reject"
    assert "on carrier=0 (150 rows)" in decision.reason


def test_the_bad_slice_is_found_where_slices_take_turns_in_the_rows(pair):
    evidence = pair.regression(n=800, better=0.2)
    port = pl.int_range(pl.len()) % 4
    bad = pl.when(port == 2).then(pl.col("label") + 1.5 * (pl.col("champion") - pl.col("label")))
    rows = evidence.rows.with_columns(port.alias("slice:port"), candidate=bad.otherwise("candidate"))
    checks = {check.name: check for check in decide(pair.changed(evidence, rows, slices=["port"]), Policy()).checks}
    found = {name: check.outcome for name, check in checks.items() if name.startswith("slice ")}
    assert found == {f"slice port={i}": "fail" if i == 2 else "pass" for i in range(4)}
    inside = pair.changed(evidence, rows.filter(port == 2), rows=200)
    assert checks["slice port=2"].observed.value == pytest.approx(decide(inside, Policy()).gain.value)


def test_slices_too_small_are_named_and_do_not_block(pair):
    decision = decide(sliced(pair), ASKED)
    assert decision.verdict == "promote"
    said = {check.name: check for check in decision.checks}
    assert "carrier=4 (40 rows)" in said["slices"].reason
    assert [name for name in said if name.startswith("slice ")] == [f"slice carrier={i}" for i in range(4)]


def test_the_tolerated_loss_is_drawn_though_a_slice_is_too_small(pair):
    checks = [check for check in decide(sliced(pair), ASKED).checks if check.name.startswith("slice")]
    assert {check.bound for check in checks} == {-0.1, None}
    assert 'class="bound"' in figures.slices(checks)


def test_slices_are_judged_whenever_there_are_some_until_the_policy_says_null(pair):
    evidence = sliced_wide(pair, bad_rows=170)
    assert "on carrier=0 (210 rows)" in decide(evidence, Policy(resamples=300)).reason
    (kept,) = [
        check for check in decide(sliced_wide(pair), Policy(resamples=300)).checks if check.name == "slice carrier=0"
    ]
    assert (kept.outcome, str(kept.bound), "below 0 (p" in kept.reason) == ("pass", "0.0", True)
    switched_off = decide(evidence, Policy.parse('{"resamples": 300, "slices": null}'))
    assert switched_off.verdict == "promote"
    for decision in (switched_off, decide(pair.regression(), Policy(resamples=300))):
        assert not [check for check in decision.checks if check.name.startswith("slice")]


def test_slices_that_are_all_too_small_are_named_and_do_not_block(pair):
    decision = decide(sliced(pair), Policy.parse('{"resamples": 300, "slices": {"min_rows": 500}}'))
    (said,) = [check for check in decision.checks if check.name.startswith("slice")]
    assert (decision.verdict, said.outcome) == ("promote", "pass")
    assert "too small to judge: carrier=0 (150 rows)" in said.reason


def test_a_slice_where_the_candidate_alone_has_no_precision_was_too_small_to_judge():
    rng = np.random.default_rng(1)
    label = (rng.random(3000) < 0.5).astype(float)
    part = np.arange(3000) % 3
    candidate, champion = (
        np.clip(0.5 + skill * (label - 0.5) + 0.2 * rng.normal(size=3000), 0, 1) for skill in (0.6, 0.3)
    )
    silent = np.where(part == 0, candidate * 0.3, candidate)

    def judged(candidate, champion):
        found = decide(Evidence.of(label, candidate, champion, slices={"part": part}), Policy(metric="precision"))
        return found, {check.name: check for check in found.checks}

    decision, checks = judged(silent, champion)
    assert (decision.verdict, checks["slice part=0"].outcome) == ("inconclusive", "unknown")
    assert "precision is undefined for the candidate, and not for the champion" in decision.reason
    decision, checks = judged(silent, np.where(part == 0, champion * 0.3, champion))
    assert decision.verdict == "promote"
    assert checks["slices"].reason == "undefined or without an interval: part=0 (1,000 rows)"


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "gain"), [("rmse", 0.0), ("mae", 0.01)])
def test_noise_on_slices_refuses_a_candidate_that_is_no_worse_about_as_often_as_the_confidence_says(metric, gain):
    """Ten slices, heavy tails, 200 candidates: 5 % may be refused by slices, and 9.5 % is three standard errors more."""
    refused = 0
    for seed in range(200):
        rng = np.random.default_rng([7, seed])
        n = 3000
        truth, error = rng.normal(size=n), rng.lognormal(size=n) * rng.choice([-1, 1], n)
        own, other = (spread * rng.normal(size=n) for spread in (0.3 - gain, 0.3))
        scored = Scored(
            label=truth + error,
            weight=np.ones(n),
            candidate=truth + own,
            champion=truth + other,
            anchor=None,
            baseline=None,
            cluster=None,
            slices={"carrier": pl.Series(rng.integers(0, 10, n)).cast(pl.String)},
            digest=f"sha256:{seed:064x}",
        )
        checks = judge_slices(scored, "regression", metric, Policy(resamples=200), Slices(), 0.0)
        assert len(checks) >= 9
        refused += any(check.outcome == "fail" for check in checks)
    assert refused <= 19


def test_missing_slice_values_are_a_slice_of_their_own(pair):
    evidence = sliced(pair)
    rows = evidence.rows.with_columns(pl.col("slice:carrier").replace("0", None))
    assert "slice carrier=(missing)" in {check.name for check in decide(pair.changed(evidence, rows), ASKED).checks}


def test_holm_adjusts_as_published():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_no_correction_and_bonferroni_and_keeps_the_order(p):
    adjusted = np.asarray(holm(p))
    assert (adjusted >= np.asarray(p)).all()
    assert (adjusted <= np.minimum(1, np.asarray(p) * len(p))).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()

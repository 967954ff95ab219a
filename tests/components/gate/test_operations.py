"""Latency, memory and size, against a budget and against the champion."""

import numpy as np
import pytest
from scipy.stats import binom

from kfp_ratchet.components.gate import decide
from kfp_ratchet.components.gate.operations import judge_operations, quantile
from kfp_ratchet.components.gate.policy import Budget, Policy
from kfp_ratchet.components.shared.evidence import Facts, Operations

FACTS = Facts(
    problem="binary",
    rows=1,
    candidate_digest="new",
    champion_digest="old",
    size_mb={"candidate": 3.0, "champion": 2.0},
)


def outcomes(budget, latency=None, memory=None, facts=FACTS):
    operations = Operations(latency_ms=latency or {}, memory_mb=memory or {})
    return {check.name: check.outcome for check in judge_operations(facts, operations, Budget(**budget), 0.95)}


def steady(value, n=100):
    return [value + 0.001 * i for i in range(n)]


@pytest.mark.parametrize(
    ("samples", "outcome"),
    [
        (steady(5.0), "pass"),
        (steady(50.0), "fail"),
        ([*steady(5.0, 98), 500.0, 500.0], "unknown"),
        ([*steady(5.0, 99), 500.0], "pass"),
        (steady(5.0, 30), "unknown"),
        (steady(50.0, 30), "fail"),
        ([], "unknown"),
    ],
)
def test_a_latency_budget_goes_by_the_interval_of_the_quantile(samples, outcome):
    assert outcomes({"latency_p95_ms": 10}, {"candidate": samples}) == {"latency p95": outcome}


def test_an_interval_of_a_quantile_holds_as_often_as_it_says():
    """The true median and 95 % quantile of a skewed distribution, in 2,000 draws of 100: each end misses them in at most 5 %."""
    rng = np.random.default_rng(0)
    drawn = rng.exponential(size=(2000, 100))
    for share in (0.5, 0.95):
        found = [quantile(list(samples), share, 0.95) for samples in drawn]
        true = -np.log(1 - share)
        assert sum(one.low > true for one in found) <= 0.06 * 2000
        assert sum(one.high < true for one in found) <= 0.06 * 2000
        assert any(one.low > true for one in found)
        assert any(one.high < true for one in found)


def test_ends_of_a_quantile_are_the_binomials():
    samples = list(np.arange(100.0))
    found = quantile(samples, 0.95, 0.95)
    assert binom.cdf(found.high, 100, 0.95) >= 0.95 > binom.cdf(found.high - 1, 100, 0.95)
    assert binom.cdf(found.low, 100, 0.95) <= 0.05 < binom.cdf(found.low + 1, 100, 0.95)
    assert quantile(samples[:58], 0.95, 0.95).high is None
    assert quantile(samples[:59], 0.95, 0.95).high == 58.0


@pytest.mark.parametrize(("slower", "outcome"), [(1.0, "pass"), (1.5, "unknown"), (2.0, "fail")])
def test_a_model_may_be_so_many_times_slower_than_the_champion(slower, outcome):
    rng = np.random.default_rng(0)
    champion = list(4 + rng.random(100))
    found = outcomes(
        {"times_champion": 1.5},
        {"candidate": [slower * one for one in champion], "champion": champion},
        {"candidate": [30.0] * 3, "champion": [29.0, 30.0, 31.0]},
    )
    assert (found["latency p50 ratio"], found["latency p95 ratio"]) == (outcome, outcome)
    assert (found["memory ratio"], found["size ratio"]) == ("pass", "pass")


def test_a_ratio_of_equal_models_is_hardly_ever_shown_to_be_more_or_less_than_one():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        candidate, champion = (list(1 + rng.exponential(size=100)) for _ in range(2))
        found.append(
            outcomes({"times_champion": 1}, {"candidate": candidate, "champion": champion})["latency p50 ratio"]
        )
    assert found.count("pass") <= 15
    assert found.count("fail") <= 15


def test_a_first_model_has_no_champion_to_be_slower_than():
    assert outcomes({"times_champion": 1.5}, facts=FACTS.model_copy(update={"champion_digest": ""})) == {}


@pytest.mark.parametrize(
    ("grown", "outcome"),
    [([90, 91, 92], "pass"), ([99, 101, 100], "unknown"), ([110, 101, 105], "fail"), ([5], "unknown")],
)
def test_a_memory_budget_goes_by_the_least_and_the_most_that_was_measured(grown, outcome):
    assert outcomes({"memory_mb": 100}, memory={"candidate": grown}) == {"memory": outcome}


def test_memory_of_models_that_take_next_to_none_is_not_compared_to_the_kilobyte():
    memory = {"candidate": [0.4, 0.5, 0.6], "champion": [0.0, 0.0, 0.1]}
    assert outcomes({"times_champion": 2}, memory=memory)["memory ratio"] == "pass"


def test_the_size_is_known_for_certain():
    assert outcomes({"size_mb": 3.0}) == {"size": "pass"}
    assert outcomes({"size_mb": 2.9}) == {"size": "fail"}
    assert outcomes({"size_mb": 3.0}, facts=FACTS.model_copy(update={"size_mb": {}})) == {"size": "unknown"}


def test_a_broken_budget_rejects_a_better_candidate(pair):
    evidence = pair.binary(size_mb={"candidate": 10.0})
    assert decide(evidence, Policy(budget=Budget(size_mb=20))).verdict == "promote"
    decision = decide(evidence, Policy(budget=Budget(size_mb=5)))
    assert (decision.verdict, decision.reason) == ("reject", "Rejected: the model's weights take 10 MB: more than 5.")

"""What holds of every decision, whatever the evidence: of each metric, with and without weights and clusters."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from kfp_ratchet.components.gate import Evidence, Policy, decide
from kfp_ratchet.components.gate.metrics import prepare

RANK = {"reject": 0, "inconclusive": 1, "promote": 2}
COST = ((0.0, 1.0), (3.0, 0.0))
METRICS = {
    "binary": ["roc_auc", "average_precision", "log_loss", "accuracy", "f1", "precision@top0.2", "expected_cost"],
    "regression": ["rmse", "mae", "mape", "pinball@0.8", "r2"],
    "multiclass": ["log_loss", "balanced_accuracy", "f1_macro", "calibration_error"],
}
# Without shrinking: a smaller seed is no simpler case.
lawful = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],
)


@dataclass(frozen=True, repr=False)
class Case:
    """Arguments of `Evidence.of`."""

    problem: str
    label: np.ndarray
    candidate: np.ndarray
    champion: np.ndarray
    weight: np.ndarray
    cluster: np.ndarray | None
    metric: str

    @property
    def evidence(self):
        return self.of(np.arange(len(self.label)))

    def of(self, order):
        """The same rows in another order, under their own ids."""
        classes = ("a", "b", "c") if self.problem == "multiclass" else ()
        return Evidence.of(
            self.label[order],
            self.candidate[order],
            self.champion[order],
            problem=self.problem,
            weight=self.weight[order],
            cluster=None if self.cluster is None else self.cluster[order],
            ids=[f"r{index:05d}" for index in order],
            classes=classes,
        )

    @property
    def swapped(self):
        return replace(self, candidate=self.champion, champion=self.candidate)


@st.composite
def cases(draw, problem, n=240):
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    skills = [draw(st.floats(0.1, 3.0)) for _ in range(2)]
    clusters = draw(st.sampled_from([0, 12, 120]))
    weight = rng.choice([0.5, 1.0, 2.0], n) if draw(st.booleans()) else np.ones(n)
    cluster = np.arange(n) % clusters if clusters else None
    if problem == "regression":
        label = rng.normal(size=n) + 10
        scores = [label + rng.normal(size=n) / skill for skill in skills]
    elif problem == "binary":
        signal = rng.normal(size=n)
        label = (rng.random(n) < 1 / (1 + np.exp(-2 * signal))).astype(float)
        scores = [1 / (1 + np.exp(-signal - rng.normal(size=n) / skill)) for skill in skills]
    else:
        label = (np.arange(n) % 3).astype(float)
        odds = [np.exp(skill * np.eye(3)[label.astype(int)] + rng.normal(size=(n, 3))) for skill in skills]
        scores = [each / each.sum(axis=1, keepdims=True) for each in odds]
    return Case(problem, label, *scores, weight, cluster, draw(st.sampled_from(METRICS[problem])))


def policy(metric, **asked):
    cost = {"cost_matrix": COST} if metric == "expected_cost" else {}
    return Policy(metric=metric, resamples=200, beats_baseline=False, slices=None, **cost, **asked)


@pytest.mark.parametrize("problem", METRICS)
@lawful
@given(data=st.data())
def test_the_order_of_rows_changes_nothing(problem, data):
    case = data.draw(cases(problem))
    order = np.random.default_rng(data.draw(st.integers(0, 100))).permutation(len(case.label))
    one, other = (decide(each, policy(case.metric)) for each in (case.of(order), case.evidence))
    assert one.model_copy(update={"evidence_digest": ""}) == other.model_copy(update={"evidence_digest": ""})


@pytest.mark.parametrize("problem", METRICS)
@lawful
@given(data=st.data())
def test_a_pair_and_its_swap_are_never_both_promoted_and_mirror_each_other(problem, data):
    case = data.draw(cases(problem))
    one, other = (decide(each.evidence, policy(case.metric)) for each in (case, case.swapped))
    assert [one.verdict, other.verdict] != ["promote", "promote"]
    assume(one.gain.low is not None)
    assert (one.gain.low, one.gain.high) == (-other.gain.high, -other.gain.low)


@pytest.mark.parametrize("problem", METRICS)
@lawful
@given(data=st.data(), margin=st.floats(0, 0.1))
def test_an_identical_pair_is_never_promoted(problem, data, margin):
    case = data.draw(cases(problem))
    same = replace(case, champion=case.candidate.copy())
    assert decide(same.evidence, policy(case.metric, margin=margin)).verdict != "promote"


@pytest.mark.parametrize("problem", METRICS)
@lawful
@given(data=st.data(), margin=st.floats(0, 0.3))
def test_the_verdict_is_the_side_of_the_margin_on_which_the_whole_interval_lies(problem, data, margin):
    case = data.draw(cases(problem))
    decision = decide(case.evidence, policy(case.metric, margin=margin))
    assume(decision.gain.low is not None)
    expected = "promote" if decision.gain.low > margin else "reject" if decision.gain.high <= margin else "inconclusive"
    assert decision.verdict == expected


@pytest.mark.parametrize("problem", METRICS)
@lawful
@given(data=st.data(), margins=st.tuples(st.floats(0, 0.3), st.floats(0, 0.3)))
def test_a_larger_margin_is_never_easier(problem, data, margins):
    case = data.draw(cases(problem))
    evidence = case.evidence
    small, large = (decide(evidence, policy(case.metric, margin=margin)).verdict for margin in sorted(margins))
    assert RANK[large] <= RANK[small]


@pytest.mark.parametrize("problem", METRICS)
@lawful
@given(data=st.data(), losses=st.tuples(st.floats(0.001, 0.3), st.floats(0.001, 0.3)))
def test_a_larger_loss_allowed_is_never_harder(problem, data, losses):
    case = data.draw(cases(problem))
    evidence = case.evidence
    asked = [policy(case.metric, preset="fresh", non_inferiority_margin=loss) for loss in sorted(losses)]
    small, large = (decide(evidence, each).verdict for each in asked)
    assert RANK[large] >= RANK[small]


@pytest.mark.parametrize("problem", METRICS)
@lawful
@given(data=st.data(), confidences=st.tuples(st.floats(0.6, 0.999), st.floats(0.6, 0.999)))
def test_who_asks_for_more_confidence_is_never_promoted_sooner(problem, data, confidences):
    case = data.draw(cases(problem))
    evidence = case.evidence
    less, more = (decide(evidence, policy(case.metric, confidence=level)) for level in sorted(confidences))
    assert not (more.verdict == "promote" and less.verdict != "promote")
    assert not (more.verdict == "reject" and less.verdict != "reject")


@pytest.mark.parametrize("problem", METRICS)
@lawful
@given(data=st.data(), odd=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_nan_or_infinity_anywhere_never_promotes(problem, data, odd):
    case = data.draw(cases(problem))
    name = data.draw(st.sampled_from(["label", "candidate", "champion", "weight"]))
    broken = getattr(case, name).copy()
    broken[data.draw(st.integers(0, len(broken) - 1))] = odd
    assert decide(replace(case, **{name: broken}).evidence, policy(case.metric)).verdict == "inconclusive"


@pytest.mark.parametrize("problem", METRICS)
@lawful
@given(data=st.data())
def test_what_is_estimated_of_weighted_rows_is_what_is_estimated_of_repeated_rows(problem, data):
    case = data.draw(cases(problem))
    counts = np.random.default_rng(data.draw(st.integers(0, 100))).integers(1, 4, len(case.label))
    again = np.repeat(np.arange(len(counts)), counts)
    repeated = replace(
        case,
        label=case.label[again],
        candidate=case.candidate[again],
        champion=case.champion[again],
        weight=np.ones(len(again)),
        cluster=None,
    )
    weighted = decide(replace(case, weight=counts.astype(float), cluster=None).evidence, policy(case.metric))
    found = decide(repeated.evidence, policy(case.metric))
    assume(weighted.gain.value is not None)
    assert weighted.gain.value == pytest.approx(found.gain.value, abs=1e-9)
    assert weighted.candidate.value == pytest.approx(found.candidate.value, abs=1e-9)


@pytest.mark.parametrize("problem", METRICS)
@lawful
@given(data=st.data())
def test_clusters_of_one_row_are_rows(problem, data):
    case = replace(data.draw(cases(problem)), cluster=None)
    assume(prepare(case.metric, case.label, case.candidate, COST).influence(case.weight) is not None)
    alone, plain = (
        decide(each.evidence, policy(case.metric)).gain for each in (replace(case, cluster=np.arange(240)), case)
    )
    assume(plain.low is not None)
    # Summed in another order: the same but for the last bits.
    assert list(alone.model_dump().values()) == pytest.approx(list(plain.model_dump().values()), rel=1e-9, abs=1e-12)


def test_a_row_of_weight_zero_is_as_if_it_were_not_there():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 300).astype(float)
    scores = [np.clip(label * skill + rng.random(300) * (1 - skill), 0, 1) for skill in (0.5, 0.2)]
    case = Case("binary", label, *scores, np.where(np.arange(300) < 260, 1.0, 0.0), None, "")
    kept = Case("binary", label[:260], *(each[:260] for each in scores), np.ones(260), None, "")
    assert decide(case.evidence, Policy()).gain == decide(kept.evidence, Policy()).gain


def test_the_laws_are_tried_on_every_verdict():
    # A generator that only ever made clear cases, or none, would let most laws hold of nothing.
    seen = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        label = rng.normal(size=240)
        scores = [label + rng.normal(size=240) * (0.8 + 0.2 * (seed % 3)), label + rng.normal(size=240)]
        seen.add(decide(Evidence.of(label, *scores, problem="regression"), policy("rmse")).verdict)
    assert seen == set(RANK)

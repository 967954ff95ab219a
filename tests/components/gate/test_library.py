"""The gate as a library: evidence from arrays, and from folders of any size."""

import doctest
from datetime import datetime, timedelta
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pytest

from kfp_ratchet.components import gate
from kfp_ratchet.components.gate import Evidence, Policy, decide, judge
from kfp_ratchet.components.shared import evidence as contract
from kfp_ratchet.components.shared.errors import InputError


def test_the_example_in_the_documentation_is_what_happens():
    found = doctest.testmod(gate)
    assert (found.attempted > 5, found.failed) == (True, 0)


def test_arrays_and_the_folder_of_the_same_rows_are_decided_alike(pair, tmp_path):
    written = pair.binary()
    rows = written.rows
    arrays = Evidence.of(rows["label"], rows["candidate"], rows["champion"], ids=rows["id"])
    one, other = decide(arrays, Policy()), judge(pair.write(tmp_path / "evidence", written), Policy())
    assert (one.verdict, one.gain, one.evaluation.digest) == (other.verdict, other.gain, other.evaluation.digest)


def test_arrays_of_several_classes_with_names_weights_slices_and_an_anchor():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 900)
    sharp, dull = (np.eye(3)[label] * skill + rng.random((900, 3)) for skill in (2.0, 0.5))
    scores = [one / one.sum(axis=1, keepdims=True) for one in (sharp, dull)]
    evidence = Evidence.of(
        label, *scores, problem="multiclass", anchor=scores[1], classes=["a", "b", "c"], weight=rng.integers(1, 3, 900),
        slices={"port": rng.choice(["x", "y"], 900)}, cluster=np.arange(900) % 60,
    )  # fmt: skip
    decision = decide(evidence, Policy(preset="fresh", non_inferiority_margin=0.1))
    assert decision.verdict == "promote"
    assert {"slice port=x", "anchor gain", "clusters"} <= {check.name for check in decision.checks}


def test_scores_that_are_the_same_are_another_model_for_all_we_know(pair):
    rows = pair.binary().rows
    decision = decide(Evidence.of(rows["label"], rows["champion"], rows["champion"]), Policy())
    assert (decision.verdict, decision.unchanged) == ("reject", False)


@pytest.mark.parametrize(
    ("label", "candidate", "problem"),
    [
        ([0, 1], [0.5], "binary"),
        ([0, 1], [[0.5, 0.5], [0.1, 0.9]], "binary"),
        ([0, 1], [0.5, 0.5], "multiclass"),
        (0, 0.5, "binary"),
    ],
)
def test_arrays_of_the_wrong_shape_are_named(label, candidate, problem):
    with pytest.raises(InputError, match="candidate has shape"):
        Evidence.of(label, candidate, problem=problem)


def test_arrays_that_make_no_table_are_an_input_error():
    with pytest.raises(InputError, match="make no table"):
        Evidence.of([0, 1, 1], [0.1, 0.2, 0.3], slices={"port": ["a"] * 7})


def test_no_rows_and_nothing_but_nan_are_inconclusive():
    for label, scores in (([], []), ([np.nan] * 300, [np.nan] * 300)):
        assert decide(Evidence.of(label, scores, scores), Policy()).verdict == "inconclusive"


def test_evidence_differs_by_every_number_in_it():
    base = ([0.0, 1.0] * 200, [0.2, 0.7] * 200, [0.3, 0.6] * 200)
    digests = {Evidence.of(*base).digest, Evidence.of(*base, weight=[1.0, 2.0] * 200).digest}
    digests |= {
        Evidence.of(base[0], base[2], base[1]).digest,
        Evidence.of(*base, latency_ms={"candidate": [1.0]}).digest,
    }
    assert len(digests) == 4


def test_more_rows_than_are_judged_on_are_sampled_evenly_always_alike_and_said(pair, tmp_path, monkeypatch):
    written = pair.binary(n=5000)
    folder = pair.write(tmp_path / "evidence", pair.changed(written, written.rows.sort("id")))
    whole = judge(folder, Policy())
    monkeypatch.setattr(contract, "MOST_ROWS", 1700)
    read, decision = Evidence.read(folder), judge(folder, Policy())
    drawn = read.rows.height
    assert abs(drawn - 1700) < 5 * np.sqrt(1700)
    assert (decision.rows, decision.sampled_from, whole.sampled_from) == (drawn, 5000, 0)
    assert (decision, decision.verdict) == (judge(folder, Policy()), whole.verdict)
    assert (
        f"{drawn:,} rows, evenly drawn from 5,000 rows"
        in {check.name: check.reason for check in decision.checks}["rows"]
    )


def test_of_rows_that_take_turns_the_sample_held_one_kind_only(pair, tmp_path, monkeypatch):
    written = pair.binary(n=6000)
    rows = written.rows.with_columns(pl.int_range(pl.len()).alias("id"))
    folder = pair.write(tmp_path / "evidence", pair.changed(written, rows))
    for period in (2, 3, 4):  # every k-th row, whatever k is, would hold rows of one kind for one of these
        monkeypatch.setattr(contract, "MOST_ROWS", 6000 // period)
        kinds = (Evidence.read(folder).rows["id"] % period).value_counts()["count"].to_numpy()
        assert len(kinds) == period
        assert kinds.max() < 1.3 * kinds.min()


def test_a_sample_of_evidence_that_lost_rows_is_inconclusive(pair, tmp_path, monkeypatch):
    written = pair.binary(n=5000)
    folder = pair.write(tmp_path / "evidence", pair.changed(written, written.rows.head(4999)))
    monkeypatch.setattr(contract, "MOST_ROWS", 1000)
    assert "says 5,000 rows and holds 4,999" in judge(folder, Policy()).reason


@pytest.mark.slow
def test_a_million_rows_with_slices_are_decided_in_bounded_time():
    """Not a benchmark: it guards against work by row in Python, which takes minutes."""
    rng = np.random.default_rng(0)
    n = 1_000_000
    skill = rng.normal(size=n)
    label = skill + rng.normal(size=n) > 1
    scores = [1 / (1 + np.exp(-skill + noise * rng.normal(size=n))) for noise in (0.5, 0.6)]
    slices = {"carrier": pl.Series(rng.integers(0, 20, n)), "customer": pl.Series(rng.integers(0, 200_000, n))}
    decision = decide(Evidence.of(label, *scores, slices=slices), Policy())
    assert decision.verdict == "promote"
    assert sum(check.name.startswith("slice ") for check in decision.checks) == 20


@pytest.mark.parametrize(
    ("label", "candidate", "more", "told"),
    [
        (["no", "yes"], [0.1, 0.9], {}, "label does not hold numbers"),
        ([0, 1], ["a", "b"], {}, "candidate does not hold numbers"),
        ([0, 1], None, {}, "candidate is None"),
        ([0, 1], [0.1, 0.9], {"problem": "binray"}, "there is no problem 'binray'; pass one of binary, "),
        ([0, 1], [0.1, 0.9], {"latency_ms": {"canddate": [1.0]}}, "latency_ms.canddate"),
        ([0, 1], [0.1, 0.9], {"latency_ms": {"candidate": [-1.0]}}, "greater than or equal to 0"),
        ([0, 1], [0.1, 0.9], {"weight": [[1.0], [1.0]]}, r"weight has shape \(2, 1\)"),
        ([0, 1], [0.1, 0.9], {"weight": ["a", "b"]}, "weight does not hold numbers"),
        ([0, 1], [0.1, 0.9], {"slices": np.arange(2)}, "slices is a ndarray"),
        ([0, 1], [0.1, 0.9], {"slices": {"port": "x"}}, "make no table"),
        ([0, 1], [0.1, 0.9], {"cluster": "x"}, "make no table"),
        ([0, 1], [0.1, 0.9], {"baseline": "x"}, "baseline does not hold numbers"),
        ([0, 1], [0.1, 0.9], {"baseline": [0.1, 0.9]}, r"baseline has shape \(2,\)"),
        ([0, 1], [0.1, 0.9], {"classes": ["no", "yes", "maybe"]}, "classes names no, yes, maybe"),
        ([0, 1], [0.1, 0.9], {"classes": ["no", "no"]}, "classes names no, no"),
        ([0, 1], [0.1, 0.9], {"anchor": [0.1, 0.9]}, "an anchor and no champion"),
        ([0, 1], np.ma.array([0.1, 0.9], mask=[True, False]), {}, "candidate has masked values"),
        ([0, 1], [0.1j, 0.9], {}, "candidate does not hold numbers: they are complex"),
        (
            pd.Series([0, 1]),
            pd.Series([0.1, 0.9], index=[1, 0]),
            {},
            "candidate has another index than label",
        ),
        (
            [0, 1],
            [0.1, 0.9],
            {"latency_ms": {"candidate": [np.nan]}},
            "latency_ms.candidate.0: Input should be a finite",
        ),
    ],
)
def test_what_is_no_evidence_was_an_error_of_another_library(label, candidate, more, told):
    with pytest.raises(InputError, match=told):
        Evidence.of(label, candidate, **more)


def test_a_policy_of_keys_was_no_policy_and_none_was_one(pair, tmp_path):
    evidence = pair.binary()
    folder = pair.write(tmp_path / "evidence", evidence)
    assert decide(evidence, {"metric": "brier", "margin": 0.1}) == decide(evidence, Policy(metric="brier", margin=0.1))
    assert judge(folder, {"metric": "brier"}).metric == "brier"
    for given, told in (
        (None, "policy is None"),
        ({"metrc": "brier"}, "did you mean metric"),
        ({"margin": {1}}, "policy: "),
    ):
        with pytest.raises(InputError, match=told):
            decide(evidence, given)
    with pytest.raises(InputError, match="evidence is tuple"):
        decide(([0, 1], [0.1, 0.9]), Policy())


def test_hours_were_clusters_of_their_own_and_ids_had_to_be_text(pair):
    rows = pair.binary(n=720).rows
    hours = [datetime(2026, 1, 1) + timedelta(hours=i) for i in range(720)]
    ids = [UUID(int=i) for i in range(720)]
    decision = decide(Evidence.of(rows["label"], rows["candidate"], rows["champion"], cluster=hours, ids=ids), Policy())
    said = {check.name: check.reason for check in decision.checks}["clusters"]
    assert said == "30 clusters (days of cluster), at least 10 are asked for"
    by_name = Evidence.of(rows["label"], rows["candidate"], rows["champion"], cluster=np.arange(720) % 30)
    assert any("30 clusters (values of cluster)" in check.reason for check in decide(by_name, Policy()).checks)


@pytest.mark.parametrize("model", ["candidate", "champion"])
def test_probabilities_that_do_not_sum_to_1_were_judged(pair, model):
    evidence = pair.multiclass()
    rows = evidence.rows.with_columns(pl.col(f"{model}:a") * 0.5)
    decision = decide(pair.changed(evidence, rows), Policy())
    assert decision.verdict == "inconclusive"
    assert f"the {model}'s scores are no probabilities: in " in decision.reason


def test_weights_of_any_size_are_no_arithmetic_error(pair):
    rows = pair.binary().rows
    for size in (1e300, 1e-300, 5e-324):
        decide(Evidence.of(rows["label"], rows["candidate"], rows["champion"], weight=np.full(400, size)), Policy())


def test_an_own_metrics_module_that_breaks_on_import_was_a_traceback(pair, tmp_path, monkeypatch):
    (tmp_path / "breaks_on_import.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="the metric breaks_on_import:f cannot be imported: ZeroDivisionError"):
        decide(pair.binary(), Policy(metric="breaks_on_import:f"))

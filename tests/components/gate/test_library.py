"""The gate as a library: evidence from arrays, and from folders of any size."""

import doctest

import numpy as np
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
    assert read.rows["id"].to_list() == written.rows["id"].sort()[::3].to_list()
    assert (decision.rows, decision.sampled_from, whole.sampled_from) == (1667, 5000, 0)
    assert (decision, decision.verdict) == (judge(folder, Policy()), whole.verdict)
    assert "1,667 rows, evenly drawn from 5,000 rows" in {check.name: check.reason for check in decision.checks}["rows"]


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

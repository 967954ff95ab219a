"""Evidence that is damaged in ways nobody thought of: a decision comes out, it is no promotion, and nothing is raised."""

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_ratchet.components.gate import Policy, judge
from kfp_ratchet.components.shared.canonical import digest_file

POLICY = Policy.parse(
    '{"resamples": 200, "budget": {"latency_p95_ms": 100}, "floors": {"log_loss": 0.7}, "max_churn": 0.9}'
)
DTYPES = [
    pl.String,
    pl.Boolean,
    pl.Float32,
    pl.Int8,
    pl.Decimal(38, 3),
    pl.Categorical,
    pl.Null,
    pl.Binary,
    pl.List(pl.Float64),
]
FACTS = st.sampled_from([None, "", 0, -1, 1.5, True, [], {}, "x", [None], {"score": [1]}, {"score": 1e308}, 10**30])


def rewrite(folder, rows, facts):
    rows.write_parquet(folder / "rows.parquet")
    facts["rows_digest"] = digest_file(folder / "rows.parquet")
    (folder / "evidence.json").write_text(json.dumps(facts))


@pytest.fixture(scope="module")
def sound(pair, tmp_path_factory):
    evidence = pair.binary(n=600)
    more = {
        "cluster": pl.int_range(pl.len()) % 50,
        "slice:port": pl.int_range(pl.len()) % 2,
        "anchor": pl.col("champion"),
    }
    facts = {"clustered_by": "customer", "slices": ["port"], "anchor_digest": "sha256:older", "anchor_version": "1"}
    folder = pair.write(
        tmp_path_factory.mktemp("sound") / "evidence",
        pair.changed(evidence, evidence.rows.with_columns(**more), **facts),
    )
    (folder / "operations.json").write_text(json.dumps({"latency_ms": {"candidate": [1.0] * 100}}))
    return folder, pl.read_parquet(folder / "rows.parquet"), json.loads((folder / "evidence.json").read_text())


def test_the_evidence_that_is_damaged_below_is_promoted_while_it_is_sound(sound):
    folder, rows, facts = sound
    rewrite(folder, rows, facts)
    assert judge(folder, POLICY).verdict == "promote"


@settings(max_examples=60, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(DTYPES))
def test_a_column_of_another_type_never_raises(sound, data, dtype):
    folder, rows, facts = sound
    column = data.draw(st.sampled_from(rows.columns))
    try:
        broken = rows.with_columns(pl.col(column).cast(dtype, strict=False))
    except pl.exceptions.PolarsError:
        broken = rows.with_columns(pl.lit(None, dtype).alias(column))
    rewrite(folder, broken, dict(facts))
    assert judge(folder, POLICY).reason


@settings(max_examples=60, deadline=None)
@given(data=st.data(), value=FACTS)
def test_another_value_in_the_facts_never_raises(sound, data, value):
    folder, rows, facts = sound
    rewrite(folder, rows, {**facts, data.draw(st.sampled_from(sorted(facts))): value})
    assert judge(folder, POLICY).reason


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_lost_columns_and_facts_are_never_promoted_unless_nobody_asks_for_them(sound, data):
    folder, rows, facts = sound
    column = data.draw(st.sampled_from(rows.columns))
    rewrite(folder, rows.drop(column), dict(facts))
    decision = judge(folder, POLICY)
    assert decision.verdict == "inconclusive"
    assert f"column {column!r} is missing" in decision.reason


@settings(max_examples=30, deadline=None)
@given(
    at=st.integers(0, 10**9),
    bits=st.integers(1, 255),
    name=st.sampled_from(["rows.parquet", "evidence.json", "operations.json"]),
)
def test_a_flipped_byte_never_raises_and_never_promotes_other_rows(sound, at, bits, name):
    folder, rows, facts = sound
    rewrite(folder, rows, dict(facts))
    before, path = judge(folder, POLICY), folder / name
    whole = path.read_bytes()
    try:
        path.write_bytes(
            bytes([*whole[: at % len(whole)], whole[at % len(whole)] ^ bits, *whole[at % len(whole) + 1 :]])
        )
        decision = judge(folder, POLICY)
    finally:
        path.write_bytes(whole)
    assert decision.evidence_digest != before.evidence_digest
    assert name != "rows.parquet" or decision.verdict == "inconclusive"

from datetime import date, datetime, time

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.train.encoding import MISSING, UNSEEN, Encoder


def learn(rows, min_category_rows=1):
    return Encoder.learn(rows, rows.columns, min_category_rows)


def test_missing_unseen_and_rare_categories_are_told_apart():
    encoder = learn(pl.DataFrame({"c": ["a", "a", "b", "b", "rare", None]}), min_category_rows=2)
    codes, _ = encoder.encode(pl.DataFrame({"c": ["a", "b", "rare", "new", None]}))
    assert codes[:, 0].tolist() == [2, 3, UNSEEN, UNSEEN, MISSING]
    assert encoder.cardinalities == [4]


def test_numbers_are_standardised_and_missing_ones_marked():
    encoder = learn(pl.DataFrame({"x": [0.0, 2.0, None, float("nan"), float("inf")]}))
    _, numbers = encoder.encode(pl.DataFrame({"x": [1.0, 2.0, None, float("inf")]}))
    assert numbers.tolist() == [[0, 0], [1, 0], [0, 1], [0, 1]]


def test_a_column_that_was_constant_in_training_moves_no_score_later():
    encoder = learn(pl.DataFrame({"x": [7.0, 7.0], "nothing": pl.Series([None, None], dtype=pl.Int64)}))
    _, numbers = encoder.encode(pl.DataFrame({"x": [1e9, 7.0], "nothing": [5, None]}))
    assert numbers.tolist() == [[0, 0, 0], [0, 0, 1]]


def test_extreme_units_are_numbers_like_any_other():
    for unit in (1e-30, 1e90):
        encoder = learn(pl.DataFrame({"x": [0.0, 2 * unit]}))
        assert encoder.encode(pl.DataFrame({"x": [0.0, unit, 2 * unit]}))[1][:, 0].tolist() == [-1, 0, 1]


def test_a_wild_value_is_clipped():
    encoder = learn(pl.DataFrame({"x": [0.0, 1.0]}))
    assert encoder.encode(pl.DataFrame({"x": [1e30]}))[1].item() == 10


def test_types_that_drift_are_coerced():
    encoder = learn(pl.DataFrame({"x": [1.0, 3.0], "c": ["1", "2"], "d": [date(2024, 1, 1), date(2024, 1, 3)]}))
    drifted = pl.DataFrame({"x": [1, 3], "c": [1, 2], "d": ["2024-01-01", "2024-01-03"]})
    same = pl.DataFrame({"x": [1.0, 3.0], "c": ["1", "2"], "d": [datetime(2024, 1, 1), datetime(2024, 1, 3)]})
    for some, other in zip(encoder.encode(drifted), encoder.encode(same), strict=True):
        np.testing.assert_array_equal(some, other)


def test_dates_and_times_become_phases():
    encoder = learn(
        pl.DataFrame({"at": [datetime(2024, 1, 1, 6), datetime(2024, 7, 1, 18)], "clock": [time(6), time(18)]})
    )
    names = [scale.name for scale in encoder.scales]
    assert names[:3] == ["at", "at:day:sin", "at:day:cos"] and names[-2:] == ["clock:day:sin", "clock:day:cos"]
    assert encoder.encode(pl.DataFrame({"at": [None], "clock": [None]}))[1].tolist() == [[0.0] * 9]


def test_a_missing_feature_is_named():
    with pytest.raises(RatchetError, match=r"feature column 'x' is missing \(has: y\)"):
        learn(pl.DataFrame({"x": [1.0]})).encode(pl.DataFrame({"y": [1.0]}))


def test_text_in_a_number_column_is_named():
    with pytest.raises(RatchetError, match="feature column 'x' holds String, which cannot be read as a number"):
        learn(pl.DataFrame({"x": [1.0]})).encode(pl.DataFrame({"x": ["many"]}))


def test_a_nested_feature_is_refused_with_its_name():
    with pytest.raises(RatchetError, match="feature column 'tags' holds List"):
        learn(pl.DataFrame({"tags": [[1, 2]]}))


def test_no_features_is_an_error():
    with pytest.raises(RatchetError, match="no feature columns"):
        Encoder.learn(pl.DataFrame({"x": [1]}), [], 1)


def test_column_order_survives_canonical_json():
    encoder = learn(pl.DataFrame({"z": ["q"], "a": ["r"], "m": [1.0], "b": [2.0]}))
    again = Encoder.model_validate_json(encoder.model_dump_json())
    assert again == encoder and [category.name for category in again.categories] == ["z", "a"]


VALUES = st.fixed_dictionaries(
    {
        "c": st.one_of(st.none(), st.sampled_from("abc")),
        "x": st.one_of(st.none(), st.floats()),
        "b": st.one_of(st.none(), st.booleans()),
    }
)
SCHEMA = {"c": pl.String, "x": pl.Float64, "b": pl.Boolean}


@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=12), st.lists(VALUES, min_size=1, max_size=12))
@example([{"x": -1e294}, {"x": None}], [{"x": 1.7e308}])
def test_any_rows_are_encoded_in_range_and_one_by_one(training, later):
    encoder = learn(pl.DataFrame(training, schema=SCHEMA))
    rows = pl.DataFrame(later, schema=SCHEMA)
    codes, numbers = encoder.encode(rows)
    assert (codes >= 0).all() and (codes < np.array(encoder.cardinalities)).all()
    assert np.isfinite(numbers).all() and numbers.shape[1] == encoder.width
    alone = [encoder.encode(rows[i : i + 1]) for i in range(rows.height)]
    np.testing.assert_array_equal(codes, np.concatenate([one for one, _ in alone]))
    np.testing.assert_array_equal(numbers, np.concatenate([one for _, one in alone]))

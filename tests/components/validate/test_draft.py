"""A drafted schema accepts what it was drafted from."""

from datetime import date, datetime

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_ratchet.components.validate.draft import draft_schema
from kfp_ratchet.components.validate.judge import judge
from kfp_ratchet.components.validate.schema import parse_schemas

COLUMNS = {
    "integer": (pl.Int64, st.integers(-(2**62), 2**62)),
    "small": (pl.UInt8, st.integers(0, 255)),
    "float": (pl.Float64, st.floats()),
    "single": (pl.Float32, st.floats(width=32)),
    "yes: no": (pl.Boolean, st.booleans()),
    "text": (pl.String, st.sampled_from(["", "no", "1", "null", "é", "a: b", "2013-01-01", "~"])),
    "day": (pl.Date, st.dates(date(1900, 1, 1), date(2100, 1, 1))),
    "at": (pl.Datetime("us"), st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1))),
}


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_draft_accepts_the_rows_it_was_drafted_from(data):
    height = data.draw(st.integers(0, 30))
    rows = pl.DataFrame(
        {
            name: pl.Series(data.draw(st.lists(st.none() | values, min_size=height, max_size=height)), dtype=dtype)
            for name, (dtype, values) in COLUMNS.items()
        }
    )
    schema = parse_schemas(draft_schema(rows, "here"), ["rows"])["rows"]
    assert judge(rows.lazy(), schema, "rows").failures == ()


@pytest.mark.parametrize(
    "dtype", [pl.Datetime("ns", "UTC"), pl.Enum(["a"]), pl.List(pl.Int64), pl.Categorical(), pl.Time()]
)
def test_types_with_parameters_survive(dtype):
    rows = pl.DataFrame({"x": pl.Series([None], dtype=dtype)})
    assert judge(rows.lazy(), parse_schemas(draft_schema(rows, "here"), ["rows"])["rows"], "rows").failures == ()


def test_whole_numbers_that_never_repeat_get_no_range():
    rows = pl.DataFrame({"row id": range(100), "age": [n % 50 for n in range(100)], "x": [n / 7 for n in range(100)]})
    drafted = yaml.safe_load(draft_schema(rows, "here"))["columns"]
    assert [name for name, column in drafted.items() if "in_range" in column] == ["age", "x"]


def test_the_draft_says_that_it_is_one_and_what_it_saw():
    rows = pl.DataFrame({"n": [0, 100], "s": ["a", "b"]}).select(pl.all().repeat_by(20).explode())
    text = draft_schema(rows, "data/\nflights: {}")
    assert text.startswith("# A draft from 40 rows of data/ flights: {}, to be reviewed")
    assert yaml.safe_load(text)["columns"] == {
        "n": {"dtype": "Int64", "nullable": False, "in_range": {"min_value": 0, "max_value": 125}},
        "s": {"dtype": "String", "nullable": False, "isin": ["a", "b"]},
    }

"""The window, and the split by it."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.split import length, moments, split
from kfp_ratchet.components.shared.window import Window, exclusive_end

ROLES = Columns(id="id", time="at")


def days(*offsets):
    return pl.DataFrame(
        {"id": range(len(offsets)), "at": [datetime(2013, 1, 1) + timedelta(days=day) for day in offsets]}
    )


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("2013-06-30", datetime(2013, 7, 1)),
        ("2013-12-31", datetime(2014, 1, 1)),
        ("2013-12", datetime(2014, 1, 1)),
        ("2013-06-30T12:00:00", datetime(2013, 6, 30, 12, 0, 0, 1)),
        ("2013-06-30T12:00:00+02:00", datetime(2013, 6, 30, 10, 0, 0, 1)),
    ],
)
def test_a_date_counts_whole_and_a_time_counts_itself(text, end):
    assert exclusive_end(text) == end


@pytest.mark.parametrize(
    "setting",
    [
        {"end": "yesterday"},
        {"end": "20130630"},
        {"end": "2013-W26-7"},
        {"end": "2013-06T12:00"},
        {"evaluate": "all"},
        {"train": "0d"},
        {"evaluate": "3m"},
        {"share": 1.0},
        {"ende": ""},
    ],
)
def test_a_window_that_cannot_be_is_refused(setting):
    with pytest.raises(ValidationError):
        Window.model_validate(setting)


def test_lengths():
    assert [length(text) for text in ("36h", "14d", "2w")] == [
        timedelta(hours=36),
        timedelta(days=14),
        timedelta(days=14),
    ]
    with pytest.raises(ValueError, match="not a length"):
        length("14")


ISO = [
    "2013-01-02",
    "2013-01-02 00:00",
    "2013-01-02T00:00:00",
    "2013-01-02T00:00:00.000",
    "2013-01-02T00:00:00Z",
    "2013-01-01T19:00:00-05:00",
]


@given(st.permutations([*ISO, "02/01/2013", "x", "", None]))
@settings(max_examples=25, deadline=None)
def test_a_text_is_read_the_same_whatever_stands_before_it(texts):
    rows = pl.DataFrame({"at": texts}, schema={"at": pl.String})
    read = rows.select(moments(rows, "at")).to_series().to_list()
    assert read == [datetime(2013, 1, 2) if text in ISO else None for text in texts]


@pytest.mark.parametrize(
    "values",
    [
        [date(2013, 1, 2)],
        [datetime(2013, 1, 2, tzinfo=UTC)],
        pl.Series([datetime(2013, 1, 1, 19)]).dt.replace_time_zone("America/New_York"),
        pl.Series([datetime(2013, 1, 2)]).cast(pl.Datetime("ns")),
    ],
)
def test_every_kind_of_time_is_the_same_moment(values):
    rows = pl.DataFrame({"at": values})
    assert rows.select(moments(rows, "at")).item() == datetime(2013, 1, 2)


def test_a_number_is_no_time():
    with pytest.raises(InputError, match="holds Int64"):
        moments(pl.DataFrame({"at": [1]}), "at")


def test_the_last_stretch_judges_and_what_came_before_trains():
    sides = split(days(0, 5, 10, 11, 20), ROLES, Window(evaluate="10d", train="8d"))
    assert sides.train["id"].to_list() == [1, 2]
    assert sides.evaluate["id"].to_list() == [3, 4]


def test_rows_after_the_end_do_not_move_the_window():
    window = Window(evaluate="10d", end="2013-01-21")
    assert split(days(0, 5, 10, 11, 20), ROLES, window).evaluate.equals(
        split(days(0, 5, 10, 11, 20, 400), ROLES, window).evaluate
    )


@given(st.lists(st.integers(0, 60), min_size=2, max_size=40, unique=True), st.randoms())
@settings(max_examples=40, deadline=None)
def test_the_order_of_rows_does_not_matter(offsets, random):
    rows = days(*offsets)
    mixed = rows[random.sample(range(rows.height), rows.height)]
    for roles, window in ((ROLES, Window(evaluate="1h")), (Columns(id="id"), Window(share=0.5))):
        try:
            sides = split(rows, roles, window)
        except RatchetError:
            with pytest.raises(RatchetError):
                split(mixed, roles, window)
            continue
        again = split(mixed, roles, window)
        assert sides.train.equals(again.train)
        assert sides.evaluate.equals(again.evaluate)
        assert not set(sides.train["id"]) & set(sides.evaluate["id"])


def test_a_row_keeps_its_side_when_others_come():
    few, many = (split(pl.DataFrame({"id": range(n)}), Columns(id="id"), Window()) for n in (100, 1000))
    assert set(few.evaluate["id"]) == {key for key in many.evaluate["id"] if key < 100}
    assert 0.1 < many.evaluate.height / 1000 < 0.3


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (days(0), "training window has no rows"),
        (days(0).head(0), "no rows are left"),
        (
            days(0, 40).drop("id"),
            r"columns\.id 'id' is missing from the model rows \(has: at\); fix columns\.id in ratchet\.yaml",
        ),
    ],
)
def test_an_empty_side_or_a_missing_column_is_told(rows, told):
    with pytest.raises(InputError, match=told):
        split(rows, ROLES, Window())


@pytest.mark.parametrize("role", ["target", "id", "time", "weight", "slices"])
def test_a_role_without_a_column_names_the_nearest_one(role):
    roles = ROLES.model_copy(update={role: ("idd",) if role == "slices" else "idd"})
    with pytest.raises(InputError, match=rf"columns\.{role} 'idd' is missing .*; did you mean 'id'\?"):
        split(days(0, 40), roles, Window())


def test_a_window_before_the_data_is_bad_input():
    with pytest.raises(InputError, match="no rows are left in the window"):
        split(days(0, 40), ROLES, Window(end="2000-01-01"))

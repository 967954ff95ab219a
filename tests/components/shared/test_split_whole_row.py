"""A table with neither id nor time is split by a digest of its rows."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.split import split
from kfp_ratchet.components.shared.window import Window

ROWS = pl.DataFrame(
    {"x": [n / 7 for n in range(200)], "s": [f"a{n % 5}" for n in range(200)], "y": [n % 2 for n in range(200)]}
)


@given(st.randoms(use_true_random=False))
def test_order_of_rows_and_columns_changes_nothing(random):
    order = random.sample(range(ROWS.height), ROWS.height)
    names = random.sample(ROWS.columns, ROWS.width)
    one = split(ROWS, Columns(target="y"), Window())
    other = split(ROWS[order].select(names), Columns(target="y"), Window())
    assert other.train.select(ROWS.columns).equals(one.train)
    assert other.evaluate.select(ROWS.columns).equals(one.evaluate)


def test_identical_rows_never_judge_what_they_taught():
    sides = split(pl.concat([ROWS, ROWS]), Columns(target="y"), Window())
    assert sides.train.join(sides.evaluate, on=ROWS.columns).is_empty()
    assert sides.train.height + sides.evaluate.height == 2 * ROWS.height

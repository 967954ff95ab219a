"""A table in batches of rows, so that it need not fit into memory."""

from collections.abc import Iterator

import polars as pl

CELLS = 2**24
"""Values of a batch: 2.8 million rows of six columns, some 150 MB. A table of no more is kept in memory."""


def height(rows: pl.LazyFrame) -> int:
    """Number of rows."""
    return int(rows.select(pl.len()).collect(engine="streaming").item())


def at_hand(rows: pl.LazyFrame) -> pl.LazyFrame:
    """The same rows, in memory when they are one batch: they are looked at many times."""
    small = height(rows) * len(rows.collect_schema()) <= CELLS
    return rows.collect().lazy() if small else rows


def batches(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """All rows in order; one empty batch when there are none."""
    total, step = height(rows), _rows_of(rows)
    for start in range(0, max(total, 1), step):
        yield rows.slice(start, step).collect()


def where(rows: pl.LazyFrame, mask: pl.Series) -> pl.LazyFrame:
    """The rows that a mask of shape (rows,) picks, in order."""
    # One long mask in one filter would keep the streaming engine from taking rows bit by bit.
    step = _rows_of(rows)
    return pl.concat(
        [rows.slice(start, step).filter(mask.slice(start, step)) for start in range(0, max(mask.len(), 1), step)]
    )


def _rows_of(rows: pl.LazyFrame) -> int:
    return max(1, CELLS // max(1, len(rows.collect_schema())))

"""The feed of the replayed year: every month arrives as it was, except in three, and the month after the provider has repaired it.

    ratchet replay examples/flights

calls `arrive` with each month of `replay.yaml`. What is wrong in a month is done here and nowhere else: nothing that judges reads it.
"""

import shutil
from pathlib import Path

import polars as pl
from feed import deposit, put

SEED = 2013


def arrive(period: str, project: Path) -> None:
    """Put what had arrived by the end of a month below the project's `data`; the same month, the same bytes."""
    data = project / "data"
    # All files are delivered anew, so whatever was wrong last month is right.
    shutil.rmtree(data, ignore_errors=True)
    *earlier, _ = deposit(period, data)
    if period in INCIDENTS:
        INCIDENTS[period](data / "flights", period, earlier)


def lose_a_column(flights: Path, month: str, earlier: list[str]) -> None:
    """The month's file comes without the arrival delay, of which the label is made."""
    _rewrite(flights / f"{month}.parquet", pl.exclude("arr_delay"))


def deliver_seconds(flights: Path, month: str, earlier: list[str]) -> None:
    """The month's delays are seconds instead of minutes."""
    _rewrite(flights / f"{month}.parquet", pl.exclude("dep_delay", "arr_delay"), pl.col("dep_delay", "arr_delay") * 60)


def shuffle_the_past(flights: Path, month: str, earlier: list[str]) -> None:
    """A backfill delivers all earlier months again, each with its arrival delays in another order; the month itself is right."""
    for before in earlier:
        _rewrite(flights / f"{before}.parquet", pl.exclude("arr_delay"), pl.col("arr_delay").shuffle(SEED))


INCIDENTS = {"2013-05": lose_a_column, "2013-08": deliver_seconds, "2013-10": shuffle_the_past}


def _rewrite(path: Path, *columns: pl.Expr) -> None:
    table = pl.read_parquet(path)
    changed = table.select(*columns)
    put(changed.select(name for name in table.columns if name in changed.columns), path)

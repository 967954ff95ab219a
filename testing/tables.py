"""Small synthetic tables to try a workload on: numbers, categories, booleans and dates, with nulls in all of them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from kfp_ratchet.components.shared.columns import Columns, Problem

_TARGETS = {"binary": "late", "multiclass": "colour", "regression": "price"}


@dataclass(frozen=True)
class Example:
    """Rows to fit, rows to stop on, fresh rows to score, and the roles of their columns."""

    rows: pl.DataFrame
    validation: pl.DataFrame
    fresh: pl.DataFrame
    columns: Columns


def example(problem: Problem, seed: int = 0) -> Example:
    """A learnable table of 400 rows for a kind of problem: 280 to fit, 60 to stop on, 60 to score."""
    random = np.random.default_rng(seed)
    n = 400
    amount, size = random.normal(50, 20, n), random.integers(0, 10, n)
    place = random.choice(["north", "south", "east"], n)
    open_ = random.random(n) < 0.5
    signal = (amount - 50) / 20 + np.where(place == "north", 1.5, -0.5) + open_ - 0.5 + random.normal(0, 0.5, n)
    targets: dict[Problem, pl.Series] = {
        "binary": pl.Series(signal > 0),
        "multiclass": pl.Series(np.select([signal < -0.7, signal < 0.7], ["red", "green"], "blue")),
        "regression": pl.Series(1000 + 100 * signal),
    }
    start = datetime(2024, 1, 1)
    frame = pl.DataFrame(
        {
            "row": np.arange(n),
            "when": [start + timedelta(hours=i) for i in range(n)],
            "amount": amount,
            "size": size,
            "place": place,
            "open": open_,
            "since": [start - timedelta(days=int(days)) for days in random.integers(0, 900, n)],
            "nothing": pl.Series([None] * n, dtype=pl.Float64),
        }
    )
    holes = [
        pl.when(pl.Series(random.random(n) > 0.1)).then(pl.col(name)).alias(name)
        for name in ("amount", "size", "place", "open", "since")
    ]
    frame = frame.with_columns(*holes, targets[problem].alias(_TARGETS[problem]))
    columns = Columns(target=_TARGETS[problem], problem=problem, id="row", time="when")
    return Example(frame[:280], frame[280:340], frame[340:], columns)

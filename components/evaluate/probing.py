"""Is a model's answer a property of the row alone, and what should a server answer?"""

import math
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from kfp_ratchet.components.evaluate.contender import Array, Contender, same

SANITY_ROWS = 2000
_PROBE_ROWS = 20


def sanity(model: Contender, rows: pl.DataFrame, scores: Array) -> dict[str, bool]:
    """Named checks of a model's scores; the gate promotes only when all hold.

    Args:
        model: The model.
        rows: The rows it scored.
        scores: What it answered, from `model.scores(rows)`.
    """
    # At most half of the rows and shuffled: a model that looks at its whole batch or at positions answers otherwise here.
    picked = spread_out(rows.height, min(SANITY_ROWS, math.ceil(rows.height / 2)))
    picked = np.random.default_rng(0).permutation(picked)
    first, again = model.scores(rows[picked]), model.scores(rows[picked])
    checks = {
        "finite": bool(np.isfinite(scores).all()),
        "not_constant": bool(np.ptp(scores, axis=0).max() > 0),
        "repeatable": same(first, again),
        "order_stable": same(scores[picked], first),
    }
    if model.card.columns.problem != "regression":
        checks["probabilities"] = bool(((scores >= 0) & (scores <= 1)).all())
    if scores.ndim == 2:
        checks["sum_to_one"] = bool(np.allclose(scores.sum(axis=1), 1, atol=1e-3))
    return checks


def probe(model: Contender, rows: pl.DataFrame, scores: Array) -> dict[str, Any]:
    """A few raw rows as a serving request, and the answers that a server of this model must give.

    Returns:
        `rows` (pandas' orient `split`: columns, data) with JSON values only, and `scores` by row, classes in the card's order.
    """
    picked = spread_out(rows.height, _PROBE_ROWS)
    raw = model.raw(rows)[picked]
    return {
        "rows": {"columns": raw.columns, "data": [[as_json(cell) for cell in row] for row in raw.iter_rows()]},
        "scores": [
            [as_json(one) for one in row] if isinstance(row, list) else as_json(row) for row in scores[picked].tolist()
        ],
    }


def spread_out(count: int, most: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Up to `most` positions spread evenly over `count` rows."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def as_json(value: Any) -> Any:
    """A value as JSON can say it: dates and times as ISO text, lengths of time in seconds, NaN and infinities as null."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime | date | time_of_day):
        return value.isoformat()
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)

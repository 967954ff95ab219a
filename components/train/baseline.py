"""Statistics of each feature on training rows: what drift is later measured against."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from kfp_ratchet.components.train.labels import as_text

_QUANTILES = (0.0, 0.01, 0.05, *(i / 10 for i in range(1, 10)), 0.95, 0.99, 1.0)
_TOP = 50


def baseline(rows: pl.DataFrame, features: Sequence[str]) -> dict[str, dict[str, Any]]:
    """By feature: `rows`, `nulls`, and `mean`, `std`, `quantiles` of numbers, `min`, `max` of dates and times, or `distinct` and `top`.

    `quantiles` maps a level as text to a value; `top` maps the 50 commonest categories to their share of the rows that are not null.
    NaN and infinite values count as null.
    """
    return {name: {"rows": rows.height, **_describe(rows[name])} for name in features}


def _describe(values: pl.Series) -> dict[str, Any]:
    if values.dtype.is_numeric():
        numbers = values.cast(pl.Float64)
        numbers = numbers.set(~numbers.is_finite(), None)
        present = numbers.drop_nulls()
        described: dict[str, Any] = {"nulls": numbers.null_count()}
        if present.len():
            levels = {f"{level:g}": present.quantile(level, "linear") for level in _QUANTILES}
            described |= {"mean": present.mean(), "std": present.std(ddof=0), "quantiles": levels}
        return described
    if values.dtype.is_temporal():
        ends = {"min": values.min(), "max": values.max()}
        return {"nulls": values.null_count(), **{name: str(end) for name, end in ends.items() if end is not None}}
    text = as_text(values)
    counts = text.rename("value").drop_nulls().value_counts(name="rows").sort("rows", "value", descending=[True, False])
    total = max(1, text.len() - text.null_count())
    top = {value: round(count / total, 6) for value, count in counts.head(_TOP).iter_rows()}
    return {"nulls": text.null_count(), "distinct": counts.height, "top": top}

"""Draft a schema from data, for people to review."""

import math
from typing import Any

import polars as pl
import yaml

_MAX_CATEGORIES = 30
_MIN_REPEATS = 10

_NOTE = """\
# A draft from {rows} of {source}, to be reviewed: it says what this data looked like, not what is right.
# Tighten what you know (ranges, unique, isin), loosen what may change, and remove columns that nothing depends on.
# Format: pandera's YAML for polars.
"""


def draft_schema(rows: pl.DataFrame, source_name: str) -> str:
    """Pandera YAML that these rows keep: types, missing values, ranges with slack, the values of columns with few.

    Whole numbers that never repeat are names and get no range.

    Args:
        rows: A table, or a sample of it; shape (n, columns).
        source_name: Where it is from, for the comment on top.
    """
    document = {
        "schema_type": "polars_dataframe",
        "columns": {name: _column(rows[name]) for name in rows.columns},
        "strict": False,
    }
    # A line break would end the comment, and what follows would be read as YAML.
    seen = f"{rows.height:,} row{'' if rows.height == 1 else 's'}"
    note = _NOTE.format(rows=seen, source=" ".join(source_name.split()))
    return note + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def _column(values: pl.Series) -> dict[str, Any]:
    # The same reading of missing as pandera's: NaN counts.
    missing = values.null_count() > 0 or (values.dtype.is_float() and bool(values.is_nan().any()))
    column: dict[str, Any] = {"dtype": str(values.dtype), "nullable": missing or values.is_empty()}
    present = values.drop_nulls()
    if values.dtype.is_integer() or values.dtype.is_float():
        # No range holds NaN or infinity.
        finite = values.dtype.is_integer() or present.is_finite().all()
        # Whole numbers that never repeat are names: the next ones lie beyond.
        if len(present) and finite and not (values.dtype.is_integer() and present.n_unique() == len(present)):
            column |= _range(present)
    elif values.dtype == pl.String:
        distinct = present.unique().sort()
        if 0 < len(distinct) <= _MAX_CATEGORIES and len(present) >= _MIN_REPEATS * len(distinct):
            column["isin"] = distinct.to_list()
    return column


def _range(values: pl.Series) -> dict[str, Any]:
    """A quarter of the spread more on both sides; never across zero, which mostly means something."""
    low, high = values.min(), values.max()
    if isinstance(low, int) and isinstance(high, int):
        slack = (high - low) // 4 or abs(high) // 4 or 1
        least, most = _not_across_zero(low, high, slack)
        return {"in_range": {"min_value": max(int(least), -(2**63)), "max_value": max(min(int(most), 2**63 - 1), high)}}
    if not isinstance(low, float) or not isinstance(high, float) or not math.isfinite(high - low):
        return {}
    least, most = _not_across_zero(low, high, (high - low) / 4 or abs(high) / 4 or 1)
    for digits in (4, 9, 17):
        bounds = {"min_value": float(f"{least:.{digits}g}"), "max_value": float(f"{most:.{digits}g}")}
        if bounds["min_value"] <= low and high <= bounds["max_value"]:
            return {"in_range": bounds}
    return {}


def _not_across_zero(low: float, high: float, slack: float) -> tuple[float, float]:
    if low >= 0:
        return max(0, low - slack), high + slack
    return low - slack, min(0, high + slack) if high <= 0 else high + slack

"""Text into the types that the user's schema names."""

import polars as pl
from polars.datatypes import DataType, DataTypeClass

from kfp_ratchet.components.shared.split import iso_moments

Dtype = DataType | DataTypeClass

MISSING = ("NA", "N/A", "NaN", "nan", "NULL", "null", "None")
"""What spells a missing value, besides nothing, where a number, a time or a truth value is expected. In text it is text: NA is Namibia."""

_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_TEXTS = (pl.String, pl.Categorical, pl.Enum)


def from_text(column: str, dtype: Dtype) -> pl.Expr | None:
    """A text column as `dtype`, null where the text cannot be read as one; None when no text can be.

    Spaces around a value do not count. Times without a zone count as UTC.
    """
    if dtype in _TEXTS:
        return pl.col(column).cast(dtype, strict=False)
    text = pl.col(column).str.strip_chars()
    if dtype.is_numeric():
        value = text.cast(dtype, strict=False)
        return value.fill_nan(None) if dtype.is_float() else value
    if dtype == pl.Boolean:
        return text.str.to_lowercase().replace_strict(_TRUTH, default=None, return_dtype=pl.Boolean)
    if dtype == pl.Date:
        return text.str.to_date("%Y-%m-%d", strict=False)
    if dtype == pl.Time:
        return text.str.to_time("%H:%M:%S%.f", strict=False)
    if dtype == pl.Datetime:
        moment = iso_moments(text)
        if isinstance(dtype, pl.Datetime) and dtype.time_zone:
            moment = moment.dt.replace_time_zone("UTC").dt.convert_time_zone(dtype.time_zone)
        return moment.cast(dtype)
    return None


def unreadable(column: str, dtype: Dtype) -> pl.Expr:
    """Whether a text says something that `dtype` cannot; the column is still text, and `from_text` must know the type."""
    converted = from_text(column, dtype)
    if converted is None:
        raise ValueError(f"no text can be {dtype}")
    missing = pl.col(column).is_null()
    if dtype not in _TEXTS:
        missing |= pl.col(column).str.strip_chars().is_in(["", *MISSING])
    return ~missing & converted.is_null()

"""Text into the types that the user's schema names."""

from functools import partial

import polars as pl
from polars.datatypes import DataType, DataTypeClass

from kfp_ratchet.components.shared.split import ISO_FORMS, iso_moment, iso_moments

Dtype = DataType | DataTypeClass

MISSING = ("NA", "N/A", "NaN", "nan", "NULL", "null", "None")
"""What spells a missing value, besides nothing, where a number, a time or a truth value is expected. In text it is text: NA is Namibia."""

_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_TEXTS = (pl.String, pl.Categorical, pl.Enum)


class UnreadableError(ValueError):
    """A text cannot be what its column's type says."""


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
        return _in_zone(iso_moments(text), dtype)
    return None


def _in_zone(moment: pl.Expr, dtype: Dtype) -> pl.Expr:
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        moment = moment.dt.replace_time_zone("UTC").dt.convert_time_zone(dtype.time_zone)
    return moment.cast(dtype)


def unreadable(column: str, dtype: Dtype) -> pl.Expr:
    """Whether a text says something that `dtype` cannot; the column is still text, and `from_text` must know the type."""
    converted = from_text(column, dtype)
    if converted is None:
        raise ValueError(f"no text can be {dtype}")
    missing = pl.col(column).is_null()
    if dtype not in _TEXTS:
        text = pl.col(column).str.strip_chars()
        missing |= text.is_in(["", *MISSING])
        if dtype.is_float():
            # NaN in any spelling, as where polars' reader makes the numbers.
            missing |= text.cast(pl.Float64, strict=False).is_nan().fill_null(False)
    return ~missing & converted.is_null()


def converted(column: str, dtype: Dtype) -> pl.Expr:
    """A text column as `dtype`, which `from_text` must know.

    Collecting it raises UnreadableError where a text says something that `dtype` cannot.
    """
    return pl.col(column).map_batches(partial(_convert, dtype=dtype), return_dtype=dtype, is_elementwise=True)


def _convert(text: pl.Series, dtype: Dtype) -> pl.Series:
    values = _plainly(text, dtype)
    if values is not None and values.null_count() == text.null_count():
        return values.fill_nan(None) if dtype.is_float() else values
    rows = text.to_frame("text")
    if rows.select(unreadable("text", dtype).any()).item():
        raise UnreadableError(f"not all of {text.name!r} is {dtype}")
    return rows.select(from_text("text", dtype)).to_series()


def _plainly(text: pl.Series, dtype: Dtype) -> pl.Series | None:
    """What `from_text` makes of texts that look like the first, in a fraction of the time; null where they do not."""
    if dtype.is_numeric():
        return text.cast(dtype, strict=False)
    if dtype == pl.Datetime:
        column, rows, first = pl.col("text"), text.to_frame("text"), text.drop_nulls().head(1).to_frame("text")
        readers = [partial(iso_moment, form=form) for form in ISO_FORMS]
        readers += [partial(iso_moments, forms=[form]) for form in ISO_FORMS]
        for read in readers if not first.is_empty() else ():
            if first.select(read(column)).to_series().null_count() == 0:
                return rows.select(_in_zone(read(column), dtype)).to_series()
    return None

"""Types of columns that no schema names: the narrowest that fits all values of all files."""

from collections.abc import Sequence

import polars as pl

from kfp_ratchet.components.ingest.conversion import MISSING, Dtype

_TYPES = (pl.Boolean, pl.Int64, pl.Float64)


def narrowest(texts: Sequence[pl.LazyFrame], names: Sequence[str]) -> dict[str, Dtype]:
    """The types of columns that all are text: truth values, integers, numbers or, also for one without a value, text. Reads all once.

    What spells a missing value does not make a column of numbers one of text. Integers beyond 64 bits are names, and stay text.
    """
    table = pl.concat(texts, how="diagonal").select(pl.col(name) for name in names)
    fitting: dict[str, tuple[Dtype, ...]] = dict.fromkeys(names, ())
    valued: set[str] = set()
    for batch in table.collect_batches(maintain_order=False, engine="streaming"):
        for name, types in fitting.items():
            if name in valued and not types:
                continue
            text = batch[name].drop_nulls()
            if name not in valued or not _are(text, types[0]):
                text = text.str.strip_chars()
                text = text.filter(~text.is_in(["", *MISSING]))
                if not text.is_empty():
                    fitting[name] = tuple(dtype for dtype in (types if name in valued else _TYPES) if _are(text, dtype))
                    valued.add(name)
    return {name: types[0] if types else pl.String for name, types in fitting.items()}


def common(types: Sequence[Dtype]) -> Dtype:
    """The type that fits what was found in each file. Integers beyond 64 bits are names, and stay text."""
    fitting = {pl.String() if dtype == pl.Int128 else dtype for dtype in types} - {pl.Null()}
    if len(fitting) == 1:
        return fitting.pop()
    return pl.Float64 if fitting and all(dtype.is_numeric() for dtype in fitting) else pl.String


def _are(values: pl.Series, dtype: Dtype) -> bool:
    if dtype == pl.Boolean:
        return bool(values.str.to_lowercase().is_in(["true", "false"]).all())
    if values.cast(dtype, strict=False).null_count() or values.str.starts_with("+").any():
        # A plus begins a telephone number.
        return False
    if dtype == pl.Float64 and values.str.contains(r"[.eE]").any():
        return True
    long = values.filter(values.str.len_bytes() > 18)
    return not long.filter(long.str.contains(r"^-?\d+$")).cast(pl.Int64, strict=False).null_count()

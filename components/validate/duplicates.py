"""Rows that share their keys with another one, in 16 bytes a row, whatever the keys are."""

import numpy as np
import polars as pl

from kfp_ratchet.components.validate.batches import where

_SUSPECTS = 2**24
"""Rows whose keys are compared at a time."""


def duplicated(rows: pl.LazyFrame, keys: list[str]) -> pl.Series:
    """Whether another row has the same keys, nulls included, as `DataFrame.is_duplicated` says it; shape (rows,).

    Keys are hashed to 64 bits and the hashes sorted, a twentieth of the time and a quarter of the memory of grouping by keys. Only
    rows whose hash occurs twice have their keys compared, so that two keys of one hash are still two keys.
    """
    hashes = rows.select(pl.struct(keys).hash()).collect(engine="streaming").to_series()
    ordered = np.sort(hashes.to_numpy())
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    if not repeated.size:
        return pl.repeat(False, hashes.len(), dtype=pl.Boolean, eager=True)
    suspects = hashes.is_in(pl.Series(repeated).implode())
    parts = -(-int(suspects.sum()) // _SUSPECTS)
    found = np.zeros(hashes.len(), dtype=bool)
    for part in range(parts):
        chosen = suspects & (hashes % parts == part) if parts > 1 else suspects
        same = where(rows.select(keys), chosen).collect(engine="streaming").is_duplicated()
        found[chosen.to_numpy()] = same.to_numpy()
    return pl.Series(found)

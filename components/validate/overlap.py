"""Whether training and evaluation rows are really apart."""

import polars as pl

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.manifest import counted
from kfp_ratchet.components.shared.split import (
    Sides,
    held_by_hash,
    require_hash_sides,
    require_kinds,
    require_roles,
    sides_by_time,
)
from kfp_ratchet.components.shared.window import Window
from kfp_ratchet.components.validate.batches import height
from kfp_ratchet.components.validate.checks import CheckResult
from kfp_ratchet.components.validate.duplicates import duplicated

_FIRST_HASHED = 1_000
"""Rows hashed at first: mostly enough to see both sides."""
_MOST_HASHED = 1_000_000
"""Rows hashed at a time."""


def check_overlap(rows: pl.LazyFrame, columns: Columns, window: Window, unique: bool) -> CheckResult:
    """Whether no id is in both training and evaluation rows.

    A split by time puts no training row after an evaluation row, and a split by hash puts all rows of an id on one side.

    Args:
        rows: Rows of the main table.
        columns: Roles; those of `id` and `time` are columns of `rows`.
        window: The rule.
        unique: Whether it is known that no id is repeated.
    """
    # These may be made by `prepare`; the split does not depend on them.
    roles = columns.model_copy(update={"target": "", "weight": "", "slices": (), "ignore": ()})
    try:
        none = rows.head(0).collect()
        require_roles(none.columns, roles)
        require_kinds(none, roles)
        if not roles.time:
            _require_hash_sides(rows, roles, window)
        else:
            sides = sides_by_time(rows, roles, window)
            there = rows.select(train=sides.train.any(), evaluate=sides.evaluate.any()).collect(engine="streaming")
            sides.require(**there.row(0, named=True))
    except RatchetError as error:
        return CheckResult("overlap", "unknown", f"rows cannot be split yet: {error.message}")
    if not roles.id:
        return CheckResult("overlap", "pass", "no training row is later than an evaluation row")
    if roles.time and not unique and duplicated(rows, [roles.id]).any():
        shared = _shared(rows, roles.id, sides)
        if shared.len():
            repeated = f"{counted(shared.len(), 'value')} of {roles.id!r}, e.g. {shared[0]!r}"
            return CheckResult("overlap", "fail", f"id overlap: training and evaluation rows share {repeated}")
    return CheckResult("overlap", "pass", "training and evaluation rows share no id")


def _require_hash_sides(rows: pl.LazyFrame, columns: Columns, window: Window) -> None:
    seen: set[bool] = set()
    start, step, total = 0, _FIRST_HASHED, height(rows)
    while start < total and len(seen) < 2:
        seen.update(held_by_hash(rows.slice(start, step).collect(), columns, window))
        start, step = start + step, min(2 * step, _MOST_HASHED)
    require_hash_sides(False in seen, True in seen, columns, window)


def _shared(rows: pl.LazyFrame, key: str, sides: Sides) -> pl.Series:
    """Values of the key that are on both sides, in order."""
    train, evaluate = (rows.filter(side).select(key).unique() for side in (sides.train, sides.evaluate))
    return train.join(evaluate, on=key).sort(key).collect(engine="streaming").to_series()

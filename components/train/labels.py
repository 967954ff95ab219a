"""From the target column to class indices and back to class names."""

from typing import Any

import numpy as np
import polars as pl

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.manifest import counted
from kfp_ratchet.components.shared.names import listed, shortened

_HUGE_WEIGHT = 1e100
"""Sums and products of smaller weights do not overflow."""

Array = np.ndarray[Any, np.dtype[np.float64]]


def as_text(values: pl.Series) -> pl.Series:
    """Values as text; whole floats read as the integers they are, so that 1 and 1.0 are one class."""
    # Larger floats are all whole, and not all are integers of 64 bits.
    if values.dtype.is_float() and ((values.drop_nulls() % 1 == 0) & (values.drop_nulls().abs() < 2**53)).all():
        values = values.cast(pl.Int64)
    return values.cast(pl.String)


def unlabelled(target: pl.Series) -> pl.Series:
    """Whether a row has no label: the target is null, NaN or infinite."""
    return target.is_null() | ~target.is_finite() if target.dtype.is_float() else target.is_null()


def class_names(target: pl.Series, columns: Columns, rows: int | None = None) -> list[str]:
    """Names of the classes in score order, the positive one last when binary; empty for regression.

    Args:
        target: Values of the target, each at least once.
        columns: Roles.
        rows: Rows that have them, for the message; all values when not given.

    Raises:
        InputError: The target has one value only, or more than two although the problem is binary; or `columns.positive` is none of
            them.
    """
    if columns.problem == "regression":
        return []
    names = as_text(target.filter(~unlabelled(target)).unique().sort()).to_list()
    if len(names) < 2:
        told = counted(target.len() if rows is None else rows, "row")
        holds = f"only {shortened(names[0])!r}" if names else "no value"
        raise InputError(
            f"target column {columns.target!r} holds {holds} in {told}; a classifier needs two classes",
            "check columns.target and the source, or widen the window",
        )
    if columns.problem == "multiclass":
        return names
    if len(names) > 2:
        shown = ", ".join(shortened(name, 60) for name in names[:5]) + (", ..." if len(names) > 5 else "")
        raise InputError(
            f"target column {columns.target!r} holds {len(names)} values ({shown}), but columns.problem is binary",
            "set columns.problem to multiclass or regression, or fix the target",
        )
    if columns.positive is None:
        return names
    positive = as_text(pl.Series([columns.positive])).item()
    if positive not in names:
        raise InputError(
            f"columns.positive is {positive!r}, but target column {columns.target!r} holds {names[0]!r} and {names[1]!r}",
            "name one of them",
        )
    return [name for name in names if name != positive] + [positive]


def encode_target(target: pl.Series, classes: list[str]) -> Array:
    """The target as numbers, shape (n,): class index, or the value itself for regression; NaN where it is neither."""
    if not classes:
        return target.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    index = as_text(target).cast(pl.Enum(classes), strict=False).to_physical()
    return index.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def row_weights(rows: pl.DataFrame, columns: Columns) -> Array:
    """Weight of each row, shape (n,), all 1 when there is no weight column.

    Raises:
        InputError: There is no such column, or a weight in it is missing, negative, infinite or huge, or all are 0.
    """
    if not columns.weight:
        return np.ones(rows.height)
    if columns.weight not in rows.columns:
        raise InputError(
            f"columns.weight {columns.weight!r} is missing (has: {listed(rows.columns)})",
            "fix columns.weight in ratchet.yaml",
        )
    weights = rows[columns.weight].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    bad = int((~(np.isfinite(weights) & (weights >= 0))).sum())
    most = weights.max(initial=0)
    if bad or not 0 < most < _HUGE_WEIGHT:
        told = counted(bad, "missing, negative or infinite value") if bad else f"a largest value of {most:g}"
        raise InputError(
            f"weight column {columns.weight!r} has {told} in {counted(rows.height, 'row')}",
            f"weights must be finite, 0 or more, not all 0, and below {_HUGE_WEIGHT:g}",
        )
    return weights

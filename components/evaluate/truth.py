"""Labels, ids, slices and the trivial model: what the rows say without any model."""

from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from kfp_ratchet.components.evaluate.contender import Array
from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.evidence import CLUSTER, SLICE_PREFIX, by_day
from kfp_ratchet.components.shared.manifest import counted
from kfp_ratchet.components.shared.split import Split, moments
from kfp_ratchet.components.train.labels import as_text, encode_target, row_weights, unlabelled


def judged_classes(known: list[list[str]], parts: Split, columns: Columns) -> list[str]:
    """Class names in label order: the candidate's, then others that the champion or the rows know (multiclass only)."""
    own, *others = known
    if columns.problem != "multiclass":
        return own
    seen = [sorted(set(as_text(part[columns.target].drop_nulls()))) for part in (parts.train, parts.evaluate)]
    return list(dict.fromkeys(name for names in (own, *others, *seen) for name in names))


def labels(rows: pl.DataFrame, columns: Columns, classes: list[str]) -> Array:
    """Labels of the evaluation rows as evidence wants them, shape (n,).

    Raises:
        RatchetError: A label is missing, or is none of the classes.
    """
    target = rows[columns.target]
    empty = int(unlabelled(target).sum())
    if empty:
        raise RatchetError(
            f"column {columns.target!r} is empty (null, NaN or infinite) in {empty:,} of {counted(rows.height, 'evaluation row')}",
            "leave rows whose outcome is not known yet out in prepare, or set window.end",
        )
    encoded = encode_target(target, classes)
    odd = np.flatnonzero(~np.isfinite(encoded))
    if len(odd):
        raise RatchetError(
            f"column {columns.target!r} holds {target[int(odd[0])]!r} in {counted(len(odd), 'evaluation row')}, which the candidate "
            f"does not know (knows: {', '.join(classes) or 'finite numbers'})",
            "fix the target, or set columns.problem to multiclass",
        )
    return encoded


def ids(rows: pl.DataFrame, columns: Columns) -> pl.Series:
    """Row ids; without an id column the number of the row in the order of the split.

    Raises:
        RatchetError: An id is missing or repeats.
    """
    if not columns.id:
        return pl.Series("id", np.arange(rows.height))
    found = rows[columns.id]
    if found.null_count():
        raise RatchetError(
            f"id column {columns.id!r} is empty in {counted(found.null_count(), 'evaluation row')}",
            "fix it in the source",
        )
    repeated = found.filter(found.is_duplicated())
    if not repeated.is_empty():
        raise RatchetError(
            f"id column {columns.id!r} repeats in {counted(len(repeated), 'evaluation row')}, e.g. {repeated.sort()[0]!r}",
            "pick a column that identifies a row, or drop the repeats in prepare",
        )
    return found


def slices(rows: pl.DataFrame, columns: Columns) -> dict[str, pl.Series]:
    """Slice columns as text, by their name in the evidence."""
    return {f"{SLICE_PREFIX}{name}": as_text(rows[name]) for name in columns.slices}


def clusters(rows: pl.DataFrame, columns: Columns) -> dict[str, pl.Series]:
    """The cluster of each row as text, by its name in the evidence; dates and times count by their day. Empty without such a column."""
    if not columns.cluster:
        return {}
    values = rows[columns.cluster]
    if columns.cluster == columns.time and values.dtype == pl.String:
        values = rows.select(moments(rows, columns.cluster)).to_series()
    return {CLUSTER: as_text(by_day(values))}


def span(rows: pl.DataFrame, columns: Columns) -> tuple[str, str]:
    """Time of the first and the last row, ISO 8601 in UTC; "" without a time column."""
    if not columns.time:
        return "", ""
    when = rows.select(moments(rows, columns.time)).to_series()
    first, last = (
        f"{moment.isoformat()}Z" if isinstance(moment, datetime) else "" for moment in (when.min(), when.max())
    )
    return first, last


def baseline(train: pl.DataFrame, columns: Columns, classes: list[str]) -> dict[str, Any]:
    """The trivial model: prevalence, class shares or mean of the training rows, by weight."""
    label, weight = encode_target(train[columns.target], classes), row_weights(train, columns)
    known = np.isfinite(label) & (weight > 0)
    if not known.any():
        raise RatchetError(
            f"column {columns.target!r} is empty in all of {counted(train.height, 'training row')}",
            "check the target and the window",
        )
    if columns.problem != "multiclass":
        return {"score": float(np.average(label[known], weights=weight[known]))}
    totals = np.bincount(label[known].astype(np.int64), weights=weight[known], minlength=len(classes))
    return {"scores": (totals / totals.sum()).tolist()}

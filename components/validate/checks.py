"""Checks across rows: what no look at a single row can see."""

import math
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import polars as pl

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.manifest import counted
from kfp_ratchet.components.shared.names import shortened
from kfp_ratchet.components.shared.split import is_plain, length, moments
from kfp_ratchet.components.shared.window import Window, exclusive_end
from kfp_ratchet.components.train.labels import class_names
from kfp_ratchet.components.validate.batches import height
from kfp_ratchet.components.validate.leakage import Association, associations


@dataclass(frozen=True)
class CheckResult:
    """One check across rows, and its answer; `unknown` when it could not be asked."""

    name: str
    outcome: Literal["pass", "fail", "unknown"]
    reason: str

    def plain(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def check_age(rows: pl.LazyFrame, columns: Columns, window: Window, max_age: str) -> CheckResult:
    """Whether the newest row is recent enough at the window's end. Fails when either is not known."""
    if columns.time not in rows.collect_schema():
        return CheckResult("age", "fail", "max_age needs columns.time to be a column of the main table")
    if not window.end:
        return CheckResult("age", "fail", "max_age needs the end of the window: set as_of")
    end = exclusive_end(window.end)
    when = moments(rows, columns.time)
    newest = rows.select(when.filter(when < end).max()).collect(engine="streaming").item()
    if not isinstance(newest, datetime):
        return CheckResult("age", "fail", f"no row has a time before {end}")
    recent = end - newest <= length(max_age)
    return CheckResult(
        "age",
        "pass" if recent else "fail",
        f"the newest row is of {newest}, {end - newest} before the end; {max_age} is allowed",
    )


def check_labels(rows: pl.DataFrame | pl.LazyFrame, columns: Columns) -> CheckResult:
    """Whether the labels are those of the problem: two classes or more, exactly two when it is binary.

    Args:
        rows: Rows that all have a label.
        columns: Roles; the target is a column of `rows`.

    Raises:
        InputError: `columns.positive` is none of the classes.
    """
    rows, target, what = rows.lazy(), pl.col(columns.target), f"target column {columns.target!r} holds"
    dtype = rows.collect_schema()[columns.target]
    if not is_plain(dtype):
        return CheckResult("labels", "fail", f"{what} {dtype}, which has no text; convert it in prepare")
    if columns.problem == "regression":
        strange = rows.filter(target.cast(pl.Float64, strict=False).is_null()).select(target).head(1).collect()
        if strange.height:
            remedy = "set columns.problem to binary or multiclass, or fix the target"
            told = shortened(repr(strange.item()))
            return CheckResult("labels", "fail", f"{what} {told}, which is not a number; {remedy}")
        return CheckResult("labels", "pass", f"{what} numbers")
    labels, total = rows.select(target.unique()).collect(engine="streaming").to_series(), height(rows)
    try:
        class_names(labels, columns.model_copy(update={"positive": None}), total)
    except InputError as error:
        return CheckResult("labels", "fail", str(error))
    names = class_names(labels, columns, total)
    return CheckResult("labels", "pass", f"{what} {counted(len(names), 'value')}")


def check_rows_ratio(rows: int, baseline_rows: int, ratio: tuple[float, float]) -> CheckResult:
    """Whether the number of rows is in proportion to the last accepted revision's."""
    if not baseline_rows:
        return CheckResult("rows ratio", "unknown", "there is no accepted revision to compare with")
    least, most = math.ceil(ratio[0] * baseline_rows), math.floor(ratio[1] * baseline_rows)
    return CheckResult(
        "rows ratio",
        "pass" if least <= rows <= most else "fail",
        f"{counted(rows, 'row')} after {baseline_rows:,} in the last accepted revision; {least:,} to {most:,} are allowed",
    )


def judge_leakage(
    rows: pl.DataFrame | pl.LazyFrame, roles: Columns, bound: float | None
) -> tuple[list[CheckResult], list[dict[str, Any]]]:
    """Whether a feature alone tells the target, and how closely each of the ten closest does; nothing without a bound."""
    if bound is None:
        return [], []
    found = associations(rows, roles)
    told = [{"feature": one.feature, "measure": one.measure, "value": round(one.value, 6)} for one in found[:10]]
    return [check_leakage(found, roles.target, bound)], told


def check_leakage(found: list[Association], target: str, bound: float) -> CheckResult:
    """Whether no feature alone tells the target. `found` is strongest first."""
    leaks = [association for association in found if association.value > bound]
    if leaks:
        told = "; ".join(association.sentence() for association in leaks[:3])
        remedy = "drop it or put it in columns.ignore if it is known only afterwards"
        return CheckResult("leakage", "fail", f"{told} for {target!r} (at most {bound:g}); {remedy}")
    if not found:
        return CheckResult("leakage", "unknown", "the target or a numeric feature is not in the main table")
    return CheckResult("leakage", "pass", f"{found[0].sentence()}, the most of all; {bound:g} is allowed")

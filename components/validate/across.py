"""The checks across the rows of the main table that may pass."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.manifest import counted
from kfp_ratchet.components.shared.split import moments
from kfp_ratchet.components.shared.window import Window
from kfp_ratchet.components.validate.checks import (
    CheckResult,
    check_age,
    check_labels,
    check_rows_ratio,
    judge_leakage,
)
from kfp_ratchet.components.validate.overlap import check_overlap
from kfp_ratchet.components.validate.settings import Checks


def across_rows(
    rows: pl.LazyFrame,
    total: int,
    keys: Sequence[str],
    roles: Columns,
    window: Window,
    policy: Checks,
    baseline_rows: int,
) -> tuple[list[CheckResult], dict[str, Any]]:
    """Check what no look at a single row can see.

    Args:
        rows: Rows that may pass.
        total: Their number.
        keys: Columns that no two of them share.
        roles: Roles of columns; what `prepare` is still to make is not asked about.
        window: The rule that will split the rows.
        policy: Which checks, and their bounds.
        baseline_rows: Rows of the last accepted other revision, 0 when there is none.

    Returns:
        The checks, and what else the journal keeps.
    """
    results = []
    present = rows.collect_schema().names()
    if roles.time in present:
        timeless = int(rows.select(moments(rows, roles.time).is_null().sum()).collect(engine="streaming").item())
        if timeless:
            reason = f"without {roles.time!r}, {counted(timeless, 'row')} can neither train nor judge"
            results.append(CheckResult("time", "unknown" if timeless < total else "fail", reason))
    if policy.max_age:
        results.append(check_age(rows, roles, window, policy.max_age))
    if policy.rows_ratio:
        results.append(check_rows_ratio(total, baseline_rows, policy.rows_ratio))
    told: dict[str, Any] = {}
    # What `prepare` makes is judged there.
    if roles.target in present:
        labels = check_labels(rows, roles)
        leaks, associated = judge_leakage(rows, roles, policy.leakage) if labels.outcome == "pass" else ([], [])
        results += [labels, *leaks]
        told["associations"] = associated
    if all(role in present for role in (roles.id, roles.time) if role):
        results.append(check_overlap(rows, roles, window, unique=list(keys) == [roles.id]))
    return results, told

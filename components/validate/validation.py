"""Let only rows pass that keep the user's schema, and only tables that keep the checks across rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandera.polars as pa
import polars as pl

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.dataset import Dataset, Table, scan_table, write_table
from kfp_ratchet.components.shared.errors import BlockedError
from kfp_ratchet.components.shared.journal import Step, journal
from kfp_ratchet.components.shared.manifest import counted
from kfp_ratchet.components.shared.parameters import parse_parameter
from kfp_ratchet.components.shared.split import moments
from kfp_ratchet.components.shared.window import Window
from kfp_ratchet.components.train.labels import unlabelled
from kfp_ratchet.components.validate.checks import (
    CheckResult,
    check_age,
    check_labels,
    check_overlap,
    check_rows_ratio,
    judge_leakage,
)
from kfp_ratchet.components.validate.failures import LABELLED, Failure, Mark, judge
from kfp_ratchet.components.validate.report import render
from kfp_ratchet.components.validate.schema import parse_schemas
from kfp_ratchet.components.validate.settings import Checks

_TOLD = 3
_LOCAL_TIME = timedelta(days=1)
"""Times without a zone may be local ones, up to 14 hours ahead of UTC."""


@dataclass(frozen=True)
class TableResult:
    """What became of one table."""

    rows: int
    """Rows before."""
    accepted: pl.DataFrame | None
    """Rows that may pass; None when the table is copied as it is (it has no schema)."""
    failures: tuple[Failure, ...]
    blocked: str
    """Why no row of it may pass, "" when they may."""


def validate_dataset(
    dataset_path: str,
    dataset_uri: str,
    schema: str,
    checks: str,
    columns: str,
    window: str,
    baseline_rows: int,
    store: str,
    accepted_path: str,
    accepted_uri: str,
    report_path: str,
) -> None:
    """Validate all tables of a Dataset; write the accepted rows, and the report in any case.

    Raises:
        InputError: A parameter is missing or cannot be read.
        BlockedError: The data may not pass; the first failures are named.
    """
    with journal(store, accepted_uri, inputs={"dataset": dataset_uri}) as step:
        policy = parse_parameter(Checks, checks, "checks")
        roles = parse_parameter(Columns, columns, "columns")
        span = parse_parameter(Window, window, "window")
        dataset = Dataset.read(dataset_path)
        schemas = parse_schemas(schema, list(dataset.tables))
        results: dict[str, TableResult] = {}
        outcomes: list[CheckResult] = []
        told: dict[str, Any] = {}
        for name, table in dataset.tables.items():
            step.progress(f"checking {counted(table.rows, 'row')} of {name!r}")
            if name != dataset.main and name not in schemas:
                results[name] = TableResult(table.rows, None, (), "")
                outcomes.append(CheckResult(f"schema of {name}", "unknown", "it has no schema; copied as it is"))
                continue
            rows = scan_table(dataset_path, name).collect()
            is_main = name == dataset.main
            marks, missing = _main_marks(rows, roles, span, policy, schemas[name]) if is_main else ([], [])
            outcomes += missing
            shown = [column for column in (roles.id, roles.time) if column]
            results[name] = _judged(rows, schemas.get(name), name, marks, shown, policy)
            outcomes.append(_schema_outcome(results[name], name))
            accepted = results[name].accepted
            if is_main and accepted is not None:
                step.progress("checking across rows")
                across, told = _across_rows(accepted, roles, span, policy, baseline_rows)
                outcomes += across
        _finish(step, dataset, results, outcomes, policy, told, report_path)
        written: dict[str, Table] = {}
        for name, result in results.items():
            passing = scan_table(dataset_path, name) if result.accepted is None else result.accepted
            written[name] = write_table(passing, accepted_path, name)
        update = {"tables": written, "accepted_rows": written[dataset.main].rows}
        dataset.model_copy(update=update).write(accepted_path)


def _main_marks(
    rows: pl.DataFrame, roles: Columns, span: Window, policy: Checks, schema: pa.DataFrameSchema
) -> tuple[list[Mark], list[CheckResult]]:
    """Rows of the main table that fail what its roles ask, and what could not be asked."""
    marks: list[Mark] = []
    missing: list[CheckResult] = []
    # A schema that lets the target be missing says that the recipe of `prepare` leaves such rows out.
    if roles.target in rows.columns and not (roles.target in schema.columns and schema.columns[roles.target].nullable):
        marks.append(Mark(roles.target, LABELLED, unlabelled(rows[roles.target])))
    if roles.time in rows.columns and rows.schema[roles.time] == pl.String:
        unreadable = pl.col(roles.time).is_not_null() & moments(rows, roles.time).is_null()
        marks.append(Mark(roles.time, "is an ISO date or time", rows.select(unreadable).to_series()))
    if roles.time in rows.columns and not span.end:
        # One of them would move the window past all real rows. What once was not in the future never is: the step stays cacheable.
        future = (moments(rows, roles.time) > datetime.now(UTC).replace(tzinfo=None) + _LOCAL_TIME).fill_null(False)
        marks.append(Mark(roles.time, "is not in the future", rows.select(future).to_series()))
    given = policy.unique is not None
    keys = list(policy.unique or ()) if given else [name for name in [roles.id] if name in rows.columns]
    absent = [name for name in keys if name not in rows.columns]
    if absent:
        reason = f"checks.unique names {absent[0]!r}, which the main table lacks (has: {', '.join(rows.columns)})"
        missing.append(CheckResult("unique", "fail", reason))
    elif keys:
        marks.append(Mark(", ".join(keys), "unique", rows.select(keys).is_duplicated()))
    return marks, missing


def _judged(
    rows: pl.DataFrame, schema: Any, name: str, marks: Sequence[Mark], shown: Sequence[str], policy: Checks
) -> TableResult:
    judged = judge(rows, schema, name, marks, shown, policy.examples)
    failing = int(judged.bad.sum())
    if not judged.failures:
        empty = "" if rows.height else f"table {name!r} has no rows"
        return TableResult(rows.height, None if empty else judged.rows, (), empty)
    structural = [failure for failure in judged.failures if not failure.about_rows]
    share = failing / rows.height if rows.height else 1.0
    blocked = ""
    if structural:
        blocked = "columns or whole tables fail, which leaving rows out would not mend"
    elif policy.on_failure == "block":
        blocked = f"{_fail(failing)}, and checks.on_failure is block"
    elif share > policy.max_quarantine_share or failing == rows.height:
        blocked = f"{_fail(failing)} ({share:.2%}), and at most {policy.max_quarantine_share:.2%} may be quarantined"
    if blocked:
        return TableResult(rows.height, None, judged.failures, blocked)
    # Judged again without them: a check of the whole table may hold for all rows and not for these.
    again = judge(rows.filter(~judged.bad), schema, name, examples=policy.examples)
    if again.failures:
        return TableResult(
            rows.height, None, (*judged.failures, *again.failures), "rows still fail after others were quarantined"
        )
    return TableResult(rows.height, again.rows, judged.failures, "")


def _fail(rows: int) -> str:
    return f"{counted(rows, 'row')} {'fails' if rows == 1 else 'fail'}"


def _schema_outcome(result: TableResult, name: str) -> CheckResult:
    if result.blocked:
        return CheckResult(f"schema of {name}", "fail", result.blocked)
    quarantined = result.rows - result.accepted.height if result.accepted is not None else 0
    kept = result.rows - quarantined
    reason = f"{counted(kept, 'row')} {'keeps' if kept == 1 else 'keep'} it"
    if quarantined:
        reason += f", {quarantined:,} {'is' if quarantined == 1 else 'are'} quarantined"
    return CheckResult(f"schema of {name}", "pass", reason)


def _across_rows(
    rows: pl.DataFrame, roles: Columns, window: Window, policy: Checks, baseline_rows: int
) -> tuple[list[CheckResult], dict[str, Any]]:
    results = []
    if roles.time in rows.columns:
        timeless = int(rows.select(moments(rows, roles.time).is_null().sum()).item())
        if timeless:
            reason = f"without {roles.time!r}, {counted(timeless, 'row')} can neither train nor judge"
            results.append(CheckResult("time", "unknown", reason))
    if policy.max_age:
        results.append(check_age(rows, roles, window, policy.max_age))
    if policy.rows_ratio:
        results.append(check_rows_ratio(rows.height, baseline_rows, policy.rows_ratio))
    told: dict[str, Any] = {}
    # What `prepare` makes is judged there.
    if roles.target in rows.columns:
        labels = check_labels(rows, roles)
        leaks, associated = judge_leakage(rows, roles, policy.leakage) if labels.outcome == "pass" else ([], [])
        results += [labels, *leaks]
        told["associations"] = associated
    if all(role in rows.columns for role in (roles.id, roles.time) if role):
        results.append(check_overlap(rows, roles, window))
    return results, told


def _finish(
    step: Step,
    dataset: Dataset,
    results: dict[str, TableResult],
    outcomes: list[CheckResult],
    policy: Checks,
    told: dict[str, Any],
    report_path: str,
) -> None:
    """Tell journal and report what was found, then block if anything says so."""
    failures = [failure for result in results.values() for failure in result.failures]
    problems = [failure.sentence() for result in results.values() if result.blocked for failure in result.failures]
    problems += [result.blocked for result in results.values() if result.blocked and not result.failures]
    problems += [
        check.reason for check in outcomes if check.outcome == "fail" and not check.name.startswith("schema of ")
    ]
    blocked = "; ".join(problems[:_TOLD]) + (f"; and {len(problems) - _TOLD} more" if len(problems) > _TOLD else "")
    tables = {
        name: {
            "rows": result.rows,
            "accepted": 0 if blocked else result.rows if result.accepted is None else result.accepted.height,
            "quarantined": 0 if blocked or result.accepted is None else result.rows - result.accepted.height,
        }
        for name, result in results.items()
    }
    details = {
        "tables": tables,
        "failures": [failure.plain() for failure in failures],
        "checks": [check.plain() for check in outcomes],
        "policy": policy.model_dump(mode="json"),
        **told,
    }
    held = [f"{table['quarantined']:,} of {name}" for name, table in tables.items() if table["quarantined"]]
    line = f"{counted(tables[dataset.main]['accepted'], 'row')} accepted, quarantined: {', '.join(held) or 'none'}"
    step.found(blocked or line, **details)
    Path(report_path).write_text(render(details, blocked, line), encoding="utf-8")
    if blocked:
        mendable = policy.on_failure == "block" and all(failure.about_rows for failure in failures) and failures
        remedy = "fix the data or the schema" + (", or set checks.on_failure: quarantine" if mendable else "")
        if any(failure.check == LABELLED for failure in failures):
            remedy += "; leave rows whose outcome is not known yet out of the source, or set as_of"
        raise BlockedError(blocked, remedy)

"""Let only rows pass that keep the user's schema, and only tables that keep the checks across rows."""

from pathlib import Path
from typing import Any

import polars as pl

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.dataset import Dataset, Table, copy_table, scan_table, write_table
from kfp_ratchet.components.shared.errors import BlockedError
from kfp_ratchet.components.shared.journal import Step, journal
from kfp_ratchet.components.shared.manifest import counted
from kfp_ratchet.components.shared.names import listed
from kfp_ratchet.components.shared.parameters import parse_parameter
from kfp_ratchet.components.shared.window import Window
from kfp_ratchet.components.validate.across import across_rows
from kfp_ratchet.components.validate.batches import at_hand
from kfp_ratchet.components.validate.checks import CheckResult
from kfp_ratchet.components.validate.failures import LABELLED
from kfp_ratchet.components.validate.judge import RowCheck
from kfp_ratchet.components.validate.report import render
from kfp_ratchet.components.validate.role_checks import role_checks
from kfp_ratchet.components.validate.schema import parse_schemas
from kfp_ratchet.components.validate.settings import Checks
from kfp_ratchet.components.validate.verdict import TableResult, judge_table

_TOLD = 3


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
    called = {
        "schema": schema,
        "checks": checks,
        "columns": columns,
        "window": window,
        "baseline_rows": baseline_rows,
    }
    with journal(store, accepted_uri, {"dataset": dataset_uri}, called) as step:
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
            if name not in schemas:
                results[name] = TableResult(table.rows, table.rows)
                outcomes.append(CheckResult(f"schema of {name}", "unknown", "it has no schema; copied as it is"))
                continue
            rows = at_hand(scan_table(dataset_path, name))
            also: list[RowCheck] = []
            keys: list[str] = []
            if name == dataset.main:
                also = role_checks(rows, roles, span, schemas[name])
                keys, missing = _keys(rows, roles, policy)
                outcomes += missing
            shown = [column for column in (roles.id, roles.time) if column]
            result = judge_table(rows, schemas[name], name, also, keys, shown, policy)
            results[name] = result
            outcomes.append(result.outcome(name))
            if name == dataset.main and not result.blocked:
                step.progress("checking across rows")
                accepted = rows if result.accepted is None else result.accepted
                across, told = across_rows(accepted, result.kept, keys, roles, span, policy, baseline_rows)
                outcomes += across
        _finish(step, dataset, results, outcomes, policy, told, report_path)
        written = {
            name: _written(dataset, name, result, dataset_path, accepted_path) for name, result in results.items()
        }
        update = {"tables": written, "accepted_rows": written[dataset.main].rows}
        dataset.model_copy(update=update).write(accepted_path)


def _keys(rows: pl.LazyFrame, roles: Columns, policy: Checks) -> tuple[list[str], list[CheckResult]]:
    """Columns that together identify a row of the main table, and what is wrong when one is missing."""
    present = rows.collect_schema().names()
    keys = [roles.id] if policy.unique is None else list(policy.unique)
    absent = [name for name in keys if name not in present]
    if not absent:
        return keys, []
    if policy.unique is None:
        return [], []
    reason = f"checks.unique names {absent[0]!r}, which the main table lacks (has: {listed(present)})"
    return [], [CheckResult("unique", "fail", reason)]


def _written(dataset: Dataset, name: str, result: TableResult, dataset_path: str, accepted_path: str) -> Table:
    if result.accepted is not None:
        return write_table(result.accepted, accepted_path, name)
    copy_table(dataset_path, name, accepted_path)
    return dataset.tables[name]


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
            "accepted": 0 if blocked else result.kept,
            "quarantined": 0 if blocked else result.rows - result.kept,
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

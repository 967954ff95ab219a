"""Rows and columns that do not keep the schema: all of them, found with pandera, told with examples."""

import math
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import Any

import pandera.polars as pa
import polars as pl
from pandera.config import ValidationDepth, config_context
from pandera.constants import CHECK_OUTPUT_KEY
from pandera.errors import SchemaError, SchemaErrorReason, SchemaErrors

from kfp_ratchet.components.shared.manifest import counted

_MAX_COLUMNS = 20
_MAX_TEXT = 200


@dataclass(frozen=True)
class Failure:
    """One check of one column (or of the table) that does not hold."""

    table: str
    column: str
    check: str
    count: int = 0
    """Failing rows; 0 when the failure is not about rows, and then it always blocks."""
    share: float = 0.0
    examples: list[dict[str, Any]] = field(default_factory=list)
    reason: str = ""

    @property
    def about_rows(self) -> bool:
        """Whether leaving rows out would mend it."""
        return self.count > 0

    def plain(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    def sentence(self) -> str:
        """For people, with one example."""
        what = f"column {self.column!r} of {self.table!r}" if self.column else f"table {self.table!r}"
        if not self.about_rows:
            return f"{what}: {self.reason}"
        value = next((str(row[self.column]) for row in self.examples if row.get(self.column) is not None), "")
        return f"{what}: {self.check} fails for {counted(self.count, 'row')} ({self.share:.2%})" + (
            f", e.g. {value}" if value else ""
        )


@dataclass(frozen=True)
class Judged:
    """A table held against its schema."""

    rows: pl.DataFrame
    """All rows, as the schema parses them (coerced, filtered columns)."""
    bad: pl.Series
    """Whether a row fails anything; shape (rows,)."""
    failures: tuple[Failure, ...]


LABELLED = "has a label"
"""The check that a row's target is known."""


@dataclass(frozen=True)
class Mark:
    """Rows that fail a check outside the schema."""

    column: str
    check: str
    bad: pl.Series


def judge(
    rows: pl.DataFrame,
    schema: pa.DataFrameSchema | None,
    table: str,
    marks: Iterable[Mark] = (),
    shown: Sequence[str] = (),
    examples: int = 5,
) -> Judged:
    """Hold a table against its schema and find every failure.

    Args:
        rows: An eager frame: pandera passes over the data of a lazy one.
        schema: None when the table has none.
        table: Its name.
        marks: Failures found otherwise, over the same rows.
        shown: Columns that identify a row for people; shown first in examples.
        examples: Rows to show a failure.
    """
    parsed, errors = (rows, []) if schema is None else _errors(rows, schema)
    found: list[Failure] = []
    keys = _unique(schema)
    absent = [name for name in keys if name not in parsed.columns]
    if absent:
        found.append(
            Failure(
                table,
                absent[0],
                "unique",
                reason=f"it should be unique, and is missing (has: {', '.join(rows.columns)})",
            )
        )
    elif keys:
        # Without pandera, whose list of all repeated rows takes seconds.
        marks = [*marks, Mark(", ".join(keys), "unique", parsed.select(keys).is_duplicated())]
    bad = pl.repeat(False, rows.height, dtype=pl.Boolean, eager=True)
    labels = {mark.column for mark in marks if mark.check == LABELLED and mark.bad.any()}
    for error in errors:
        if _column(error) in labels and error.reason_code == SchemaErrorReason.SERIES_CONTAINS_NULLS:
            continue
        mark = _mark(error, rows.height)
        if mark is None:
            found.append(Failure(table, _column(error), _check(error), reason=_reason(error, rows)))
            continue
        blocks = error.reason_code == SchemaErrorReason.DATATYPE_COERCION
        failure = _failure(rows, mark, table, shown, examples)
        if blocks:
            reason = (
                f"{counted(failure.count, 'value')} cannot be coerced, e.g. {failure.examples[0].get(mark.column)!r}"
            )
            found.append(Failure(table, mark.column, mark.check, examples=failure.examples, reason=reason))
        else:
            bad |= mark.bad
            found.append(failure)
    for mark in marks:
        if mark.bad.any():
            bad |= mark.bad
            found.append(_failure(rows, mark, table, shown, examples))
    return Judged(parsed, bad, tuple(sorted(found, key=lambda failure: (failure.about_rows, -failure.count))))


def _errors(rows: pl.DataFrame, schema: pa.DataFrameSchema) -> tuple[pl.DataFrame, list[SchemaError]]:
    """Pandera's errors, one check at a time: several kinds of failure at once make it raise while it collects them."""
    shape = deepcopy(schema)
    checks = [(name, column, check) for name, column in shape.columns.items() for check in column.checks]
    of_table = list(shape.checks)
    shape.checks, shape.unique = [], None
    for column in shape.columns.values():
        column.checks = []
    parsed, errors = _validate(shape, rows)
    if any(error.reason_code == SchemaErrorReason.DATATYPE_COERCION for error in errors):
        # It gave up at the first column that it could not coerce: the types of the others say nothing.
        return parsed, [error for error in errors if not _awaits_coercion(error, schema)]
    broken = {_column(error) for error in errors if error.reason_code == SchemaErrorReason.WRONG_DATATYPE}
    for name, column, check in checks:
        if name in broken or (not column.regex and name not in parsed.columns):
            continue
        alone = pa.Column(None, [_brief(check)], regex=column.regex, required=column.required, nullable=True)
        errors += _validate(pa.DataFrameSchema({name: alone}), parsed)[1]
    if not any(_mark(error, rows.height) is None for error in errors):
        for check in of_table:
            errors += _validate(pa.DataFrameSchema(checks=[_brief(check)]), parsed)[1]
    return parsed, errors


def _unique(schema: pa.DataFrameSchema | None) -> list[str]:
    if schema is None or not schema.unique:
        return []
    return [schema.unique] if isinstance(schema.unique, str) else list(schema.unique)


def _awaits_coercion(error: SchemaError, schema: pa.DataFrameSchema) -> bool:
    column = schema.columns.get(_column(error))
    coerced = schema.coerce or (column is not None and column.coerce)
    return bool(coerced) and error.reason_code == SchemaErrorReason.WRONG_DATATYPE


def _brief(check: pa.Check) -> pa.Check:
    """The same check that keeps one failing value: the mask has all, and keeping them takes minutes on millions."""
    check.n_failure_cases = 1
    return check


def _validate(schema: pa.DataFrameSchema, rows: pl.DataFrame) -> tuple[pl.DataFrame, list[SchemaError]]:
    # Whatever the environment says: PANDERA_VALIDATION_ENABLED=False would let everything pass.
    with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA):
        try:
            return schema.validate(rows, lazy=True), []
        except SchemaErrors as errors:
            data = errors.data
            return (data if isinstance(data, pl.DataFrame) else rows), list(errors.schema_errors)


def _mark(error: SchemaError, height: int) -> Mark | None:
    """Which rows fail; None when the error is not about rows."""
    output = error.check_output
    if not isinstance(output, pl.DataFrame) or not isinstance(error.failure_cases, pl.DataFrame):
        return None
    if output.height != height or CHECK_OUTPUT_KEY not in output.columns:
        return None
    bad = ~output[CHECK_OUTPUT_KEY].fill_null(True)
    column = _column(error)
    if error.reason_code == SchemaErrorReason.DATATYPE_COERCION:
        column = error.failure_cases.columns[0]
    return Mark(column, _check(error), bad)


def _failure(rows: pl.DataFrame, mark: Mark, table: str, shown: Sequence[str], examples: int) -> Failure:
    count = int(mark.bad.sum())
    first = [name for name in dict.fromkeys((*shown, *mark.column.split(", "), *rows.columns)) if name in rows.columns]
    picked = rows.filter(mark.bad).head(examples).select(first[:_MAX_COLUMNS])
    return Failure(
        table=table,
        column=mark.column,
        check=mark.check,
        count=count,
        share=round(count / rows.height, 6),
        examples=[{name: _plain(value) for name, value in row.items()} for row in picked.iter_rows(named=True)],
    )


def _plain(value: Any) -> Any:
    """A cell as plain JSON: no NaN, no long texts."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if hasattr(value, "isoformat"):
        return value.isoformat()
    text = str(value)
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…"


def _column(error: SchemaError) -> str:
    if error.reason_code in (SchemaErrorReason.COLUMN_NOT_IN_DATAFRAME, SchemaErrorReason.COLUMN_NOT_IN_SCHEMA):
        return str(error.failure_cases)
    return str(error.column_name or getattr(error.schema, "name", "") or "")


def _check(error: SchemaError) -> str:
    check = error.check
    if check is None or isinstance(check, str):
        return check or str(error.reason_code)
    return str(check.error or check.name or check)


def _reason(error: SchemaError, rows: pl.DataFrame) -> str:
    if error.reason_code == SchemaErrorReason.COLUMN_NOT_IN_DATAFRAME:
        return f"it is missing (has: {', '.join(rows.columns)})"
    if error.reason_code == SchemaErrorReason.COLUMN_NOT_IN_SCHEMA:
        return "it is not in the schema, which is strict"
    if error.reason_code == SchemaErrorReason.WRONG_DATATYPE:
        return f"its type should be {getattr(error.schema, 'dtype', '?')}, and is {error.failure_cases}"
    if error.reason_code == SchemaErrorReason.CHECK_ERROR:
        return f"{_check(error)} raised {error.failure_cases}"
    return f"{_check(error)} does not hold"

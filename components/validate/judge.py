"""Hold a table against its schema: every failure, found with pandera batch by batch."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import pandera.polars as pa
import polars as pl
from pandera.constants import CHECK_OUTPUT_KEY
from pandera.errors import SchemaError, SchemaErrorReason

from kfp_ratchet.components.shared.names import listed
from kfp_ratchet.components.validate.batches import batches, height
from kfp_ratchet.components.validate.duplicates import duplicated
from kfp_ratchet.components.validate.failures import Failure, Tally
from kfp_ratchet.components.validate.parts import Part, Parts, run, take_apart


@dataclass(frozen=True)
class RowCheck:
    """A check outside the schema that looks at one row at a time."""

    column: str
    check: str
    bad: Callable[[pl.DataFrame], pl.Series]
    """Which rows of a batch fail."""


@dataclass(frozen=True)
class Judged:
    """A table held against its schema."""

    rows: pl.LazyFrame
    """All rows, as the schema parses them (coerced, filtered columns)."""
    height: int
    bad: pl.Series
    """Whether a row fails anything; shape (height,)."""
    failures: tuple[Failure, ...]
    rewritten: bool
    """Whether a row may differ from what came."""
    of_rows: bool
    """Whether every check is of single rows, so that rows that pass still pass without the others."""


def judge(
    rows: pl.LazyFrame,
    schema: pa.DataFrameSchema,
    table: str,
    also: Sequence[RowCheck] = (),
    keys: Sequence[str] = (),
    shown: Sequence[str] = (),
    examples: int = 5,
) -> Judged:
    """Hold a table against its schema and find every failure.

    Args:
        rows: The table; it is read in batches, and must keep its order.
        schema: The user's schema.
        table: Its name.
        also: Checks outside the schema.
        keys: Columns of `rows` that together identify a row, whatever the schema says.
        shown: Columns that identify a row for people; shown first in examples.
        examples: Rows to show a failure.
    """
    parts, columns, total = take_apart(schema), rows.collect_schema().names(), height(rows)
    tally = Tally(table, columns, shown, examples)
    broken: set[str] = set()
    bad = _by_batch(rows, parts, also, tally, broken)
    parsed = parts.parsed(rows)
    if bad is None:
        # Pandera gives up at the first value that it cannot coerce. All such values are told, and what else can be said of rows as
        # they came.
        tally, parsed = Tally(table, columns, shown, examples), rows
        bad = _as_it_came(rows, parts, also, tally)
    else:
        bad |= _of_table(rows, parsed, parts, tally, broken)
    for repeated in _repeated(rows, parsed, parts, tuple(keys), tally):
        bad |= repeated
    of_rows = not (parts.of_columns or parts.of_table)
    return Judged(parsed, total, bad, tally.failures(total), parts.rewrites, of_rows)


def judge_again(rows: pl.LazyFrame, schema: pa.DataFrameSchema, table: str, examples: int) -> tuple[Failure, ...]:
    """Failures of the checks that look at all rows, among rows that passed before others were left out."""
    tally = Tally(table, rows.collect_schema().names(), (), examples)
    _of_table(rows, rows, take_apart(schema), tally, set())
    return tally.failures(height(rows))


def _by_batch(
    rows: pl.LazyFrame, parts: Parts, also: Sequence[RowCheck], tally: Tally, broken: set[str]
) -> pl.Series | None:
    """Which rows fail a check of single rows; None when a value cannot be coerced. Columns of a wrong type are added to `broken`."""
    masks = []
    for batch in batches(rows):
        # One check at a time: several kinds of failure at once make pandera raise while it collects them.
        parsed, errors = parts.looked_at(batch)
        if any(error.reason_code == SchemaErrorReason.DATATYPE_COERCION for error in errors):
            return None
        broken |= {_column(error) for error in errors if error.reason_code == SchemaErrorReason.WRONG_DATATYPE}
        for part in _askable(parts.by_row, parsed.columns, broken):
            errors += run(part.schema, part.of(parsed))[1]
        masks.append(_noted(errors, also, batch, tally))
    return pl.concat(masks)


def _as_it_came(rows: pl.LazyFrame, parts: Parts, also: Sequence[RowCheck], tally: Tally) -> pl.Series:
    """Which rows fail what can be said of them without coercion; values that cannot be coerced are noted."""
    masks = []
    for batch in batches(rows):
        errors, awaiting = run(parts.as_it_came, batch)[1], set()
        for part in _askable(parts.coerced, batch.columns, ()):
            awaiting |= {part.column} if part.column else set(batch.columns)
            for error in run(part.schema, part.of(batch))[1]:
                if error.reason_code == SchemaErrorReason.DATATYPE_COERCION:
                    _note_uncoerced(error, part, batch, tally)
        # The type of a column that awaits coercion says nothing.
        wrong = [error for error in errors if error.reason_code == SchemaErrorReason.WRONG_DATATYPE]
        idle = [error for error in wrong if awaiting & {_column(error), str(getattr(error.schema, "name", ""))}]
        masks.append(_noted([error for error in errors if error not in idle], also, batch, tally))
    return pl.concat(masks)


def _note_uncoerced(error: SchemaError, part: Part, batch: pl.DataFrame, tally: Tally) -> None:
    failing = _mask(error, batch.height)
    column = part.column if failing is None else error.failure_cases.columns[0]
    # To pandera a missing value is one that cannot be coerced.
    if failing is not None and (values := failing & batch[column].is_not_null()).any():
        tally.add_uncoerced(column, _check(error), batch, values)
    else:
        # Values inside of structures, of which pandera cannot say which rows hold them.
        tally.add(column, _check(error), "its values cannot be coerced to the type that the schema names")


def _noted(errors: Sequence[SchemaError], also: Sequence[RowCheck], batch: pl.DataFrame, tally: Tally) -> pl.Series:
    """Note what was found in a batch; returns which of its rows fail."""
    bad = pl.repeat(False, batch.height, dtype=pl.Boolean, eager=True)
    for error in errors:
        failing = _mask(error, batch.height)
        if failing is None:
            tally.add(_column(error), _check(error), _reason(error, batch.columns))
        else:
            tally.add_rows(_column(error), _check(error), batch, failing)
            bad |= failing
    for check in also:
        failing = check.bad(batch)
        tally.add_rows(check.column, check.check, batch, failing)
        bad |= failing
    return bad


def _of_table(rows: pl.LazyFrame, parsed: pl.LazyFrame, parts: Parts, tally: Tally, broken: set[str]) -> pl.Series:
    """Which rows fail a check that may look at all of them."""
    total = height(rows)
    bad = pl.repeat(False, total, dtype=pl.Boolean, eager=True)
    columns = rows.collect_schema().names()

    def ask(schema: pa.DataFrameSchema, seen: pl.LazyFrame) -> None:
        nonlocal bad
        for error in run(schema, seen)[1]:
            failing = _mask(error, total)
            if failing is None:
                tally.add(_column(error), _check(error), _reason(error, columns))
            else:
                tally.add_mask(_column(error), _check(error), rows, failing)
                bad |= failing

    for part in _askable(parts.of_columns, parsed.collect_schema().names(), broken):
        ask(part.schema, part.over(parsed))
    if not tally.structural:
        for schema in parts.of_table:
            ask(schema, parsed)
    return bad


def _repeated(
    rows: pl.LazyFrame, parsed: pl.LazyFrame, parts: Parts, keys: tuple[str, ...], tally: Tally
) -> Iterator[pl.Series]:
    """Which rows share with another what should identify them."""
    names = parsed.collect_schema().names()
    for wanted in dict.fromkeys([keys, *parts.unique, *((name,) for name in parts.unique_columns(parsed))]):
        absent = [name for name in wanted if name not in names]
        if absent and wanted != keys:
            has = listed(rows.collect_schema().names())
            tally.add(absent[0], "unique", f"it should be unique, and is missing (has: {has})")
        elif wanted:
            repeated = duplicated(rows if absent else parsed, list(wanted))
            tally.add_mask(", ".join(wanted), "unique", rows, repeated)
            yield repeated


def _askable(parts: Sequence[Part], columns: Sequence[str], broken: Collection[str]) -> list[Part]:
    """Those whose column is there and of the right type."""
    return [part for part in parts if part.several or (part.column in columns and part.column not in broken)]


def _mask(error: SchemaError, height: int) -> pl.Series | None:
    """Which rows fail; None when the error is not about rows."""
    output = error.check_output
    if not isinstance(output, pl.DataFrame) or not isinstance(error.failure_cases, pl.DataFrame):
        return None
    if output.height != height or CHECK_OUTPUT_KEY not in output.columns:
        return None
    bad: pl.Series = ~output[CHECK_OUTPUT_KEY].fill_null(True)
    return bad


def _column(error: SchemaError) -> str:
    if error.reason_code in (SchemaErrorReason.COLUMN_NOT_IN_DATAFRAME, SchemaErrorReason.COLUMN_NOT_IN_SCHEMA):
        return str(error.failure_cases)
    return str(error.column_name or getattr(error.schema, "name", "") or "")


def _check(error: SchemaError) -> str:
    check = error.check
    if check is None or isinstance(check, str):
        return check or str(error.reason_code)
    return str(check.error or check.name or check)


def _reason(error: SchemaError, columns: Sequence[str]) -> str:
    if error.reason_code == SchemaErrorReason.COLUMN_NOT_IN_DATAFRAME:
        return f"it is missing (has: {listed(columns)})"
    if error.reason_code == SchemaErrorReason.COLUMN_NOT_IN_SCHEMA:
        return "it is not in the schema, which is strict"
    if error.reason_code == SchemaErrorReason.WRONG_DATATYPE:
        return f"its type should be {getattr(error.schema, 'dtype', '?')}, and is {error.failure_cases}"
    if error.reason_code == SchemaErrorReason.CHECK_ERROR:
        return f"{_check(error)} raised {error.failure_cases}"
    return f"{_check(error)} does not hold"

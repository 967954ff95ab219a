"""A schema taken apart: what a batch of rows can be held against by itself, and what needs the whole table."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TypeVar

import pandera.polars as pa
import polars as pl
from pandera.api.function_dispatch import Dispatcher
from pandera.config import ValidationDepth, config_context
from pandera.errors import SchemaError, SchemaErrors

Rows = TypeVar("Rows", pl.DataFrame, pl.LazyFrame)
_BY_ROW = (
    "equal_to", "not_equal_to", "greater_than", "greater_than_or_equal_to", "less_than", "less_than_or_equal_to", "in_range",
    "isin", "notin", "str_matches", "str_contains", "str_startswith", "str_endswith", "str_length",
)  # fmt: skip
"""Pandera's own checks that look at one value at a time. What a user's function looks at nobody knows: it gets the whole table."""

_PIECE = 100


@dataclass(frozen=True)
class Part:
    """One check, or the coercion, of one column, as a schema of its own."""

    column: str
    """A name, a pattern of names, or "" for all columns."""
    schema: pa.DataFrameSchema
    several: bool
    """Whether it may be about several columns."""
    distinct: bool = False
    """Whether it asks only which values there are."""

    def of(self, batch: pl.DataFrame) -> pl.DataFrame:
        """What a check of single rows has to see."""
        return batch if self.several else batch[self.column].to_frame()

    def over(self, table: pl.LazyFrame) -> pl.LazyFrame:
        """What a check of all rows has to see."""
        return table.select(pl.col(self.column).unique()) if self.distinct else table


@dataclass(frozen=True)
class Parts:
    """A schema taken apart."""

    shape: pa.DataFrameSchema
    """Columns, their types, what is missing, and how it is parsed; no checks."""
    pieces: tuple[pa.DataFrameSchema, ...]
    """The same for some columns each, when there are many: pandera takes time in the square of them."""
    as_it_came: pa.DataFrameSchema
    """The same without coercion."""
    coerced: tuple[Part, ...]
    """The coercion of each column."""
    by_row: tuple[Part, ...]
    """Checks that judge each row by itself."""
    of_columns: tuple[Part, ...]
    """Checks of a column that may look at all rows."""
    of_table: tuple[pa.DataFrameSchema, ...]
    """Checks of the table."""
    unique: tuple[tuple[str, ...], ...]
    """Columns that together identify a row."""
    alone: tuple[str, ...]
    """Columns, or patterns of them, that do so each."""
    rewrites: bool
    """Whether rows that pass may differ from what came."""

    def parsed(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Rows as the schema parses them: coerced, with defaults and the columns it keeps."""
        return run(self.shape, rows, ValidationDepth.SCHEMA_ONLY)[0] if self.rewrites else rows

    def looked_at(self, batch: pl.DataFrame) -> tuple[pl.DataFrame, list[SchemaError]]:
        """A batch as the schema parses it, and what is wrong with its columns, types and missing values."""
        if self.rewrites or not self.pieces:
            return run(self.shape, batch)
        present = set(batch.columns)
        parts = [(piece, [name for name in piece.columns if name in present]) for piece in self.pieces]
        return batch, [error for piece, names in parts for error in run(piece, batch.select(names))[1]]

    def unique_columns(self, rows: pl.LazyFrame) -> list[str]:
        """Those of `rows` that identify a row alone."""
        names = rows.collect_schema().names()
        found = (
            [name] if name in names else rows.select(pl.col(name)).collect_schema().names()
            for name in self.alone
            if name in names or name.startswith("^")
        )
        return [name for several in found for name in several]


def take_apart(schema: pa.DataFrameSchema) -> Parts:
    """The parts of a schema, which stays as it is."""
    shape = deepcopy(schema)
    by_row: list[Part] = []
    of_columns: list[Part] = []
    for name, column in shape.columns.items():
        for check in column.checks:
            alone = pa.Column(None, [_brief(check)], regex=column.regex, required=column.required, nullable=True)
            own = _own(check)
            distinct = own == "unique_values_eq" and not column.regex
            part = Part(name, pa.DataFrameSchema({name: alone}), bool(column.regex), distinct)
            (by_row if own in _BY_ROW or check.element_wise else of_columns).append(part)
    of_table = tuple(pa.DataFrameSchema(checks=[_brief(check)]) for check in shape.checks)
    alone = tuple(str(column.selector) for column in shape.columns.values() if column.unique)
    shape.checks, shape.unique = [], None
    for column in shape.columns.values():
        column.checks, column.unique = [], False
    as_it_came = deepcopy(shape)
    as_it_came.coerce = False
    for column in as_it_came.columns.values():
        column.coerce = False
    fills = any(column.default is not None for column in shape.columns.values())
    coerced = tuple(_coercions(shape))
    return Parts(
        shape=shape,
        pieces=tuple(_pieces(shape)),
        as_it_came=as_it_came,
        coerced=coerced,
        by_row=tuple(by_row),
        of_columns=tuple(of_columns),
        of_table=of_table,
        unique=tuple(_keys(schema.unique)),
        alone=alone,
        rewrites=bool(coerced or fills or shape.strict == "filter" or shape.add_missing_columns),
    )


def _own(check: pa.Check) -> str:
    """Which of pandera's own functions it asks, "" when it is a user's."""
    return check._check_fn.__name__ if isinstance(check._check_fn, Dispatcher) else ""


def _brief(check: pa.Check) -> pa.Check:
    """The same check that keeps one failing value: the mask has all, and keeping them takes minutes on millions."""
    check.n_failure_cases = 1
    return check


def _keys(unique: str | Sequence[str] | Sequence[Sequence[str]] | None) -> Iterator[tuple[str, ...]]:
    """Pandera takes a name, names, or several lists of names."""
    names = [unique] if isinstance(unique, str) else list(unique or ())
    together = tuple(name for name in names if isinstance(name, str))
    if together:
        yield together
    yield from (tuple(keys) for keys in names if not isinstance(keys, str))


def _pieces(shape: pa.DataFrameSchema) -> Iterator[pa.DataFrameSchema]:
    several = shape.strict or shape.ordered or shape.dtype or any(column.regex for column in shape.columns.values())
    names = list(shape.columns)
    if not several and len(names) > _PIECE:
        for start in range(0, len(names), _PIECE):
            yield pa.DataFrameSchema({name: shape.columns[name] for name in names[start : start + _PIECE]})


def _coercions(shape: pa.DataFrameSchema) -> Iterator[Part]:
    if shape.dtype is not None:
        if shape.coerce or any(column.coerce for column in shape.columns.values()):
            yield Part("", pa.DataFrameSchema(dtype=shape.dtype, coerce=True), True)
        return
    for name, column in shape.columns.items():
        if column.dtype is not None and (shape.coerce or column.coerce):
            alone = pa.Column(column.dtype, coerce=True, regex=column.regex, required=False, nullable=True)
            yield Part(name, pa.DataFrameSchema({name: alone}), bool(column.regex))


def run(
    schema: pa.DataFrameSchema, rows: Rows, depth: ValidationDepth = ValidationDepth.SCHEMA_AND_DATA
) -> tuple[Rows, list[SchemaError]]:
    """Rows as the schema parses them, and pandera's errors."""
    # Whatever the environment says: PANDERA_VALIDATION_ENABLED=False would let everything pass.
    with config_context(validation_enabled=True, validation_depth=depth):
        try:
            return schema.validate(rows, lazy=True), []
        except SchemaErrors as errors:
            return (errors.data if isinstance(errors.data, type(rows)) else rows), list(errors.schema_errors)

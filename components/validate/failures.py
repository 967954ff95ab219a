"""Failures of rows, columns and tables: counted batch by batch, and told with examples."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from kfp_ratchet.components.shared.manifest import counted
from kfp_ratchet.components.shared.names import shortened

LABELLED = "has a label"
"""The check that a row's target is known."""
PRESENT = "not_nullable"
"""Pandera's check that a value is not missing."""
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
        what = f"column {shortened(self.column)!r} of {self.table!r}" if self.column else f"table {self.table!r}"
        if not self.about_rows:
            return f"{what}: {self.reason}"
        value = next((str(row[self.column]) for row in self.examples if row.get(self.column) is not None), "")
        return f"{what}: {self.check} fails for {counted(self.count, 'row')} ({self.share:.2%})" + (
            f", e.g. {value}" if value else ""
        )


@dataclass
class _Rows:
    """Rows that fail one check of one column, so far."""

    count: int
    examples: list[dict[str, Any]]


class Tally:
    """Failures of one table, whatever the batches that they are found in.

    Args:
        table: Its name.
        columns: Its columns.
        shown: Columns that identify a row for people; shown first in examples.
        examples: Rows to show a failure.
    """

    def __init__(self, table: str, columns: Sequence[str], shown: Sequence[str], examples: int) -> None:
        self._table, self._columns, self._shown, self._examples = table, list(columns), list(shown), examples
        self._structural: dict[tuple[str, str], str] = {}
        self._rows: dict[tuple[str, str], _Rows] = {}
        self._stuck: dict[tuple[str, str], _Rows] = {}

    @property
    def structural(self) -> bool:
        """Whether a failure is not about rows."""
        return bool(self._structural or self._stuck)

    def add(self, column: str, check: str, reason: str) -> None:
        """A column or table fails, which leaving rows out would not mend; the first reason is told."""
        self._structural.setdefault((column, check), reason)

    def add_rows(self, column: str, check: str, rows: pl.DataFrame, bad: pl.Series) -> None:
        """Rows of a batch fail, after those of the batches before."""
        self._note(self._rows, column, check, int(bad.sum()), rows, bad)

    def add_uncoerced(self, column: str, check: str, rows: pl.DataFrame, bad: pl.Series) -> None:
        """Rows of a batch hold values that the column's type cannot."""
        self._note(self._stuck, column, check, int(bad.sum()), rows, bad)

    def add_mask(self, column: str, check: str, rows: pl.LazyFrame, bad: pl.Series) -> None:
        """Rows of the whole table fail; `bad` has shape (rows,)."""
        first = bad.arg_true().head(self._examples).to_list()
        if first:
            examples = pl.concat([rows.slice(row, 1).collect() for row in first])
            every = pl.repeat(True, len(first), dtype=pl.Boolean, eager=True)
            self._note(self._rows, column, check, int(bad.sum()), examples, every)

    def failures(self, height: int) -> tuple[Failure, ...]:
        """All of them: columns and tables first, then the checks that most rows fail."""
        found = [Failure(self._table, *key, reason=reason) for key, reason in self._structural.items()]
        for key, rows in self._stuck.items():
            reason = f"{counted(rows.count, 'value')} cannot be coerced, e.g. {rows.examples[0].get(key[0])!r}"
            found.append(Failure(self._table, *key, examples=rows.examples, reason=reason))
        for (column, check), rows in self._rows.items():
            if check == PRESENT and (column, LABELLED) in self._rows:
                continue
            share = round(rows.count / height, 6)
            found.append(Failure(self._table, column, check, rows.count, share, rows.examples))
        return tuple(sorted(found, key=self._rank))

    def _rank(self, failure: Failure) -> tuple[bool, int, int, str, str]:
        """By what is told, never by the batch that it was found in."""
        first = failure.column.split(", ")[0]
        place = self._columns.index(first) if first in self._columns else len(self._columns)
        return failure.about_rows, -failure.count, place, failure.column, failure.check

    def _note(
        self,
        known: dict[tuple[str, str], _Rows],
        column: str,
        check: str,
        count: int,
        rows: pl.DataFrame,
        bad: pl.Series,
    ) -> None:
        if not count:
            return
        noted = known.setdefault((column, check), _Rows(0, []))
        noted.count += count
        wanted = self._examples - len(noted.examples)
        if wanted > 0:
            names = dict.fromkeys((*self._shown, column, *column.split(", "), *rows.columns))
            first = [name for name in names if name in rows.columns][:_MAX_COLUMNS]
            picked = rows.select(first).filter(bad).head(wanted)
            noted.examples += [
                {name: _plain(value) for name, value in row.items()} for row in picked.iter_rows(named=True)
            ]


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

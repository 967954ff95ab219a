"""Look at a table and decide what a model could make of it."""

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kfp_ratchet.components.shared.columns import Columns, Problem
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.names import listed, shortened
from kfp_ratchet.components.shared.window import Window

if TYPE_CHECKING:
    import polars as pl

    from kfp_ratchet.components.ingest.table_file import TableFile

SAMPLE_ROWS = 200_000
"""Rows that types, classes and the schema's draft are taken from; counts and time spans are of the whole table."""
_ID_NAME = re.compile(r"(?i:(.*[\W_])?(row|uu|gu|u)?id)|.*[a-z]I[Dd]", re.ASCII)
"""`id`, `row id`, `rowid`, `customer_id`, `customerId`; not `paid`."""
_MANY = 20
"""A number with more different values than this is a quantity, not a class."""


@dataclass(frozen=True)
class Facts:
    """What was seen in a table and decided from it."""

    columns: Columns
    sample: "pl.DataFrame"
    evaluate: str
    """Length of the evaluation window; "" without a time column."""
    evaluated: int
    """About how many rows will judge."""
    rarest_evaluated: int | None
    """About how many of them have the rarest class; None for regression."""
    said: dict[str, str]
    """One sentence for each decision: problem, id, time, window."""

    def draft(self, source_name: str) -> str:
        """Draft of a schema for the sample, as YAML."""
        from kfp_ratchet.components.validate.draft import draft_schema

        return draft_schema(self.sample, source_name)


def look_at(data: Path, target: str, time: str, row_id: str) -> Facts:
    """Read a sample of a table and decide problem, roles of columns and windows.

    Args:
        data: A file or a folder of files of one table.
        target: The column to predict.
        time: The time column; the only date or time column when "".
        row_id: The id column; a unique column named like one when "".

    Raises:
        InputError: The data cannot be read, a column does not exist, or nothing can be learnt from the target.
    """
    import polars as pl

    table = scan(data)
    sample = table.head(SAMPLE_ROWS).collect()
    _check_names(sample.columns, {"target": target, "time": time, "id": row_id}, data)
    rows = int(table.select(pl.len()).collect().item())
    try:
        problem, why = decide_problem(sample[target], target)
        id_column, id_said = _find_id(table, sample, row_id, rows)
        time_column, time_said = _find_time(sample, time)
        columns = Columns(
            target=target,
            problem=problem,
            positive=_positive(sample[target]) if problem == "binary" else None,
            id=id_column,
            time=time_column,
        )
        evaluate, evaluated, window_said = _windows(table, sample, time_column, rows)
    except ValidationError as error:
        raise InputError(error.errors()[0]["msg"].removeprefix("Value error, "), "name different columns") from None
    counts = sample[target].rename("value").drop_nulls().value_counts()["count"].to_list()
    rarest = None if problem == "regression" else int(min(counts) / sample.height * evaluated)
    said = {"problem": why, "id": id_said, "time": time_said, "window": window_said}
    if empty := sample[target].null_count():
        said["target"] = (
            f"{empty} of {_rows(sample.height)} {'has' if empty == 1 else 'have'} no {target!r}; leave them out with prepare."
        )
    return Facts(columns, sample, evaluate, evaluated, rarest, said)


def scan(data: Path | str) -> "pl.LazyFrame":
    """A table lazily, as `ingest` reads it; text columns of CSV and JSON lines that hold only ISO dates or times are these.

    Reads it once to its end, so that whoever collects it later meets no surprise.

    Args:
        data: A file or folder, or the URI of a source.

    Raises:
        InputError: There is no such file, it cannot be read, or it has no rows.
    """
    import polars as pl

    from kfp_ratchet.components.ingest.formats import (
        IPC,
        PARQUET,
        READ_ERRORS,
        broken,
        file_format,
        scan_files,
    )
    from kfp_ratchet.components.shared.split import refuse_times

    files = _fetched(data) if isinstance(data, str) and "://" in data else _local(Path(data))
    try:
        table = scan_files(files, {})
        # Parquet and Arrow know their types; a schema that says otherwise would refuse them.
        table = table if file_format(files[0]) in (PARQUET, IPC) else _with_moments(table)
        refuse_times(table, str(data))
        rows = table.select(pl.len(), pl.all().null_count().name.prefix("nulls of ")).collect(engine="streaming")
    except RatchetError as error:
        raise InputError(error.message, _remedy(files, error)) from error
    except READ_ERRORS as error:
        found = broken(files, {}, error)
        raise InputError(found.message, _remedy(files, found)) from error
    if not rows["len"][0]:
        raise InputError(f"{data} has no rows", "give a table with at least a few hundred")
    return table


def _local(data: Path) -> "list[TableFile]":
    from kfp_ratchet.components.ingest.table_file import TableFile

    if not data.exists():
        near = difflib.get_close_matches(data.name, [path.name for path in data.parent.glob("*")], n=1)
        raise InputError(
            f"{data} does not exist", f"did you mean {data.parent / near[0]}?" if near else "check the path"
        )
    root = data if data.is_dir() else data.parent
    paths = [data] if data.is_file() else sorted(path for path in data.rglob("*") if path.is_file())
    names = {path: path.relative_to(root).as_posix() for path in paths}
    files = [TableFile(path, name, str(path)) for path, name in names.items() if not re.search(r"(^|/)[._]", name)]
    if not files:
        raise InputError(f"the folder {data} holds no files", "name the folder or file of your table")
    return files


def _fetched(uri: str) -> "list[TableFile]":
    from kfp_ratchet.components.ingest.table_file import TableFile
    from kfp_ratchet.components.shared.sources import Memory, open_source

    source = open_source(uri)
    listed = source.listing(Memory({}))
    paths = source.fetch(listed, lambda line: None)
    return [TableFile(path, name, source.name(name)) for path, name in zip(paths, listed["path"], strict=True)]


def _remedy(files: "Sequence[TableFile]", error: RatchetError) -> str:
    """What to do about files that cannot be read, in words that fit their format."""
    from kfp_ratchet.components.ingest.formats import file_format
    from kfp_ratchet.components.ingest.text import CSV

    if "cannot be read" not in error.message or file_format(files[0]) != CSV:
        return error.remedy
    if "utf-8" in error.message.lower():
        return "write it in UTF-8, comma-separated"
    return "write it comma-separated and in UTF-8, with as many values in each line as the header has names"


def _with_moments(table: "pl.LazyFrame") -> "pl.LazyFrame":
    import polars as pl

    from kfp_ratchet.components.ingest.conversion import from_text, unreadable

    texts = [name for name, kind in table.collect_schema().items() if kind == pl.String]
    sample = table.select(texts).head(SAMPLE_ROWS).collect()
    types: dict[str, Any] = {}
    for name in texts:
        for kind in (pl.Date(), pl.Datetime("us")):
            fits = sample[name].null_count() < sample.height and not sample.select(unreadable(name, kind).any()).item()
            if fits:
                types.setdefault(name, kind)
    return table.with_columns(
        converted for name, kind in types.items() if (converted := from_text(name, kind)) is not None
    )


def decide_problem(target: "pl.Series", name: str) -> tuple[Problem, str]:
    """The kind of problem a target's values make, and why, in one sentence.

    Raises:
        InputError: The values are all missing or all the same, or look like names rather than classes.
    """
    from kfp_ratchet.components.shared.split import is_plain

    if not is_plain(target.dtype):
        raise InputError(f"target {name!r} holds {target.dtype}", "name a column of classes or of numbers")
    values = target.drop_nulls()
    distinct = values.n_unique()
    if target.len() < 2:
        raise InputError(f"the table has {_rows(target.len())}", "give a table with at least a few hundred")
    if values.is_empty():
        raise InputError(f"target {name!r} is empty in every row", "name another column")
    if distinct == 1:
        raise InputError(
            f"target {name!r} is {shortened(repr(values[0]))} in every row",
            "there is nothing to predict; name another column",
        )
    seen = f"{distinct} different values in {_rows(values.len())}"
    if distinct == 2:
        return "binary", f"{name!r} has two values."
    if (target.dtype.is_float() and not _whole(values)) or (target.dtype.is_numeric() and distinct > _MANY):
        return "regression", f"{name!r} is a number with {seen}."
    if target.dtype.is_temporal() or distinct > max(_MANY, values.len() / 10):
        raise InputError(f"target {name!r} holds {target.dtype} with {seen}", "name a column of classes or of numbers")
    return "multiclass", f"{name!r} has {seen}, read as classes; for a quantity write regression."


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"


def _whole(values: "pl.Series") -> bool:
    return bool((values == values.round()).all())


def _positive(target: "pl.Series") -> Any:
    larger = target.drop_nulls().unique().cast(target.dtype).sort()[-1]
    return int(larger) if isinstance(larger, float) and larger.is_integer() and abs(larger) < 2**53 else larger


def _check_names(columns: list[str], roles: dict[str, str], data: Path) -> None:
    for role, name in roles.items():
        if name and name not in columns:
            near = difflib.get_close_matches(name, columns, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {listed(columns)}"
            raise InputError(f"{role} column {name!r} is not in {data}", hint)


def _find_id(table: "pl.LazyFrame", sample: "pl.DataFrame", named: str, rows: int) -> tuple[str, str]:
    import polars as pl

    likely = [named] if named else [name for name in sample.columns if _ID_NAME.fullmatch(name.strip())]
    kinds = {name: sample.schema[name] for name in likely}
    likely = [name for name, kind in kinds.items() if kind.is_integer() or kind == pl.String or named]
    distinct = table.select(pl.col(likely).n_unique()).collect() if likely else pl.DataFrame()
    unique = [name for name in likely if distinct[name][0] == rows]
    if named and not unique:
        raise InputError(
            f"id column {named!r} does not identify rows: {distinct[named][0]} different values in {_rows(rows)}",
            "name a column whose values are all different, or none",
        )
    if named:
        return named, "Identifies a row."
    if len(unique) == 1:
        return unique[0], f"{unique[0]!r} is different in every row."
    why = (
        f"unique are {', '.join(unique)}: name one"
        if unique
        else "no column is named like one and is different in every row"
    )
    return "", f"No id: {why}. A digest of the whole row stands in."


def _find_time(sample: "pl.DataFrame", named: str) -> tuple[str, str]:
    import polars as pl

    if named:
        from kfp_ratchet.components.shared.split import moments

        try:
            read = sample.select(moments(sample, named)).to_series()
        except RatchetError as error:
            raise InputError(error.message, "name a column of dates, times or ISO text") from None
        if read.null_count() == read.len():
            raise InputError(
                f"time column {named!r} holds no ISO dates or times (first: {sample[named][0]!r})",
                "name another column",
            )
        return named, "Says when a row happened."
    times = [name for name, kind in sample.schema.items() if kind in (pl.Date, pl.Datetime)]
    found = [name for name in times if sample[name].null_count() < sample.height]
    if len(found) == 1:
        return found[
            0
        ], f"{found[0]!r} is the only date or time column: later rows judge what was learnt from earlier ones."
    why = f"there are {', '.join(found)}: name one" if found else "there is no date or time column"
    return "", f"No time: {why}. Rows are split at random."


def _windows(table: "pl.LazyFrame", sample: "pl.DataFrame", time: str, rows: int) -> tuple[str, int, str]:
    import polars as pl

    from kfp_ratchet.components.shared.split import length, moments

    if not time:
        share = Window().share
        return "", int(rows * share), f"{share:.0%} of the rows judge, chosen by a hash: about {int(rows * share)}."
    when = table.select(moments(sample, time).alias("when")).drop_nulls()
    first, last = when.select(pl.col("when").min().alias("a"), pl.col("when").max().alias("b")).collect().row(0)
    evaluate = evaluation_length(last - first)
    judged = int(when.filter(pl.col("when") > last - length(evaluate)).select(pl.len()).collect().item())
    return evaluate, judged, f"Rows reach from {first} to {last}; {judged} of them lie in the last {evaluate}."


def evaluation_length(span: timedelta) -> str:
    """A fifth of the span, at most two weeks, in whole days or hours."""
    fifth = min(span / 5, timedelta(days=14))
    if fifth >= timedelta(days=1):
        return f"{fifth.days}d"
    return f"{max(1, math.floor(fifth / timedelta(hours=1)))}h"

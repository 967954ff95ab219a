"""CSV and JSON lines: formats that do not say what type a column is.

A column has the type that the user's schema names, or else the narrowest that fits all values of all files: it never depends on which
rows come first.
"""

import contextlib
import csv
import glob
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from kfp_ratchet.components.ingest.conversion import MISSING, Dtype, converted, from_text, unreadable
from kfp_ratchet.components.ingest.inference import common, narrowest
from kfp_ratchet.components.ingest.table_file import TableFile
from kfp_ratchet.components.shared.errors import BlockedError, InputError
from kfp_ratchet.components.shared.names import refuse_names, shortened

CSV, JSON_LINES = "CSV", "JSON lines"
_SAMPLE_FILES, _SAMPLE_ROWS = 8, 10_000


def scan_text(
    files: Sequence[TableFile], kind: str, declared: Mapping[str, Dtype], direct: bool
) -> tuple[list[pl.LazyFrame], list[pl.Expr]]:
    """A lazy frame a file, all with the same type for the same column, and what to make of the columns of their union.

    Collecting it raises UnreadableError where a value cannot be what the schema says of its column.

    Args:
        files: The files.
        kind: `CSV` or `JSON_LINES`.
        declared: Types by column from the user's schema.
        direct: Let polars' reader make the numbers of a CSV, instead of converting them from text. It is faster, and refuses some that
            are right none the less: with spaces behind them, or where what is missing is spelled in several ways.

    Raises:
        InputError: No step could use a column's name, no text can be what the schema says, or the file is no CSV of ours.
        polars.exceptions.PolarsError: A file cannot be read.
    """
    found = [_columns(file, kind) for file in files]
    for file, columns in zip(files, found, strict=True):
        refuse_names(columns, file.shown)
        for name in columns:
            _check_type(file, kind, name, declared.get(name))
    holding: dict[str, list[Dtype]] = {}
    for columns in found:
        for name, dtype in columns.items():
            holding.setdefault(name, []).append(dtype)
    unknown = [name for name in holding if name not in declared]
    spellings: dict[str, str] = {}
    if kind == JSON_LINES:
        types = {**declared, **{name: common(holding[name]) for name in unknown}}
    else:
        texts = [_scan(file, kind, columns) for file, columns in zip(files, found, strict=True)]
        types = {**declared, **(narrowest(texts, unknown) if unknown else {})}
        spellings = _spellings(texts, types) if direct else {}
    reads = {name: types[name] if name in spellings else _read_as(name, holding[name], types[name]) for name in holding}
    frames = [
        _scan(file, kind, {name: reads[name] for name in columns}, spellings)
        for file, columns in zip(files, found, strict=True)
    ]
    return frames, [
        converted(name, types[name]) if dtype != types[name] else pl.col(name).fill_nan(None)
        for name, dtype in reads.items()
        if dtype != types[name] or dtype.is_float()
    ]


def refuse_values(file: TableFile, kind: str, declared: Mapping[str, Dtype]) -> None:
    """Refuse the first column with a text that its declared type cannot hold; reads the file to its end.

    Raises:
        BlockedError: Names column, file, the first such value and how many there are.
        polars.exceptions.PolarsError: The file cannot be read.
    """
    reads = {name: _read_as(name, [dtype], declared.get(name, dtype)) for name, dtype in _columns(file, kind).items()}
    frame = _scan(file, kind, reads)
    marks = {
        name: unreadable(name, declared[name]) for name, dtype in reads.items() if dtype != declared.get(name, dtype)
    }
    # All columns: whatever else is wrong with the file shall come out.
    told = frame.select(marks.get(name, pl.col(name).is_null()).sum().alias(name) for name in reads)
    for name, count in told.collect(engine="streaming").row(0, named=True).items():
        if name in marks and count:
            example = frame.filter(marks[name]).select(name).head(1).collect(engine="streaming").item()
            more = f" (and {count - 1:,} more such)" if count > 1 else ""
            raise BlockedError(
                f"column {name!r} of {file.shown} holds {shortened(example)!r}{more}, which is not {declared[name]}",
                "fix the file, or change the column's dtype in the schema",
            )


def _read_as(name: str, holding: Sequence[Dtype], dtype: Dtype) -> Dtype:
    """What a column is read as: text, unless all files hold the type itself, or no text can be converted to it."""
    return dtype if all(held == dtype for held in holding) or from_text(name, dtype) is None else pl.String


def _spellings(texts: Sequence[pl.LazyFrame], types: Mapping[str, Dtype]) -> dict[str, str]:
    """The columns of numbers that polars' reader can make, and what spells a missing value in each: it knows one besides nothing.

    Guessed from the first rows of some files: where the guess is wrong, it refuses a value.
    """
    some = texts[:: math.ceil(len(texts) / _SAMPLE_FILES)]
    sample = pl.concat([text.head(_SAMPLE_ROWS) for text in some], how="diagonal").collect()
    spellings: dict[str, str] = {}
    for name in sample.columns:
        if types[name].is_integer() or types[name].is_float():
            odd = sample[name].filter(sample[name].cast(types[name], strict=False).is_null()).drop_nulls().unique()
            if odd.is_empty() or (len(odd) == 1 and odd[0] in MISSING):
                spellings[name] = "".join(odd)
    # Who writes NA in one column will in another. Looking for it takes time, so that it is not where there is none.
    usual = next(filter(None, spellings.values()), "")
    return {name: spelling or usual for name, spelling in spellings.items()}


def _check_type(file: TableFile, kind: str, name: str, dtype: Dtype | None) -> None:
    if dtype is None or from_text(name, dtype) is not None or (kind == JSON_LINES and dtype.is_nested()):
        return
    raise InputError(
        f"the schema says that column {name!r} of {file.shown} is {dtype}, which {kind} cannot hold",
        "name another type in the schema, and convert in prepare",
    )


def _columns(file: TableFile, kind: str) -> dict[str, Dtype]:
    """A file's columns, and the types that it can tell: those of all its rows for JSON, text for CSV."""
    if kind == JSON_LINES:
        return dict(pl.scan_ndjson(_literal(file.path), infer_schema_length=None).collect_schema())
    names = pl.scan_csv(file.path, infer_schema_length=0, glob=False).collect_schema().names()
    mark = next((mark for mark in (";", "\t", "|") if len(names) == 1 and mark in names[0]), "")
    if mark:
        raise InputError(f"{file.shown} is separated by {mark!r}", "write it comma-separated, in UTF-8")
    for name in names:
        if (match := re.fullmatch(r"(.*)_duplicated_\d+", name, re.DOTALL)) and match[1] in names:
            raise InputError(f"{file.shown} names the column {shortened(match[1])!r} twice", "rename one")
        if "\ufffd" in name:
            # polars refuses other encodings in values, and replaces what it cannot read in names.
            raise InputError(
                f"{file.shown} names a column {shortened(name)!r}: the file is not UTF-8 text", "save it as UTF-8"
            )
        if "\r" in name:
            raise InputError(f"the lines of {file.shown} end with CR alone", "end them with LF")
        if '""' in name:
            # polars keeps such a quote doubled.
            raise InputError(
                f"{file.shown} names a column {shortened(name)!r}, with a quote inside", "rename it, or write Parquet"
            )
    return dict.fromkeys(names, pl.String)


def broken_line(path: Path) -> str:
    """` in line 7` of a CSV: the first that is not UTF-8, or holds more values than the header; "" when there is none."""
    if path.suffix.lower() != ".csv":
        return ""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return f" in line {number:,}"
    with path.open(encoding="utf-8", newline="") as text, contextlib.suppress(csv.Error):
        rows = csv.reader(text)
        width = len(next(rows, ()))
        return next((f" in line {rows.line_num:,}" for row in rows if len(row) > width), "")
    return ""


def _scan(
    file: TableFile, kind: str, types: Mapping[str, Dtype], spellings: Mapping[str, str] | None = None
) -> pl.LazyFrame:
    if kind == JSON_LINES:
        return pl.scan_ndjson(_literal(file.path), schema=dict(types))
    missing = {name: spelling for name, spelling in (spellings or {}).items() if spelling and name in types}
    return pl.scan_csv(file.path, schema=dict(types), null_values=missing or None, glob=False)


def _literal(path: Path) -> str:
    """A path for a reader that takes `*`, `?` and `[` in it for patterns of names."""
    return glob.escape(str(path))

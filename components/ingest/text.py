"""CSV and JSON lines: formats that do not say what type a column is.

A column has the type that the user's schema names, or else the narrowest that fits all values of all files: it never depends on which
rows come first. Every column is read as text and converted here, so that a bad value can be shown.
"""

import contextlib
import csv
import glob
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from kfp_ratchet.components.ingest.conversion import MISSING, Dtype, from_text, unreadable
from kfp_ratchet.components.shared.errors import BlockedError, InputError
from kfp_ratchet.components.shared.names import refuse_names, shortened

CSV, JSON_LINES = "CSV", "JSON lines"


def scan_text(paths: Sequence[Path], kind: str, declared: Mapping[str, Dtype]) -> list[pl.LazyFrame]:
    """A lazy frame a file; all have the same type for the same column.

    Raises:
        BlockedError: A value cannot be what the schema says of its column.
        InputError: No step could use a column's name, no text can be what the schema says, or the file is no CSV of ours.
        polars.exceptions.PolarsError: A file cannot be read.
    """
    present = [_names(path, kind) for path in paths]
    for path, names in zip(paths, present, strict=True):
        refuse_names(names, path)
        for name in names:
            _check_type(path, kind, name, declared.get(name))
    types = dict(declared)
    if any(name not in types for names in present for name in names):
        inferred = {path: _inferring(path, kind).collect_schema() for path in paths}
        for name in dict.fromkeys(name for names in present for name in names if name not in declared):
            types[name] = _fitting(name, {path: found[name] for path, found in inferred.items() if name in found}, kind)
    frames = []
    for path, names in zip(paths, present, strict=True):
        converted = {name: types[name] for name in names if from_text(name, types[name]) is not None}
        frame = _reading(path, kind, {name: pl.String if name in converted else types[name] for name in names})
        _check_values(path, frame, {name: dtype for name, dtype in converted.items() if name in declared})
        frames.append(frame.with_columns(from_text(name, dtype) for name, dtype in converted.items()))
    return frames


def _check_type(path: Path, kind: str, name: str, dtype: Dtype | None) -> None:
    if dtype is None or from_text(name, dtype) is not None or (kind == JSON_LINES and dtype.is_nested()):
        return
    raise InputError(
        f"the schema says that column {name!r} of {path} is {dtype}, which {kind} cannot hold",
        "name another type in the schema, and convert in prepare",
    )


def _names(path: Path, kind: str) -> list[str]:
    if kind == JSON_LINES:
        return _inferring(path, kind).collect_schema().names()
    names = pl.scan_csv(path, infer_schema_length=0, glob=False).collect_schema().names()
    mark = next((mark for mark in (";", "\t", "|") if len(names) == 1 and mark in names[0]), "")
    if mark:
        raise InputError(f"{path} is separated by {mark!r}", "write it comma-separated, in UTF-8")
    for name in names:
        if (match := re.fullmatch(r"(.*)_duplicated_\d+", name, re.DOTALL)) and match[1] in names:
            raise InputError(f"{path} names the column {shortened(match[1])!r} twice", "rename one")
        if "\ufffd" in name:
            # polars refuses other encodings in values, and replaces what it cannot read in names.
            raise InputError(
                f"{path} names a column {shortened(name)!r}: the file is not UTF-8 text", "save it as UTF-8"
            )
        if "\r" in name:
            raise InputError(f"the lines of {path} end with CR alone", "end them with LF")
        if '""' in name:
            # polars keeps such a quote doubled.
            raise InputError(
                f"{path} names a column {shortened(name)!r}, with a quote inside", "rename it, or write Parquet"
            )
    return names


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


def _inferring(path: Path, kind: str) -> pl.LazyFrame:
    """A frame with types that fit all its rows; what spells a missing value does not make a column of numbers one of text."""
    if kind == JSON_LINES:
        return pl.scan_ndjson(_literal(path), infer_schema_length=None)
    return pl.scan_csv(path, infer_schema_length=None, null_values=list(MISSING), glob=False)


def _reading(path: Path, kind: str, types: Mapping[str, Any]) -> pl.LazyFrame:
    if kind == JSON_LINES:
        return pl.scan_ndjson(_literal(path), infer_schema_length=None, schema_overrides=types)
    return pl.scan_csv(path, infer_schema_length=0, schema_overrides=types, glob=False)


def _literal(path: Path) -> str:
    """A path for a reader that takes `*`, `?` and `[` in it for patterns of names."""
    return glob.escape(str(path))


def _fitting(name: str, holders: Mapping[Path, pl.DataType], kind: str) -> Dtype:
    """The narrowest type that fits all files' values. Integers beyond 64 bits stay text: they are names, not numbers."""
    types = {path: pl.String() if dtype == pl.Int128 else dtype for path, dtype in holders.items()}
    if len(set(types.values())) > 1:
        # A column without a value is read as text, and fits any type.
        types = {path: dtype for path, dtype in types.items() if dtype != pl.String or not _empty(path, kind, name)}
    fitting = set(types.values()) - {pl.Null()}
    if len(fitting) == 1:
        return fitting.pop()
    return pl.Float64 if fitting and all(dtype.is_numeric() for dtype in fitting) else pl.String


def _empty(path: Path, kind: str, name: str) -> bool:
    return bool(_inferring(path, kind).select(pl.col(name).is_null().all()).collect(engine="streaming").item())


def _check_values(path: Path, frame: pl.LazyFrame, declared: Mapping[str, Dtype]) -> None:
    """Raise for the first column with a text that its declared type cannot hold."""
    if not declared:
        return
    marks = {name: unreadable(name, dtype) for name, dtype in declared.items()}
    counts = frame.select(mark.sum().alias(name) for name, mark in marks.items()).collect(engine="streaming")
    for name, count in counts.row(0, named=True).items():
        if count:
            example = frame.filter(marks[name]).select(name).head(1).collect(engine="streaming").item()
            more = f" (and {count - 1:,} more such)" if count > 1 else ""
            raise BlockedError(
                f"column {name!r} of {path} holds {shortened(example)!r}{more}, which is not {declared[name]}",
                "fix the file, or change the column's dtype in the schema",
            )

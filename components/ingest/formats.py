"""Files of one table as one lazy frame."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from kfp_ratchet.components.ingest.conversion import Dtype
from kfp_ratchet.components.ingest.partitions import partition_columns
from kfp_ratchet.components.ingest.text import CSV, JSON_LINES, broken_line, scan_text
from kfp_ratchet.components.shared.errors import BlockedError, InputError, RatchetError
from kfp_ratchet.components.shared.names import listed, refuse_names, shortened

PARQUET, IPC = "Parquet", "Arrow IPC"
_SUFFIXES = {
    ".parquet": PARQUET, ".pq": PARQUET,
    ".arrow": IPC, ".ipc": IPC, ".feather": IPC,
    ".csv": CSV, ".csv.gz": CSV, ".csv.zst": CSV,
    ".jsonl": JSON_LINES, ".jsonl.gz": JSON_LINES, ".jsonl.zst": JSON_LINES,
    ".ndjson": JSON_LINES, ".ndjson.gz": JSON_LINES, ".ndjson.zst": JSON_LINES,
}  # fmt: skip
_WIDENING = (
    (pl.Int8, pl.Int16, pl.Int32, pl.Int64),
    (pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64),
    (pl.Float32, pl.Float64),
    (pl.Categorical, pl.String),
)
_AGREE = "deliver it again: the files of a table must have the same columns, of the same types"
READ_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""What polars raises for a file that it cannot read: on a damaged one it may panic."""


@dataclass(frozen=True)
class TableFile:
    """A verified file of a table."""

    path: Path
    name: str
    """Its path inside the source."""
    shown: str
    """What messages call it."""


def file_format(file: TableFile) -> str:
    """The format that a file's name promises.

    Raises:
        InputError: None that is supported.
    """
    for suffix, kind in _SUFFIXES.items():
        if file.name.lower().endswith(suffix):
            return kind
    raise InputError(
        f"{file.shown} is not a supported file", f"remove it, or convert it to one of {', '.join(_SUFFIXES)}"
    )


def is_text(files: Sequence[TableFile]) -> bool:
    """Whether the files hold text, so that the user's schema must tell their types."""
    return any(file_format(file) in (CSV, JSON_LINES) for file in files)


def scan_files(files: Sequence[TableFile], declared: Mapping[str, Dtype]) -> pl.LazyFrame:
    """The union of a table's files, with `key=value` folders as columns.

    Args:
        files: In reading order; not empty.
        declared: Types by column from the user's schema, for text formats and for the columns of folders.

    Raises:
        InputError: A file cannot be read, or no step could use a column's name; the file is named.
        BlockedError: A file has other columns than the others, or a value that its column's type cannot hold; both are named.
    """
    kind = file_format(files[0])
    for file in files:
        if file_format(file) != kind:
            raise InputError(
                f"{file.shown} is {file_format(file)}, but {files[0].shown} is {kind}", "keep one format a table"
            )
        if file.path.stat().st_size == 0:
            raise InputError(f"{file.shown} is empty", "remove it, or write it again")
    try:
        if kind in (CSV, JSON_LINES):
            frames = scan_text([file.path for file in files], kind, declared)
        else:
            scan = pl.scan_parquet if kind == PARQUET else pl.scan_ipc
            # Folders become columns below: polars would also take those above the source.
            frames = [scan(file.path, hive_partitioning=False, glob=False) for file in files]
        present = [frame.collect_schema().names() for frame in frames]
        for file, names in zip(files, present, strict=True):
            refuse_names(names, file.shown)
        added = partition_columns([file.name for file in files], declared)
        frames = [
            frame.with_columns(value for name, value in values.items() if name not in names)
            for frame, names, values in zip(frames, present, added, strict=True)
        ]
        common = _agree(files, [frame.collect_schema() for frame in frames])
    except READ_ERRORS as error:
        raise broken(files, declared, error) from error
    if not common:
        raise InputError(f"{files[0].shown} has no columns", "write it again, or remove it")
    return pl.concat([frame.select(pl.col(name).cast(dtype) for name, dtype in common.items()) for frame in frames])


def broken(files: Sequence[TableFile], declared: Mapping[str, Dtype], error: Exception) -> RatchetError:
    """What went wrong while files were read; the first one that cannot be read alone is named."""
    for file in files if len(files) > 1 else ():
        try:
            scan_files([file], declared).select(pl.all().null_count()).collect(engine="streaming")
        except RatchetError as own:
            return own
        except READ_ERRORS as own:
            return broken([file], declared, own)
    reason = " ".join(str(error).split("\n\n")[0].split())
    line = broken_line(files[0].path) if file_format(files[0]) == CSV else ""
    return InputError(f"{files[0].shown} cannot be read{line}: {shortened(reason, 500)}", _remedy(reason))


def _remedy(reason: str) -> str:
    if "utf-8" in reason.lower():
        return "it is not UTF-8 text: save it as UTF-8"
    if "could not parse" in reason:
        return "a quote may have been left open: close it, or write the file again"
    if "more fields" in reason:
        return "a line holds more values than the header names: quote commas inside values, or fix the line"
    return "is it complete? write it again, or remove it"


def _agree(files: Sequence[TableFile], schemas: Sequence[pl.Schema]) -> dict[str, Dtype]:
    """Types that all files' columns can be cast to without loss, in the order of the first file that has what most have."""
    usual = frozenset(Counter(frozenset(schema) for schema in schemas).most_common(1)[0][0])
    model = next(index for index, schema in enumerate(schemas) if usual == set(schema))
    common: dict[str, Dtype] = dict(schemas[model])
    for file, schema in zip(files, schemas, strict=True):
        differences = (
            ("lacks column", [name for name in common if name not in schema]),
            ("adds column", [name for name in schema if name not in common]),
        )
        told = " and ".join(f"{verb} {listed([repr(name) for name in names])}" for verb, names in differences if names)
        if told:
            raise BlockedError(f"{file.shown} {told}, unlike {files[model].shown}", _AGREE)
        for name, dtype in schema.items():
            wider = _wider(common[name], dtype)
            if wider is None:
                raise BlockedError(
                    f"column {name!r} is {dtype} in {file.shown}, but {common[name]} in {files[model].shown}", _AGREE
                )
            common[name] = wider
    return common


def _wider(one: Dtype, other: Dtype) -> Dtype | None:
    """The type that holds both without loss, None when none does."""
    if one == other or other == pl.Null:
        return one
    if one == pl.Null:
        return other
    for family in _WIDENING:
        if one in family and other in family:
            return max(one, other, key=lambda dtype: family.index(dtype.base_type()))
    if isinstance(one, pl.Datetime) and isinstance(other, pl.Datetime) and one.time_zone == other.time_zone:
        return one if one.time_unit == "ns" or other.time_unit == "ms" else other
    return None

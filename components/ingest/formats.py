"""Files of one table as one lazy frame."""

from collections import Counter
from collections.abc import Mapping, Sequence

import polars as pl

from kfp_ratchet.components.ingest.conversion import Dtype, UnreadableError
from kfp_ratchet.components.ingest.partitions import partition_columns
from kfp_ratchet.components.ingest.table_file import TableFile
from kfp_ratchet.components.ingest.text import CSV, JSON_LINES, broken_line, refuse_values, scan_text
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
_PACKED_INSIDE = tuple(suffix for suffix, kind in _SUFFIXES.items() if kind in (PARQUET, IPC))
_PACKERS = (".gz", ".zst")
_MAGIC = {PARQUET: b"PAR1", IPC: b"ARROW1", "a zip archive": b"PK\3\4"}
"""How files begin whose names are sometimes wrong."""
_WIDENING = (
    (pl.Int8, pl.Int16, pl.Int32, pl.Int64),
    (pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64),
    (pl.Float32, pl.Float64),
    (pl.Categorical, pl.String),
)
_AGREE = "deliver it again: the files of a table must have the same columns, of the same types"
READ_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, UnreadableError)
"""What is raised where a file cannot be read, and `broken` puts into words; on a damaged file polars may panic."""


def file_format(file: TableFile) -> str:
    """The format that a file's name promises.

    Raises:
        InputError: None that is supported.
    """
    for suffix, kind in _SUFFIXES.items():
        if file.name.lower().endswith(suffix):
            return kind
    if any(file.name.lower().endswith(f"{inner}{outer}") for inner in _PACKED_INSIDE for outer in _PACKERS):
        raise InputError(
            f"{file.shown} is compressed as a whole, and its format compresses its parts", "deliver it uncompressed"
        )
    raise InputError(
        f"{file.shown} is not a supported file", f"remove it, or convert it to one of {', '.join(_SUFFIXES)}"
    )


def is_text(files: Sequence[TableFile]) -> bool:
    """Whether the files hold text, so that the user's schema must tell their types."""
    return any(file_format(file) in (CSV, JSON_LINES) for file in files)


def scan_files(files: Sequence[TableFile], declared: Mapping[str, Dtype], direct: bool = False) -> pl.LazyFrame:
    """The union of a table's files, with `key=value` folders as columns. Collecting it may raise one of READ_ERRORS.

    Args:
        files: In reading order; not empty.
        declared: Types by column from the user's schema, for text formats and for the columns of folders.
        direct: See `scan_text`.

    Raises:
        InputError: A file cannot be read, or no step could use a column's name; the file is named.
        BlockedError: A file has other columns than the others; both are named.
    """
    kind = file_format(files[0])
    for file in files:
        if file_format(file) != kind:
            raise InputError(
                f"{file.shown} is {file_format(file)}, but {files[0].shown} is {kind}", "keep one format a table"
            )
    try:
        for file in files:
            _check_beginning(file, kind)
        frames, conversions = _frames(files, kind, declared, direct)
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
    table = pl.concat([frame.select(pl.col(name).cast(dtype) for name, dtype in common.items()) for frame in frames])
    return table.with_columns(conversions)


def _check_beginning(file: TableFile, kind: str) -> None:
    with file.path.open("rb") as opened:
        beginning = opened.read(8)
    if not beginning:
        raise InputError(f"{file.shown} is empty", "remove it, or write it again")
    content = next((known for known, magic in _MAGIC.items() if beginning.startswith(magic)), "something else")
    if content != (kind if kind in _MAGIC else "something else"):
        raise InputError(
            f"{file.shown} cannot be read: it is {kind} by its name, and {content} by its content",
            "name it after what it holds, or write it again",
        )


def _frames(
    files: Sequence[TableFile], kind: str, declared: Mapping[str, Dtype], direct: bool = False
) -> tuple[list[pl.LazyFrame], list[pl.Expr]]:
    if kind in (CSV, JSON_LINES):
        return scan_text(files, kind, declared, direct)
    scan = pl.scan_parquet if kind == PARQUET else pl.scan_ipc
    # Folders become columns later: polars would also take those above the source.
    return [scan(file.path, hive_partitioning=False, glob=False) for file in files], []


def broken(files: Sequence[TableFile], declared: Mapping[str, Dtype], error: Exception) -> RatchetError:
    """What went wrong while files were read; the first one that cannot be read alone is named."""
    culprit, kind = files[0], file_format(files[0])
    for file in files:
        try:
            if kind in (CSV, JSON_LINES):
                refuse_values(file, kind, declared)
            else:
                _frames([file], kind, {})[0][0].select(pl.all().null_count()).collect(engine="streaming")
        except RatchetError as own:
            return own
        except READ_ERRORS as own:
            culprit, error = file, own
            break
    reason = " ".join(str(error).split("\n\n")[0].split())
    line = broken_line(culprit.path) if kind == CSV else ""
    return InputError(f"{culprit.shown} cannot be read{line}: {shortened(reason, 500)}", _remedy(reason))


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

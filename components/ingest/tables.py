"""Read a pinned revision of the source into a Dataset, verified file by file."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import polars as pl

from kfp_ratchet.components.ingest.conversion import Dtype
from kfp_ratchet.components.ingest.formats import READ_ERRORS, broken, file_format, is_text, scan_files
from kfp_ratchet.components.ingest.table_file import TableFile
from kfp_ratchet.components.ingest.text import CSV
from kfp_ratchet.components.shared.canonical import dumps
from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.dataset import Dataset, Table, scan_table, write_table
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.journal import journal
from kfp_ratchet.components.shared.manifest import Manifest, counted, list_source, short
from kfp_ratchet.components.shared.parameters import parse_parameter
from kfp_ratchet.components.shared.sources import open_source, parse_source
from kfp_ratchet.components.shared.split import before, end_of, length, moments, refuse_times
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.components.shared.window import Window


def ingest_source(
    source: str, revision: str, columns: str, window: str, schema: str, store: str, dataset_path: str, dataset_uri: str
) -> None:
    """Read the files of `revision` into a Dataset at `dataset_path`.

    Raises:
        InputError: A parameter is missing, or a parameter or a file (it is named) cannot be read, or no row is in the window.
        BlockedError: A file lacks a column of the others, or holds a value that is not of its column's type; both are named. Or a
            time lies outside the calendar.
        RatchetError: A file changed or is gone since it was pinned; it is named.
    """
    called = {"source": source, "revision": revision, "columns": columns, "window": window, "schema": schema}
    with journal(store, dataset_uri, parameters=called) as step:
        roles = parse_parameter(Columns, columns, "columns")
        span = parse_parameter(Window, window, "window")
        if not revision:
            raise InputError("revision is empty", "pass the output `revision` of pin")
        manifest = _manifest(source, revision, Store(store) if store else None)
        uris = parse_source(source)
        main = next(iter(uris))
        tables: dict[str, Table] = {}
        left_out = 0
        for name, uri in uris.items():
            listed = manifest.tables[name]
            step.progress(f"fetching {counted(listed.height, 'file')} of {name!r}")
            opened = open_source(uri)
            paths = opened.fetch(listed, step.progress)
            files = [
                TableFile(path, within, opened.name(within)) for path, within in zip(paths, listed["path"], strict=True)
            ]
            marks = [_mark(file) for file in files]
            step.progress(f"reading {counted(len(files), 'file')} of {name!r}")
            declared = _declared(schema, name, list(uris)) if is_text(files) or _partitioned(files) else {}
            try:
                tables[name], dropped = write_files(
                    files, declared, dataset_path, name, roles.time, span if name == main else Window()
                )
            except READ_ERRORS as error:
                raise broken(files, declared, error) from error
            left_out += dropped
            refuse_times(scan_table(dataset_path, name), f"table {name!r}")
            for file, mark in zip(files, marks, strict=True):
                if _mark(file) != mark:
                    raise RatchetError(f"{file.shown} changed while it was read", "start a new run, which pins it anew")
        if not tables[main].rows:
            if left_out:
                raise InputError(
                    f"none of {counted(left_out, 'row')} of table {main!r} is in the window, which ends at {span.end}",
                    "set a later as_of or window.end, or look for older data",
                )
            raise InputError(f"table {main!r} has no rows", "check the source: it may not be complete yet")
        Dataset(revision=revision, source=dumps(uris), window=dumps(span.model_dump()), tables=tables).write(
            dataset_path
        )
        shape = tables[main]
        step.found(
            f"{counted(shape.rows, 'row')}, {counted(len(shape.columns), 'column')} from {counted(manifest.files, 'file')}, "
            f"revision {short(revision)}",
            revision=revision,
            tables={
                name: {"rows": table.rows, "columns": table.columns, "files": manifest.tables[name].height}
                for name, table in tables.items()
            },
            left_out=left_out,
        )


def _manifest(source: str, revision: str, store: Store | None) -> Manifest:
    """The files that were pinned, or, without a kept manifest, those that are there now, if they are the same."""
    kept = Manifest.load(store, revision) if store else None
    manifest = kept or list_source(source, store)
    if manifest.revision != revision:
        raise RatchetError(
            f"the source is at revision {short(manifest.revision)} and no longer at {short(revision)}, and no manifest "
            "of that is kept",
            "start a new run, which pins it anew",
        )
    if list(manifest.tables) != list(parse_source(source)):
        raise InputError(
            f"source names the tables {list(parse_source(source))}, but pinned were {list(manifest.tables)}",
            "give ingest the same source as pin",
        )
    return manifest


def _declared(schema: str, table: str, tables: list[str]) -> Mapping[str, Dtype]:
    if not schema:
        return {}
    # pandera takes two seconds to import, and sources that know their types do not need it.
    from kfp_ratchet.components.validate.schema import declared_types, parse_schemas

    return declared_types(parse_schemas(schema, tables).get(table))


def write_files(
    files: Sequence[TableFile], declared: Mapping[str, Dtype], folder: str, name: str, time: str, window: Window
) -> tuple[Table, int]:
    """Write the rows of a table's files that are in the window; also returns how many are not.

    Raises:
        RatchetError: As `scan_files`, and when the disk is full. READ_ERRORS, which `broken` puts into words.
    """
    if not is_text(files):
        rows, left_out = _within(scan_files(files, declared), time, window)
        return write_table(rows, folder, name), left_out
    # Text is read once: what is outside the window is looked for in what was written.
    table = _write_text(files, declared, folder, name)
    rows, left_out = _within(scan_table(folder, name), time, window)
    return (write_table(rows, folder, name) if left_out else table), left_out


def _write_text(files: Sequence[TableFile], declared: Mapping[str, Dtype], folder: str, name: str) -> Table:
    rows = scan_files(files, declared, direct=True)
    try:
        return write_table(rows, folder, name)
    except pl.exceptions.ComputeError:
        if file_format(files[0]) != CSV:
            raise
        # A number that is written as polars' reader takes none. What was inferred is known by now.
        return write_table(scan_files(files, {**rows.collect_schema(), **declared}), folder, name)


def _within(rows: pl.LazyFrame, time: str, window: Window) -> tuple[pl.LazyFrame, int]:
    """Rows inside the window, and how many are not. Rows without a time stay: they are validation's to judge.

    The split counts training rows back from the newest row that validation and `prepare` let through. It may be older than the newest
    row here, so twice the window's length is kept.
    """
    if not window.end or time not in rows.collect_schema():
        return rows, 0
    when, end = moments(rows, time), end_of(window.end)
    inside = when < end
    if window.train != "all":
        newest = rows.select(when.filter(inside).max()).collect(engine="streaming").item()
        if isinstance(newest, datetime):
            kept = 2 * (length(window.evaluate) + length(window.train))
            inside &= when > pl.lit(before(newest, kept)).cast(pl.Datetime("us"))
    keep = inside | when.is_null()
    dropped = rows.select((~keep).sum()).collect(engine="streaming").item()
    return rows.filter(keep), int(dropped)


def _mark(file: TableFile) -> tuple[int, int, int]:
    stat = file.path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def _partitioned(files: list[TableFile]) -> bool:
    return any("=" in file.name for file in files)

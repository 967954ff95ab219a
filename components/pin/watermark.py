"""The newest time in a table, from Parquet footers alone."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from kfp_ratchet.components.shared.sources import FileEntry, open_source


def watermark(uri: str, files: Iterable[FileEntry], column: str) -> datetime | None:
    """The largest value of a time column, naive UTC; None when the footers do not tell.

    They do when all files are Parquet, hold the column as a date or timestamp, and every row group has statistics.

    Args:
        uri: Where the table lies.
        files: Its files.
        column: The time column.
    """
    source = open_source(uri)
    newest: list[datetime] = []
    for file in files:
        path = source.locate(file)
        if path is None or not path.name.endswith((".parquet", ".pq")):
            return None
        found = _newest(path, column)
        if found is None:
            return None
        newest += found
    return max(newest, default=None)


def _newest(path: Path, column: str) -> list[datetime] | None:
    """Newest times of the row groups that have any; None when the footer does not tell."""
    from pyarrow import ArrowException
    from pyarrow.parquet import read_metadata

    try:
        footer = read_metadata(path)
    except (ArrowException, OSError):
        return None  # ingest reads the whole file and says better what is wrong with it
    names = [footer.schema.column(index).path for index in range(footer.num_columns)]
    if column not in names:
        return None
    newest: list[datetime] = []
    for group in range(footer.num_row_groups):
        chunk = footer.row_group(group).column(names.index(column))
        statistics = chunk.statistics
        if statistics is not None and statistics.has_null_count and statistics.null_count == chunk.num_values:
            continue
        if statistics is None or not statistics.has_min_max:
            return None
        try:
            moment = _moment(statistics.max)
        except (OverflowError, ValueError, ArrowException):  # beyond the years that Python has
            return None
        if moment is None:
            return None
        newest.append(moment)
    return newest


def _moment(value: Any) -> datetime | None:
    if hasattr(value, "to_pydatetime"):  # nanoseconds come as pandas' own type
        value = value.floor("us").to_pydatetime()
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    return datetime(value.year, value.month, value.day) if isinstance(value, date) else None

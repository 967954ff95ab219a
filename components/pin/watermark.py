"""The newest time in a table, from Parquet footers alone."""

from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from kfp_ratchet.components.shared.sources import Source

_FOOTER_BYTES = 65_536
_MOST_FILES = 2_000
"""Of so many the footers are read in a second or two."""
_LENGTH_BYTES = 8


def watermark(source: Source, files: pl.DataFrame, column: str) -> datetime | None:
    """The largest value of a time column, naive UTC; None when the footers do not tell.

    They do when there are at most 2,000 files, all are Parquet and hold the column as a date or timestamp, and every row group has
    statistics.

    Args:
        source: Where the table lies.
        files: Its listing.
        column: The time column.

    Raises:
        RatchetError: A file cannot be read.
    """
    if files.height > _MOST_FILES or not files["path"].str.contains(r"\.(parquet|pq)$").all():
        return None
    newest: list[datetime] = []
    for index, tail in enumerate(source.tails(files, _FOOTER_BYTES)):
        length = int.from_bytes(tail[-_LENGTH_BYTES:-4], "little") + _LENGTH_BYTES
        if len(tail) < length:
            (tail,) = source.tails(files[index], length)
        found = _newest(tail, column)
        if found is None:
            return None
        newest += found
    return max(newest, default=None)


def _newest(tail: bytes, column: str) -> list[datetime] | None:
    """Newest times of the row groups that have any, from the end of a Parquet file; None when it does not tell."""
    from pyarrow import ArrowException, BufferReader
    from pyarrow.parquet import read_metadata

    try:
        footer = read_metadata(BufferReader(tail))
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

"""Split rows into those that train and those that judge, by the `Window`."""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Literal

import polars as pl

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.window import Window, exclusive_end


@dataclass(frozen=True)
class Split:
    """Training and evaluation rows, both sorted by time then id, and the rule in words."""

    train: pl.DataFrame
    evaluate: pl.DataFrame
    rule: str
    kind: Literal["time", "hash"]


def end_of(text: str) -> pl.Expr:
    """The exclusive end that an ISO date or time stands for, as a microsecond datetime literal; a bare date counts whole.

    Raises:
        ValueError: `text` is neither.
    """
    return pl.lit(exclusive_end(text)).cast(pl.Datetime("us"))


def length(text: str) -> timedelta:
    """The time that a length such as `14d`, `2w` or `36h` stands for."""
    match = re.fullmatch(r"([0-9]+)([hdw])", text)
    if match is None:
        raise ValueError(f"{text!r} is not a length; write e.g. 36h, 14d or 12w")
    return timedelta(hours=int(match[1]) * {"h": 1, "d": 24, "w": 168}[match[2]])


def iso_moments(text: pl.Expr) -> pl.Expr:
    """ISO dates and times as naive UTC microseconds, null where the text is neither.

    Formats are named, since polars would infer one from the first value of each batch; times without a zone count as UTC.
    """
    text = text.str.strip_chars().str.replace(r"^(\d{4}-\d{2}-\d{2}) ", "${1}T")
    local = [text.str.to_datetime(f"%Y-%m-%dT%H:%M{rest}", time_unit="us", strict=False) for rest in (":%S%.f", "")]
    zoned = text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", time_zone="UTC", strict=False)
    date = text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    return pl.coalesce(*local, date, zoned.dt.replace_time_zone(None))


def moments(rows: pl.DataFrame | pl.LazyFrame, column: str) -> pl.Expr:
    """The time column as naive UTC microseconds, whether it is a date, a datetime (any zone) or ISO text."""
    dtype = rows.collect_schema()[column]
    if dtype == pl.String:
        return iso_moments(pl.col(column))
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        return pl.col(column).dt.convert_time_zone("UTC").dt.replace_time_zone(None).cast(pl.Datetime("us"))
    if dtype.is_temporal():
        return pl.col(column).cast(pl.Datetime("us"))
    raise InputError(
        f"time column {column!r} holds {dtype}, not dates or times", "convert it in the schema or in prepare"
    )


def require_roles(present: Sequence[str], columns: Columns, where: str = "the model rows") -> None:
    """Check that every role's column is there.

    Args:
        present: Names of the columns that are there.
        columns: Roles.
        where: Where they are, for the message.

    Raises:
        InputError: One is missing; the message names role, column and the nearest one that is there.
    """
    wanted = [(role, getattr(columns, role)) for role in ("target", "id", "time", "weight")]
    wanted += [("slices", name) for name in columns.slices]
    for role, name in wanted:
        if name and name not in present:
            near = difflib.get_close_matches(name, present, n=1)
            raise InputError(
                f"columns.{role} {name!r} is missing from {where} (has: {', '.join(present)})"
                + (f"; did you mean {near[0]!r}?" if near else ""),
                f"fix columns.{role} in ratchet.yaml, or make the column in prepare",
            )


def split(rows: pl.DataFrame, columns: Columns, window: Window) -> Split:
    """Split rows into training and evaluation rows: a pure function of its arguments.

    Args:
        rows: Model rows, any order; shape (n, columns).
        columns: Roles. `time` decides; without it a hash of `id`; without that too, a hash of the whole row, so that identical rows
            fall on the same side.
        window: The rule.

    Raises:
        InputError: A side would be empty, or a role's column is missing.
    """
    require_roles(rows.columns, columns)
    if not columns.time:
        return _split_by_hash(rows, columns, window)
    when = moments(rows, columns.time)
    rows = rows.with_columns(when.alias("__when")).filter(pl.col("__when").is_not_null())
    if window.end:
        rows = rows.filter(pl.col("__when") < end_of(window.end))
    last = rows["__when"].max()
    if not isinstance(last, datetime):
        raise InputError(
            "no rows are left in the window", f"check window.end ({window.end or 'not set'}) and the time column"
        )
    cut = last - length(window.evaluate)
    rows = rows.sort("__when", *([columns.id] if columns.id else []), maintain_order=True)
    train = rows.filter(pl.col("__when") <= cut)
    if window.train != "all":
        train = train.filter(pl.col("__when") > cut - length(window.train))
    evaluate = rows.filter(pl.col("__when") > cut)
    rule = f"time: evaluated on the last {window.evaluate} ({cut} to {last}), trained on {window.train} before"
    return _checked(
        train.drop("__when"), evaluate.drop("__when"), rule, "time", f"shorten window.evaluate ({window.evaluate})"
    )


def _split_by_hash(rows: pl.DataFrame, columns: Columns, window: Window) -> Split:
    # SHA-256 of text: the same on every machine and in every version of every library. In the order of columns' names, and sorted by
    # what was hashed, so that neither the order of columns nor that of rows matters.
    keys: Iterable[Any] = rows[columns.id] if columns.id else rows.select(sorted(rows.columns)).iter_rows()
    digests = pl.Series("__digest", [sha256(str(key).encode()).digest() for key in keys], dtype=pl.Binary)
    bound = int(window.share * 2**32)
    held = pl.Series("__held", [int.from_bytes(digest[:4]) < bound for digest in digests], dtype=pl.Boolean)
    marked = rows.with_columns(digests, held).sort(columns.id or "__digest")
    train, evaluate = (marked.filter(side).drop("__digest", "__held") for side in (~pl.col("__held"), pl.col("__held")))
    what = repr(columns.id) if columns.id else "the whole row"
    rule = (
        f"hash: {window.share:.0%} of the rows, chosen by a hash of {what}, are evaluated on; there is no time column"
    )
    return _checked(train, evaluate, rule, "hash", "add rows or change window.share")


def _checked(
    train: pl.DataFrame, evaluate: pl.DataFrame, rule: str, kind: Literal["time", "hash"], remedy: str
) -> Split:
    for name, side in (("training", train), ("evaluation", evaluate)):
        if side.is_empty():
            raise InputError(f"the {name} window has no rows ({rule})", remedy)
    return Split(train, evaluate, rule, kind)

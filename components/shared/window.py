"""Which rows train and which rows judge."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, model_validator

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.errors import RatchetError

_LENGTH = r"^[1-9][0-9]*[hdw]$"


class Window(BaseModel):
    """Train on what came before, evaluate on the last stretch; without a time column, split by a hash of the id."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: str = Field(
        default="all",
        pattern=rf"^all$|{_LENGTH}",
        description="How far back training rows go: all, or a length such as 90d, 12w or 36h.",
    )
    evaluate: str = Field(
        default="14d", pattern=_LENGTH, description="Length of the evaluation window at the end of the data."
    )
    share: float = Field(
        default=0.2, gt=0, lt=1, description="Without a time column: share of rows to evaluate on, by hash of the id."
    )
    end: str = Field(
        default="",
        description="Rows after this ISO date or time are left out (a date counts whole); the data's own end when not given.",
    )

    @model_validator(mode="after")
    def _end_is_a_time(self) -> Self:
        if self.end:
            end_of(self.end)
        return self


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
    from datetime import datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an ISO date or time; write e.g. 2013-06-30 or 2013-06-30T12:00:00") from None
    moment += timedelta(days=1) if len(text) == len("2013-06-30") else timedelta(microseconds=1)
    return pl.lit(moment.replace(tzinfo=None)).cast(pl.Datetime("us"))


def length(text: str) -> timedelta:
    """The time that a length such as `14d`, `2w` or `36h` stands for."""
    match = re.fullmatch(r"([0-9]+)([hdw])", text)
    if match is None:
        raise ValueError(f"{text!r} is not a length; write e.g. 36h, 14d or 12w")
    return timedelta(hours=int(match[1]) * {"h": 1, "d": 24, "w": 168}[match[2]])


def moments(rows: pl.DataFrame | pl.LazyFrame, column: str) -> pl.Expr:
    """The time column as naive UTC microseconds, whether it is a date, a datetime (any zone) or ISO text."""
    dtype = rows.collect_schema()[column]
    if dtype == pl.String:
        return pl.col(column).str.to_datetime(time_unit="us", strict=False)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        return pl.col(column).dt.convert_time_zone("UTC").dt.replace_time_zone(None).cast(pl.Datetime("us"))
    if dtype.is_temporal():
        return pl.col(column).cast(pl.Datetime("us"))
    raise RatchetError(
        f"time column {column!r} holds {dtype}, not dates or times", "convert it in the schema or in prepare"
    )


def split(rows: pl.DataFrame, columns: Columns, window: Window) -> Split:
    """Split rows into training and evaluation rows: a pure function of its arguments.

    Args:
        rows: Model rows, any order; shape (n, columns).
        columns: Roles; `time` (or, without it, `id`) is used.
        window: The rule.

    Raises:
        RatchetError: A side would be empty, or a needed column is missing.
    """
    for role in ("target", "id", "time"):
        name = getattr(columns, role)
        if name and name not in rows.columns:
            raise RatchetError(
                f"{role} column {name!r} is missing from the model rows (has: {', '.join(rows.columns)})", "fix columns"
            )
    if not columns.time:
        return _split_by_hash(rows, columns, window)
    when = moments(rows, columns.time)
    rows = rows.with_columns(when.alias("__when")).filter(pl.col("__when").is_not_null())
    if window.end:
        rows = rows.filter(pl.col("__when") < end_of(window.end))
    last = rows["__when"].max()
    if last is None:
        raise RatchetError(
            "no rows are left in the window", f"check window.end ({window.end or 'not set'}) and the time column"
        )
    cut = last - length(window.evaluate)  # type: ignore[operator]
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
    if not columns.id:
        raise RatchetError(
            "neither a time nor an id column is set, so rows cannot be split", "set columns.time or columns.id"
        )
    # SHA-256 of the id as text: the same on every machine and in every version of every library.
    from hashlib import sha256

    bound = int(window.share * 2**32)
    held = [int.from_bytes(sha256(str(key).encode()).digest()[:4]) < bound for key in rows[columns.id]]
    marked = rows.with_columns(pl.Series("__held", held, dtype=pl.Boolean)).sort(columns.id)
    train = marked.filter(~pl.col("__held")).drop("__held")
    evaluate = marked.filter("__held").drop("__held")
    rule = f"hash: {window.share:.0%} of the rows, chosen by a hash of {columns.id!r}, are evaluated on; there is no time column"
    return _checked(train, evaluate, rule, "hash", "add rows or change window.share")


def _checked(
    train: pl.DataFrame, evaluate: pl.DataFrame, rule: str, kind: Literal["time", "hash"], remedy: str
) -> Split:
    for name, side in (("training", train), ("evaluation", evaluate)):
        if side.is_empty():
            raise RatchetError(f"the {name} window has no rows ({rule})", remedy)
    return Split(train, evaluate, rule, kind)

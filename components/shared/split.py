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
from kfp_ratchet.components.shared.errors import BlockedError, InputError
from kfp_ratchet.components.shared.names import listed
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


ISO_FORMS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%.f%#z")
"""What a date or time may look like; no text looks like two of them."""


def iso_moments(text: pl.Expr, forms: Sequence[str] = ISO_FORMS) -> pl.Expr:
    """ISO dates and times as naive UTC microseconds, null where the text is of none of the forms.

    Forms are named, since polars would infer one from the first value of each batch; times without a zone count as UTC.
    """
    text = text.str.strip_chars().str.replace(r"^(\d{4}-\d{2}-\d{2}) ", "${1}T")
    return pl.coalesce(iso_moment(text, form) for form in forms)


def iso_moment(text: pl.Expr, form: str) -> pl.Expr:
    """Text of one form, with no spaces around it and a T inside, as naive UTC microseconds."""
    zone = "UTC" if form.endswith("z") else None
    moment = text.str.to_datetime(form, time_unit="us", time_zone=zone, strict=False)
    return moment.dt.replace_time_zone(None)


def moments(rows: pl.DataFrame | pl.LazyFrame, column: str) -> pl.Expr:
    """The time column as naive UTC microseconds, whether it is a date, a datetime (any zone) or ISO text.

    Null where it is none, or outside the years 1 to 9999.
    """
    dtype = rows.collect_schema()[column]
    moment = pl.col(column)
    if dtype == pl.String:
        moment = iso_moments(moment)
    elif isinstance(dtype, pl.Datetime) and dtype.time_zone:
        moment = moment.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    if dtype in (pl.String, pl.Date, pl.Datetime):
        return pl.when(_in_the_calendar(moment)).then(moment.cast(pl.Datetime("us"), strict=False))
    raise InputError(
        f"time column {column!r} holds {dtype}, not dates or times", "convert it in the schema or in prepare"
    )


def refuse_times(rows: pl.DataFrame | pl.LazyFrame, where: str) -> None:
    """Refuse dates and times that are none of the years 1 to 9999: no step could read, show or compare them.

    Raises:
        BlockedError: A column of `where` holds one.
    """
    times = [name for name, dtype in rows.collect_schema().items() if dtype in (pl.Date, pl.Datetime)]
    outside = rows.lazy().select((pl.col(name).is_not_null() & ~_in_the_calendar(pl.col(name))).any() for name in times)
    for name, found in outside.collect(engine="streaming").to_dict(as_series=False).items():
        if found[0]:
            raise BlockedError(
                f"column {name!r} of {where} holds a time outside the years 1 to 9999",
                "fix the source; was a number of seconds or nanoseconds read in another unit?",
            )


def _in_the_calendar(time: pl.Expr) -> pl.Expr:
    # No year at all is what polars says of the farthest.
    return time.dt.year().is_between(1, 9999).fill_null(False)


def require_roles(present: Sequence[str], columns: Columns, where: str = "the model rows") -> None:
    """Check that every role's column is there.

    Args:
        present: Names of the columns that are there.
        columns: Roles.
        where: Where they are, for the message.

    Raises:
        InputError: One is missing; the message names role, column and the nearest one that is there.
    """
    wanted = [(role, getattr(columns, role)) for role in ("target", "id", "time", "weight", "cluster")]
    wanted += [(role, name) for role in ("slices", "ignore") for name in getattr(columns, role)]
    for role, name in wanted:
        if name and name not in present:
            near = difflib.get_close_matches(name, present, n=1)
            raise InputError(
                f"columns.{role} {name!r} is missing from {where} (has: {listed(present)})"
                + (f"; did you mean {near[0]!r}?" if near else ""),
                f"fix columns.{role} in ratchet.yaml, or make the column in prepare",
            )


def require_kinds(rows: pl.DataFrame, columns: Columns) -> None:
    """Check that columns with a role hold values that can be told as text, and weights numbers.

    Raises:
        InputError: One does not; the message names role, column and type.
    """
    roles = [("target", columns.target), ("id", columns.id), ("cluster", columns.cluster)]
    roles += [("slices", name) for name in columns.slices]
    for role, name in roles:
        if name in rows.columns and not is_plain(rows.schema[name]):
            raise InputError(
                f"columns.{role} {name!r} holds {rows.schema[name]}, which has no text", "convert it in prepare"
            )
    weight = rows.schema.get(columns.weight, pl.Float64())
    if not (weight.is_numeric() or weight == pl.Boolean):
        raise InputError(f"columns.weight {columns.weight!r} holds {weight}, not numbers", "convert it in prepare")


def is_plain(dtype: pl.DataType) -> bool:
    """Whether values can be told as text, as names of classes and slices are."""
    return not (dtype.is_nested() or dtype in (pl.Binary, pl.Object, pl.Duration))


def split(rows: pl.DataFrame, columns: Columns, window: Window) -> Split:
    """Split rows into training and evaluation rows: a pure function of its arguments.

    Args:
        rows: Model rows, any order; shape (n, columns).
        columns: Roles. `time` decides; without it a hash of `id`; without that too, a hash of the whole row, so that identical rows
            fall on the same side.
        window: The rule.

    Raises:
        InputError: A side would be empty, or a role's column is missing or cannot have that role.
    """
    require_roles(rows.columns, columns)
    require_kinds(rows, columns)
    if not columns.time:
        return _split_by_hash(rows, columns, window)
    when = moments(rows, columns.time)
    sides = sides_by_time(rows, columns, window)
    rows = rows.filter(sides.train | sides.evaluate)
    rows = rows.sort(when, *([columns.id] if columns.id else []), maintain_order=True)
    train, evaluate = rows.filter(sides.train), rows.filter(sides.evaluate)
    sides.require(not train.is_empty(), not evaluate.is_empty())
    return Split(train, evaluate, sides.rule, "time")


@dataclass(frozen=True)
class Sides:
    """Which rows train and which are evaluated on, as expressions over the rows, and the rule in words."""

    train: pl.Expr
    evaluate: pl.Expr
    rule: str
    remedy: str

    def require(self, train: bool, evaluate: bool) -> None:
        """Check that both sides have rows.

        Raises:
            InputError: One has none.
        """
        _require_rows(train, evaluate, self.rule, self.remedy)


def sides_by_time(rows: pl.DataFrame | pl.LazyFrame, columns: Columns, window: Window) -> Sides:
    """The sides of rows with a time, without sorting or keeping any of them.

    Raises:
        InputError: No row is in the window, or the column is no time.
    """
    when = moments(rows, columns.time)
    inside = when.is_not_null() & (when < end_of(window.end)) if window.end else when.is_not_null()
    last = rows.lazy().select(when.filter(inside).max()).collect(engine="streaming").item()
    if not isinstance(last, datetime):
        raise InputError(
            "no rows are left in the window", f"check window.end ({window.end or 'not set'}) and the time column"
        )
    cut = before(last, length(window.evaluate))
    trains = inside & (when <= cut)
    if window.train != "all":
        trains &= when > before(cut, length(window.train))
    rule = f"time: evaluated on the last {window.evaluate} ({cut} to {last}), trained on {window.train} before"
    return Sides(trains, inside & (when > cut), rule, f"shorten window.evaluate ({window.evaluate})")


def before(moment: datetime, span: timedelta) -> datetime:
    """The moment a span earlier, at least the first one that there is."""
    return moment - span if moment - datetime.min > span else datetime.min


def _split_by_hash(rows: pl.DataFrame, columns: Columns, window: Window) -> Split:
    # Sorted by what was hashed, so that neither the order of columns nor that of rows matters.
    digests = _digests(rows, columns)
    held = _held(digests, window)
    order = (rows[columns.id] if columns.id else digests).arg_sort()
    train, evaluate = (rows[order].filter(side.gather(order)) for side in (~held, held))
    require_hash_sides(not train.is_empty(), not evaluate.is_empty(), columns, window)
    return Split(train, evaluate, _hash_rule(columns, window), "hash")


def held_by_hash(rows: pl.DataFrame, columns: Columns, window: Window) -> pl.Series:
    """Whether a row is evaluated on when there is no time column; shape (rows,)."""
    return _held(_digests(rows, columns), window)


def require_hash_sides(train: bool, evaluate: bool, columns: Columns, window: Window) -> None:
    """Check that both sides of rows without a time have rows.

    Raises:
        InputError: One has none.
    """
    _require_rows(train, evaluate, _hash_rule(columns, window), "add rows or change window.share")


def _digests(rows: pl.DataFrame, columns: Columns) -> pl.Series:
    # SHA-256 of text: the same on every machine and in every version of every library. In the order of columns' names.
    keys: Iterable[Any] = rows[columns.id] if columns.id else rows.select(sorted(rows.columns)).iter_rows()
    return pl.Series([sha256(str(key).encode()).digest() for key in keys], dtype=pl.Binary)


def _held(digests: pl.Series, window: Window) -> pl.Series:
    bound = int(window.share * 2**32)
    return pl.Series([int.from_bytes(digest[:4]) < bound for digest in digests], dtype=pl.Boolean)


def _hash_rule(columns: Columns, window: Window) -> str:
    what = repr(columns.id) if columns.id else "the whole row"
    return (
        f"hash: {window.share:.0%} of the rows, chosen by a hash of {what}, are evaluated on; there is no time column"
    )


def _require_rows(train: bool, evaluate: bool, rule: str, remedy: str) -> None:
    for name, there in (("training", train), ("evaluation", evaluate)):
        if not there:
            raise InputError(f"the {name} window has no rows ({rule})", remedy)

"""Cron expressions as a Kubeflow Pipelines server takes them, and what one means in a time zone: it fires when the clocks there say so.

What is sent to a server has always six fields, seconds first: with five, programs disagree about which one is missing.
"""

import heapq
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

from croniter import CroniterBadCronError, CroniterBadDateError, croniter

_NAMES = ("second", "minute", "hour", "day of month", "month", "day of week")
_RANGES = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_DESCRIPTORS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
_VALUE = r"([0-9]+|[A-Za-z]{3})"
_ITEM = re.compile(rf"(\*|\?|{_VALUE}(-{_VALUE})?)(/[0-9]+)?")
_BEFORE = timedelta(hours=26)
"""No clock is put back by more than a day."""

Values = tuple[int, ...] | None
"""Of a field; None for every one."""


class CronError(ValueError):
    """A cron expression that cannot be used; says which field and why."""


@dataclass(frozen=True)
class Cron:
    """A cron expression. With both days of the month and of the week restricted, either is enough."""

    second: Values
    minute: Values
    hour: Values
    day: Values
    month: Values
    weekday: Values
    """0 is Sunday."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read five fields, six with seconds first, or a word such as @daily.

        Raises:
            CronError: A server would refuse it, or it never fires.
        """
        given = text.strip()
        if given.startswith("@"):
            if given not in _DESCRIPTORS:
                hint = "; for an interval write `every: 6h`" if given.startswith("@every") else ""
                raise CronError(f"{given!r} is not one of {', '.join(_DESCRIPTORS)}{hint}")
            given = _DESCRIPTORS[given]
        if "TZ=" in given:
            raise CronError(f"{text!r} names a time zone, which no server takes; write it in `time_zone`")
        fields = given.split()
        if len(fields) not in (5, 6):
            raise CronError(
                f"{text!r} has {len(fields)} fields; write five (minute hour day month weekday), or six with seconds first"
            )
        fields = ["0", *fields] if len(fields) == 5 else fields
        for name, field in zip(_NAMES, fields, strict=True):
            _refuse_strange(name, field)
        values = [_values(at, field) for at, field in enumerate(fields)]
        cron = cls(*values)
        if cron.day and cron.weekday and any(fields[at].startswith("*/") for at in (3, 5)):
            raise CronError(
                f"{text!r} restricts day of month and day of week, one of them by `*/`: programs disagree whether both or either must fit; "
                "list the days"
            )
        if cron.next_naive(datetime(2000, 1, 1)) is None:
            raise CronError(f"{text!r} never fires: there is no such day")
        return cron

    def __str__(self) -> str:
        """Six fields, seconds first; the same for all ways to write it."""
        values = (self.second, self.minute, self.hour, self.day, self.month, self.weekday)
        return " ".join(_written(at, field) for at, field in enumerate(values))

    def next_naive(self, after: datetime) -> datetime | None:
        """The first time after `after` on a clock that is never changed; None when there is none."""
        return next(self._naive(after), None)

    def _naive(self, after: datetime) -> Iterator[datetime]:
        times = croniter(str(self), after, second_at_beginning=True, ret_type=datetime)
        while True:
            try:
                yield times.get_next()
            except CroniterBadDateError:
                return

    def instants(self, zone: tzinfo, after: datetime) -> Iterator[datetime]:
        """Every later instant (UTC) at which clocks in a zone read what this says, in order.

        A time that clocks skip is left out; one that they read twice comes twice.
        """
        waiting: list[datetime] = []
        for local in self._naive(after.astimezone(zone).replace(tzinfo=None) - _BEFORE):
            found = {local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
            real = sorted(each for each in found if each.astimezone(zone).replace(tzinfo=None) == local)
            # From here on none can come before the first of these.
            while real and waiting and waiting[0] < real[0]:
                yield heapq.heappop(waiting)
            for each in real:
                if each > after:
                    heapq.heappush(waiting, each)
        while waiting:
            yield heapq.heappop(waiting)

    def shifted(self, by: timedelta) -> Self:
        """What to tell a server whose clock differs, so that it fires at the same instants.

        Args:
            by: Server's clock minus the clock that this is about.

        Raises:
            CronError: No one cron can say it.
        """
        seconds = int(by.total_seconds())
        if seconds % 60:
            raise CronError("its clock differs from the server's by a part of a minute")
        if not seconds:
            return self
        hours = self.hour if self.hour is not None else tuple(range(24))
        minutes = self.minute if self.minute is not None else tuple(range(60))
        moved = [divmod(hour * 60 + minute + seconds // 60, 24 * 60) for hour in hours for minute in minutes]
        times = {divmod(time, 60) for _, time in moved}
        days = {day for day, _ in moved}
        new_hours, new_minutes = {hour for hour, _ in times}, {minute for _, minute in times}
        if len(times) != len(new_hours) * len(new_minutes):
            raise CronError("on the server's clock its minutes would differ from hour to hour")
        hour = None if len(new_hours) == 24 else tuple(sorted(new_hours))
        minute = None if len(new_minutes) == 60 else tuple(sorted(new_minutes))
        if self.day is None and self.month is None and self.weekday is None:
            return type(self)(self.second, minute, hour, None, None, None)
        if len(days) > 1:
            raise CronError(
                "on the server's clock some of its times are on the day before or after, and its days are restricted"
            )
        day, weekday = self._moved_days(days.pop())
        return type(self)(self.second, minute, hour, day, self.month, weekday)

    def _moved_days(self, by: int) -> tuple[Values, Values]:
        if not by:
            return self.day, self.weekday
        if self.month is not None and self.day is None:
            raise CronError(
                "on the server's clock it is on another day, which at the end of a month is in another month"
            )
        weekday = None if self.weekday is None else tuple(sorted((each + by) % 7 for each in self.weekday))
        if self.day is None:
            return None, weekday
        if self.month is not None and weekday is not None:
            raise CronError(
                "on the server's clock it is on another day, and days of both kinds and months are restricted"
            )
        shortest = min(
            28 if month == 2 else 30 if month in (4, 6, 9, 11) else 31 for month in self.month or range(1, 13)
        )
        # Within every month that it is about, and in all of them.
        low, high = (1, shortest - 1) if by > 0 else (2, shortest)
        if min(self.day) < low or max(self.day) > high:
            raise CronError("on the server's clock it is on another day, which at the end of a month no cron can say")
        return tuple(each + by for each in self.day), weekday


def _refuse_strange(name: str, field: str) -> None:
    for item in field.split(","):
        found = _ITEM.fullmatch(item)
        if found is None or ("?" in item and not name.startswith("day")) or item.startswith("?/"):
            raise CronError(
                f"the {name} {field!r} is not what a server reads: numbers, names, *, ranges a-b, steps /n and lists a,b"
            )
        if found[2] and found[2].isalpha() and name not in ("month", "day of week"):
            raise CronError(f"the {name} {field!r} must be a number")


def _values(at: int, field: str) -> Values:
    low, high = _RANGES[at]
    try:
        # Each for itself, so that the message can name it; as the minute to croniter means the same for seconds.
        expanded = croniter.expand(
            " ".join(_read_as_all(field) if other == max(at, 1) else "*" for other in range(1, 6))
        )[0][max(at, 1) - 1]
    except (CroniterBadCronError, ValueError, KeyError):
        raise CronError(f"the {_NAMES[at]} {field!r} is not within {low} to {high}") from None
    for item in field.split(","):
        begin, _, end = item.partition("/")[0].partition("-")
        if begin.isdigit() and end.isdigit() and int(begin) > int(end):
            raise CronError(f"the {_NAMES[at]} {field!r} runs backwards; write two ranges: {begin}-{high},{low}-{end}")
        step = item.partition("/")[2]
        if step and not 0 < int(step) <= high - low + 1:
            raise CronError(f"the {_NAMES[at]} {field!r} has a step that is longer than the whole")
    # For every minute croniter says "*".
    values = tuple(sorted({each for each in expanded if isinstance(each, int)}))
    return None if "*" in expanded or len(values) == high - low + 1 else values


def _read_as_all(field: str) -> str:
    return "*" if field == "?" else field


def _written(at: int, values: Values) -> str:
    if values is None:
        return "*"
    low, high = _RANGES[at]
    step = values[1] - values[0] if len(values) > 2 else 0
    # Not for days: `*/` there changes how the two kinds of days are put together.
    if at < 3 and step > 1 and values == tuple(range(low, high + 1, step)):
        return f"*/{step}"
    return ",".join(_runs(values))


def _runs(values: Sequence[int]) -> Iterator[str]:
    begin = previous = values[0]
    for value in (*values[1:], None):
        if value is not None and value == previous + 1:
            previous = value
            continue
        if previous - begin >= 2:
            yield f"{begin}-{previous}"
        else:
            yield from map(str, range(begin, previous + 1))
        if value is not None:
            begin = previous = value

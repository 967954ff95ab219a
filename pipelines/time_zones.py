"""Time zones by name, and when their clocks are changed."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from kfp_ratchet.components.shared.names import suggestion

_FAR = timedelta(days=800)
"""Who has not changed clocks within two years does not change them."""


def time_zone(name: str) -> tzinfo:
    """A zone by its name in the IANA database.

    Raises:
        ValueError: There is none; names the nearest.
    """
    if name == "UTC":
        return UTC
    known = available_timezones() - {"localtime", "Factory", "posixrules"}
    if name in known:
        return ZoneInfo(name)
    folded = {each.casefold(): each for each in known}
    same = folded.get(name.casefold().replace(" ", "_"))
    cities = {each.rpartition("/")[2].casefold(): each for each in sorted(known, reverse=True)}
    same = same or cities.get(name.casefold().replace(" ", "_"))
    told = f"did you mean {same!r}?" if same else suggestion(name, sorted(known)) if _near(name, known) else ""
    raise ValueError(f"there is no time zone {name!r}; {told or 'write one such as Europe/Berlin or UTC'}")


def _near(name: str, known: set[str]) -> bool:
    return suggestion(name, known).startswith("did you mean")


@dataclass(frozen=True)
class Period:
    """A time in which two clocks differ by the same."""

    begin: datetime | None
    """UTC; None when clocks have not been changed lately."""
    end: datetime | None
    """UTC, not part of it; None when nothing is known to end it, or nobody looked so far ahead."""
    ahead: timedelta
    """How far the first clock is ahead of the second."""


def periods(zone: tzinfo, other: tzinfo, now: datetime, changes: int = 2) -> list[Period]:
    """The period that holds `now` and those after it, until so many changes ahead; the last one has no end.

    Args:
        zone: The first clock's.
        other: The second clock's.
        now: With a time zone.
        changes: How many changes to look ahead.
    """
    now = now.astimezone(UTC).replace(microsecond=0)
    begin = _begin(zone, other, now)
    found: list[Period] = []
    at = now
    for _ in range(changes):
        change = _next_change(zone, other, at)
        if change is None:
            break
        found.append(Period(begin, change, _ahead(zone, other, at)))
        begin = at = change
    return [*found, Period(begin, None, _ahead(zone, other, at))]


def _begin(zone: tzinfo, other: tzinfo, now: datetime) -> datetime | None:
    for day in _days():
        if _ahead(zone, other, now - day) != _ahead(zone, other, now):
            return _bisected(zone, other, now - day, now - day + timedelta(days=1))
    return None


def _next_change(zone: tzinfo, other: tzinfo, after: datetime) -> datetime | None:
    for day in _days():
        if _ahead(zone, other, after + day) != _ahead(zone, other, after):
            return _bisected(zone, other, after + day - timedelta(days=1), after + day)
    return None


def _days() -> Iterator[timedelta]:
    return (timedelta(days=day) for day in range(1, _FAR.days))


def _bisected(zone: tzinfo, other: tzinfo, before: datetime, after: datetime) -> datetime:
    """The first second at which the clocks differ as they do at `after`."""
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=int((after - before).total_seconds()) // 2)
        if _ahead(zone, other, middle) == _ahead(zone, other, before):
            before = middle
        else:
            after = middle
    return after


def _ahead(zone: tzinfo, other: tzinfo, at: datetime) -> timedelta:
    return (at.astimezone(zone).utcoffset() or timedelta()) - (at.astimezone(other).utcoffset() or timedelta())

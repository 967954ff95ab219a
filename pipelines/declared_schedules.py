"""A schedule as `pipelines.yaml` declares it, and the recurring runs that it takes on a server.

A server knows no time zones. A cron of another zone becomes one recurring run for each time between two changes of clocks, as far as two
changes ahead.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from kfp_ratchet.pipelines.crons import Cron, CronError
from kfp_ratchet.pipelines.server.objects import Trigger
from kfp_ratchet.pipelines.time_zones import periods, time_zone

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_YEAR = 9000
"""The calendar ends soon after: what counts on from there would leave it."""
_SECOND = timedelta(seconds=1)
_CHANGES = 2
"""How many changes of clocks ahead there are recurring runs for: about a year."""


@dataclass(frozen=True)
class Span:
    """One recurring run that a schedule takes: its trigger, and when it is the one that fires."""

    since: datetime | None
    """When clocks were changed, which tells spans of one schedule apart; None when the schedule needs but one."""
    trigger: Trigger


class DeclaredSchedule(BaseModel):
    """When a pipeline is started, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cron: str = Field(
        default="",
        description="minute hour day month weekday, or the same with seconds first, or a word such as @daily; by the clocks of time_zone.",
        examples=["0 3 * * *"],
    )
    every: str = Field(
        default="",
        pattern=r"^$|^[1-9][0-9]{0,5}[smhdw]$",
        description="Instead of cron: a length such as 90s, 30m, 6h, 2d or 1w, counted from start; without a start from midnight UTC of "
        "1970-01-01, so that 6h is 0, 6, 12 and 18 o'clock UTC.",
        examples=["6h"],
    )
    time_zone: str = Field(
        default="UTC",
        description="Time zone of cron, start and end, such as Europe/Berlin.",
        examples=["Europe/Berlin"],
    )
    experiment: str = Field(
        default="",
        description="Where the runs are filed; the first of `experiments`, or else the pipeline's name, when not given.",
        examples=["flights"],
    )
    parameters: dict[str, Any] = Field(
        default={},
        description="Parameters of these runs, where they are not the pipeline's defaults.",
        examples=[{"trials": 40}],
    )
    start: str = Field(
        default="",
        description="ISO date or time before which nothing is started.",
        examples=["2026-12-01", "2026-12-01T06:00"],
    )
    end: str = Field(
        default="", description="ISO date or time from which on nothing is started.", examples=["2027-06-30"]
    )
    catch_up: bool = Field(
        default=False,
        description="Whether times that were missed while the server was down, or since start, are made up for one by one.",
    )
    max_concurrency: int = Field(
        default=1, ge=1, le=10, description="How many runs of the schedule may go on at once; another one waits."
    )
    enabled: bool = Field(default=True, description="false keeps the schedule on the server, paused.")

    @field_validator("cron")
    @classmethod
    def _cron_can_be_read(cls, text: str) -> str:
        if text:
            Cron.parse(text)
        return text

    @field_validator("time_zone")
    @classmethod
    def _zone_exists(cls, name: str) -> str:
        time_zone(name)
        return name

    @field_validator("start", "end")
    @classmethod
    def _is_a_time(cls, text: str) -> str:
        if text and _instant(text, UTC).year > _LAST_YEAR:
            raise ValueError(f"{text} is after the year {_LAST_YEAR}")
        return text

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if bool(self.cron) == bool(self.every):
            raise ValueError("give either cron or every")
        start, end = self.window
        if start and end and end <= start:
            raise ValueError(f"end {self.end} is not after start {self.start}")
        return self

    @property
    def zone(self) -> tzinfo:
        """Its time zone."""
        return time_zone(self.time_zone)

    @property
    def interval(self) -> timedelta:
        """Of `every`; zero with a cron."""
        return timedelta(seconds=int(self.every[:-1]) * _UNITS[self.every[-1]]) if self.every else timedelta()

    @property
    def window(self) -> tuple[datetime | None, datetime | None]:
        """Start, and end (not part of it), UTC."""
        return (
            _instant(self.start, self.zone) if self.start else None,
            _instant(self.end, self.zone) if self.end else None,
        )

    def over(self, now: datetime) -> bool:
        """Whether nothing will be started any more."""
        end = self.window[1]
        return end is not None and end <= now

    def spans(self, server_zone: tzinfo, now: datetime, backfill: bool = False) -> list[Span]:
        """The recurring runs it takes.

        Args:
            server_zone: In which the server reads crons.
            now: With a time zone.
            backfill: Whether times since a start that has passed are to be made up for; else what is past is past.

        Returns:
            In order of time; none when it is over.

        Raises:
            CronError: No cron says on the server's clock what this one says on its own.
        """
        now = now.astimezone(UTC)
        if self.over(now):
            return []
        return [self._periodic(now, backfill)] if self.every else list(self._by_cron(server_zone, now, backfill))

    def due(self, after: datetime) -> Iterator[datetime]:
        """Every instant (UTC) after `after` at which it is due, in order."""
        start, end = self.window
        begin = max(after, start - _SECOND) if start else after
        found = self._ticks(begin) if self.every else Cron.parse(self.cron).instants(self.zone, begin)
        for instant in found:
            if end and instant >= end:
                return
            yield instant

    def _ticks(self, after: datetime) -> Iterator[datetime]:
        anchor = self.window[0] or _EPOCH
        count = (after - anchor) // self.interval + 1
        while True:
            yield (anchor + count * self.interval).astimezone(UTC)
            count += 1

    def _periodic(self, now: datetime, backfill: bool) -> Span:
        start, end = self.window
        # A server fires one interval after the time it is told, and at once when that has passed; so it is told the tick before the next.
        upcoming = start if start and (start > now or (backfill and self.catch_up)) else next(self._ticks(now))
        seconds = int(self.interval.total_seconds())
        told = Trigger(interval_seconds=seconds, start=upcoming - self.interval, end=end and end - _SECOND)
        return Span(None, told)

    def _by_cron(self, server_zone: tzinfo, now: datetime, backfill: bool) -> Iterator[Span]:
        start, end = self.window
        cron = Cron.parse(self.cron)
        pieces: list[tuple[datetime | None, datetime | None, str]] = []
        for period in periods(self.zone, server_zone, max(now, start) if start else now, _CHANGES):
            if end and period.begin and period.begin >= end:
                continue
            try:
                text = str(cron.shifted(-period.ahead))
            except CronError as error:
                raise CronError(
                    f"the cron {self.cron!r} of {self.time_zone} cannot be told a server that has no time zones: {error}"
                ) from None
            if pieces and pieces[-1][2] == text:
                pieces[-1] = (pieces[-1][0], period.end, text)
            else:
                pieces.append((period.begin, period.end, text))
        for begin, stop, text in pieces:
            since = begin if len(pieces) > 1 else None
            first = max(filter(None, [start, since]), default=None)
            last = min(filter(None, [end, stop]), default=None)
            told = first if first and (first > now or (backfill and self.catch_up and first == start)) else None
            # Whether a server counts the very instants of start and end is not known: a second before, both answers mean the same.
            yield Span(since, Trigger(cron=text, start=told and told - _SECOND, end=last and last - _SECOND))


def same_trigger(present: Trigger, wanted: Trigger, now: datetime) -> bool:
    """Whether a recurring run fires from now on as another one would; a start that has passed no longer counts."""
    if (present.cron, present.interval_seconds, present.end) != (wanted.cron, wanted.interval_seconds, wanted.end):
        return False
    if wanted.interval_seconds:
        return _next_tick(present, now) == _next_tick(wanted, now)
    return _upcoming(present.start, now) == _upcoming(wanted.start, now)


def _upcoming(start: datetime | None, now: datetime) -> datetime | None:
    return start if start and start > now else None


def _next_tick(trigger: Trigger, now: datetime) -> datetime | None:
    if trigger.start is None:
        return None  # counted from when it was made, which nobody chose
    interval = timedelta(seconds=trigger.interval_seconds)
    return trigger.start + max(1, (now - trigger.start) // interval + 1) * interval


def _instant(text: str, zone: tzinfo) -> datetime:
    if not re.match(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?$", text):
        raise ValueError(f"{text!r} is not an ISO date or time such as 2026-12-01 or 2026-12-01T06:00")
    try:
        told = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an ISO date or time: {error}") from None
    if told.microsecond:
        raise ValueError(f"{text!r} has parts of a second, which no server keeps")
    return (told if told.tzinfo else told.replace(tzinfo=zone)).astimezone(UTC)

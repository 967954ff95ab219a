"""Crons as a server reads them, and what one means by the clocks of a time zone."""

from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from kfp_ratchet.pipelines.crons import Cron, CronError
from kfp_ratchet.pipelines.declared_schedules import DeclaredSchedule
from kfp_ratchet.pipelines.time_zones import periods, time_zone

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Pacific/Kiritimati",
    "Africa/Casablanca",
    "UTC",
]


@pytest.mark.parametrize(
    ("given_text", "sent"),
    [
        ("0 3 * * *", "0 0 3 * * *"),
        ("*/15 * * * *", "0 */15 * * * *"),
        ("0 3 1,15 * *", "0 0 3 1,15 * *"),
        ("0 3 * * MON-FRI", "0 0 3 * * 1-5"),
        ("30 0 3 ? * 7", "30 0 3 * * 0"),
        ("@daily", "0 0 0 * * *"),
        ("10-20/5 9-17 * jan-mar *", "0 10,15,20 9-17 * 1-3 *"),
        ("0,30 3 * * *", "0 0,30 3 * * *"),
    ],
)
def test_a_server_gets_six_fields_whatever_way_it_was_written(given_text, sent):
    assert str(Cron.parse(given_text)) == sent
    assert Cron.parse(sent) == Cron.parse(given_text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("60 3 * * *", "the minute '60' is not within 0 to 59"),
        ("0 24 * * *", "the hour '24'"),
        ("0 3 0 * *", "the day of month '0'"),
        ("0 3 * 13 *", "the month '13'"),
        ("0 3 * * 8", "the day of week '8'"),
        ("0 3 L * *", "the day of month 'L'"),
        ("0 3 15W * *", "the day of month '15W'"),
        ("0 3 * * MON#2", "the day of week 'MON#2'"),
        ("0 22-2 * * *", "runs backwards"),
        ("*/90 * * * *", "longer than the whole"),
        ("*/0 * * * *", "the minute '*/0'"),
        ("? 3 * * *", "the minute '?'"),
        ("0 3 * *", "has 4 fields"),
        ("0 0 0 3 * * *", "has 7 fields"),
        ("", "has 0 fields"),
        ("@every 6h", "every: 6h"),
        ("@reboot", "is not one of"),
        ("CRON_TZ=Europe/Berlin 0 3 * * *", "time_zone"),
        ("0 3 31 2 *", "never fires"),
        ("0 3 */2 * MON", "programs disagree"),
    ],
)
def test_what_a_server_would_refuse_or_misread_is_refused_by_field(text, said):
    with pytest.raises(CronError, match=r".") as caught:
        Cron.parse(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "hours", "said"),
    [
        ("0 23 * * MON", -2, "0 0 21 * * 1"),
        ("0 1 * * MON", -2, "0 0 23 * * 0"),
        ("0 1 * * *", -2, "0 0 23 * * *"),
        ("0 */6 * * *", 3, "0 0 3,9,15,21 * * *"),
        ("0 1 15 * *", -2, "0 0 23 14 * *"),
        ("0 1 1 * *", -2, "no cron can say"),
        ("0 1 29 * *", -2, "no cron can say"),
        ("0 23 28 * *", 2, "no cron can say"),
        ("0 23 28 3 *", 2, "0 0 1 29 3 *"),
        ("0 1 * 3 *", -2, "another month"),
        ("0 1 * 3 MON", -2, "another month"),
        ("0 0,12 * * MON", -2, "day before or after"),
        ("0 1 1,15 * MON", -2, "no cron can say"),
    ],
)
def test_days_move_with_the_hour_or_it_is_refused(text, hours, said):
    try:
        assert str(Cron.parse(text).shifted(timedelta(hours=hours))) == said
    except CronError as error:
        assert said in str(error)


def test_half_hours_that_no_cron_can_say_are_refused():
    assert str(Cron.parse("0 3 * * *").shifted(timedelta(hours=-5, minutes=-30))) == "0 30 21 * * *"
    with pytest.raises(CronError, match="from hour to hour"):
        Cron.parse("0,45 3 * * *").shifted(timedelta(hours=-5, minutes=-30))


def test_a_time_that_clocks_skip_never_comes_and_one_they_read_twice_comes_twice():
    skipped = islice(Cron.parse("30 2 * * *").instants(BERLIN, datetime(2027, 3, 27, tzinfo=UTC)), 3)
    assert [f"{each:%m-%d %H:%M}" for each in skipped] == ["03-27 01:30", "03-29 00:30", "03-30 00:30"]
    doubled = islice(Cron.parse("30 2 * * *").instants(BERLIN, datetime(2026, 10, 24, 12, tzinfo=UTC)), 3)
    assert [f"{each:%m-%d %H:%M}" for each in doubled] == ["10-25 00:30", "10-25 01:30", "10-26 01:30"]


@st.composite
def crons(draw):
    def field(low, high, star):
        values = st.lists(st.integers(low, high), min_size=1, max_size=3).map(
            lambda each: ",".join(map(str, sorted(set(each))))
        )
        return draw(st.one_of(*[st.just("*")] * star, values))

    minute = draw(st.sampled_from(["0", "30", "59", "*/20", "15,45", "*"]))
    return f"{minute} {field(0, 23, 1)} {field(1, 31, 4)} {field(1, 12, 6)} {field(0, 6, 3)}"


def fired(spans, zone, begin, end):
    """What a server does: each recurring run by itself, from just after its start until its end."""
    found = []
    for span in spans:
        trigger = span.trigger
        since = max(filter(None, [trigger.start, begin]))
        ticks = Cron.parse(trigger.cron).instants(zone, since)
        found += takewhile(lambda each, last=trigger.end: each < end and (last is None or each <= last), ticks)
    return sorted(found)


def matching(text, zone, begin, minutes):
    """The instants at which the clocks in a zone read what a cron says, by looking at each minute."""
    fields = [None if each == ["*"] else set(each) for each in croniter.expand(text)[0]]
    for number in range(1, minutes):
        instant = begin + timedelta(minutes=number)
        local = instant.astimezone(zone)
        reads = (local.minute, local.hour, local.day, local.month, local.isoweekday() % 7)
        minute, hour, day, month, weekday = (
            field is None or value in field for field, value in zip(fields, reads, strict=True)
        )
        either = (day or weekday) if fields[2] and fields[4] else (day and weekday)
        if minute and hour and month and either:
            yield instant


@settings(max_examples=60, deadline=None)
@given(crons(), st.sampled_from(ZONES), st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1)))
@example("0 2 * * *", "Europe/Berlin", datetime(2027, 3, 27))
@example("0 3 * * *", "Europe/Berlin", datetime(2027, 3, 27))
@example("0 3 * * *", "Europe/Berlin", datetime(2026, 10, 24))
@example("* * * * *", "Australia/Lord_Howe", datetime(2026, 4, 4))
def test_what_is_told_a_server_fires_exactly_when_the_clocks_there_say_so(text, name, day):
    zone, now = time_zone(name), day.replace(tzinfo=UTC, second=0, microsecond=0)
    try:
        spans = DeclaredSchedule(cron=text, time_zone=name).spans(UTC, now)
    except (CronError, ValueError):
        assume(False)
    # Around now, and around the next change of clocks.
    change = next((span.trigger.end + timedelta(seconds=1) for span in spans if span.trigger.end), now)
    for begin in {now, max(now, change - timedelta(hours=26))}:
        end = begin + timedelta(hours=50)
        assert fired(spans, UTC, begin, end) == list(matching(text, zone, begin, 50 * 60))


def test_a_cron_that_reads_the_same_after_a_change_of_clocks_takes_one_recurring_run():
    spans = DeclaredSchedule(cron="*/10 * * * *", time_zone="Europe/Berlin").spans(
        UTC, datetime(2026, 11, 23, tzinfo=UTC)
    )
    assert [(span.since, span.trigger.start, span.trigger.end) for span in spans] == [(None, None, None)]


def test_a_nightly_run_keeps_its_hour_for_two_changes_of_clocks():
    spans = DeclaredSchedule(cron="0 3 * * *", time_zone="Europe/Berlin").spans(UTC, datetime(2026, 11, 23, tzinfo=UTC))
    assert [(span.trigger.cron, f"{span.since:%F}") for span in spans] == [
        ("0 0 2 * * *", "2026-10-25"),
        ("0 0 1 * * *", "2027-03-28"),
        ("0 0 2 * * *", "2027-10-31"),
    ]
    assert spans[0].trigger.start is None
    assert spans[0].trigger.end == spans[1].trigger.start == datetime(2027, 3, 28, 0, 59, 59, tzinfo=UTC)
    assert spans[2].trigger.end is None


def test_a_server_in_the_same_zone_is_told_the_cron_itself():
    spans = DeclaredSchedule(cron="0 3 1 * *", time_zone="Europe/Berlin").spans(
        BERLIN, datetime(2026, 11, 23, tzinfo=UTC)
    )
    assert [span.trigger.cron for span in spans] == ["0 0 3 1 * *"]


def test_periods_begin_and_end_where_clocks_are_changed():
    found = periods(BERLIN, UTC, datetime(2026, 11, 23, tzinfo=UTC))
    assert [each.begin and each.begin.isoformat() for each in found] == [
        "2026-10-25T01:00:00+00:00",
        "2027-03-28T01:00:00+00:00",
        "2027-10-31T01:00:00+00:00",
    ]
    assert [each.ahead for each in found] == [timedelta(hours=1), timedelta(hours=2), timedelta(hours=1)]
    kolkata = periods(ZoneInfo("Asia/Kolkata"), UTC, datetime(2026, 11, 23, tzinfo=UTC))
    assert [(each.begin, each.end) for each in kolkata] == [(None, None)]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Berln", "Europe/Berlin"),
        ("berlin", "Europe/Berlin"),
        ("new york", "America/New_York"),
        ("Mars", "such as"),
    ],
)
def test_an_unknown_zone_names_the_nearest(name, hint):
    with pytest.raises(ValueError, match=hint):
        time_zone(name)

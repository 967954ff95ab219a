"""When schedules fire, and what they start.

A due time is worked off some seconds late. Times that were missed, before the schedule was created or while too many of its runs
went on, are made up for one by one. Without catch-up they are dropped: one run starts at once, and an interval counts from there.
"""

import zlib
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from kfp_ratchet.testing.kfp_server.answers import Json, Refusal
from kfp_ratchet.testing.kfp_server.graph import check_parameters
from kfp_ratchet.testing.kfp_server.objects import Run, Schedule, Timing
from kfp_ratchet.testing.kfp_server.runs import SERVICE_ACCOUNT, start
from kfp_ratchet.testing.kfp_server.state import State, reference_ids

if TYPE_CHECKING:
    from croniter import croniter

LATENESS = 10
"""Seconds from the due time, or from the creation of a schedule that is due already, to the run; 5 to 25 were recorded."""


def cron_problem(cron: str) -> str:
    """What the server finds wrong with a cron expression; "" if it takes it."""
    from croniter import croniter

    fields = cron.split()
    if not cron.startswith("@") and not 5 <= len(fields) <= 6:
        return f"Expected 5 to 6 fields, found {len(fields)}: {cron}"
    if not croniter.is_valid(_croniter_form(cron), second_at_beginning=True):
        return f"Failed to parse: {cron}"
    return ""


@cache
def next_due(timing: Timing, last: float | None) -> float | None:
    """The due time after the last one that was worked off, seconds since 1970; None if there is none."""
    since = timing.first if last is None else last
    due = float(_cron(timing.cron, since).get_next(float)) if timing.cron else since + timing.interval
    return None if timing.end is not None and due > timing.end else due


def timing_of(trigger: Json, created: float) -> Timing | None:
    """When a schedule with a trigger is due; None for an empty one."""
    cron: Json = trigger.get("cron_schedule") or {}
    periodic: Json = trigger.get("periodic_schedule") or {}
    given = cron or periodic
    if not given:
        return None
    start, end = _seconds(given.get("start_time")), _seconds(given.get("end_time"))
    return Timing(cron.get("cron", ""), int(periodic.get("interval_second", 0)), start, end, created)


def next_firing(state: State, schedule: Schedule, under_way: int) -> float | None:
    """When a schedule starts its next run, seconds since 1970; None while it cannot.

    Args:
        state: The server.
        schedule: Which.
        under_way: How many of its runs have not ended.
    """
    due = next_due(schedule.timing, schedule.last_due) if schedule.timing else None
    if due is None or not schedule.enabled or under_way >= schedule.max_concurrency:
        return None
    return max(due + LATENESS, schedule.created + LATENESS, state.clock.now)


def fire(state: State, schedule: Schedule) -> None:
    """Work off the next due time. Nothing starts, and nothing is said, when there is no version or its parameters do not fit."""
    due = next_due(schedule.timing, schedule.last_due) if schedule.timing else None
    if due is None:
        return
    if schedule.no_catchup and due + LATENESS < state.clock.now:
        due = state.clock.now
    schedule.last_due = due
    schedule.updated = state.second
    spec, reference = schedule.spec, schedule.reference
    if spec is None:
        newest = state.newest_version(reference_ids(schedule.reference)[0])
        if newest is None:
            return
        spec, reference = newest.spec, schedule.reference | {"pipeline_version_id": newest.id}
        try:
            check_parameters(spec, schedule.runtime_config.get("parameters") or {}, "")
        except Refusal:
            return
    schedule.fired += 1
    pinned = schedule.spec is not None
    name = f"{schedule.workflow}-{schedule.fired}"
    run = Run(
        id=state.new_id(),
        name=f"{name}-{zlib.crc32(name.encode())}",
        description="",
        experiment_id=schedule.experiment_id,
        reference=reference,
        inline=schedule.inline,
        runtime_config=schedule.runtime_config,
        service_account="" if pinned else schedule.service_account or SERVICE_ACCOUNT,
        spec=spec,
        created=state.second,
        scheduled=int(due) if pinned else state.second,
        workflow=name,
        schedule_id=schedule.id,
    )
    run.enter("RUNNING" if pinned else "PENDING", state.clock.now)
    start(state, run)


def _cron(cron: str, base: float) -> "croniter":
    from croniter import croniter

    return croniter(_croniter_form(cron), datetime.fromtimestamp(base, UTC), second_at_beginning=True)


def _seconds(text: str | None) -> float | None:
    return None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _croniter_form(cron: str) -> str:
    """Five fields get the second 0 in front, which croniter then reads like six."""
    return cron if cron.startswith("@") or len(cron.split()) == 6 else f"0 {cron}"

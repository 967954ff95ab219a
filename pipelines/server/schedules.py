"""The schedules on a server one by one: which there are, when each is due, and what a person does with one by hand."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.names import suggestion
from kfp_ratchet.pipelines.crons import Cron, CronError
from kfp_ratchet.pipelines.declared import Declared
from kfp_ratchet.pipelines.declared_schedules import DeclaredSchedule
from kfp_ratchet.pipelines.server.marks import Mark, described
from kfp_ratchet.pipelines.server.objects import Run, Schedule
from kfp_ratchet.pipelines.server.recurring import begins_later, since
from kfp_ratchet.pipelines.server.snapshot import marked
from kfp_ratchet.pipelines.server.wanted import owner_of

if TYPE_CHECKING:
    from kfp_ratchet.pipelines.server.connection import Server


@dataclass(frozen=True)
class Listed:
    """A schedule: the recurring runs that carry its mark, or one that nobody marked."""

    name: str
    """`pipeline/schedule`, or the id of one that is not ours."""
    runs: tuple[Schedule, ...]
    """Newest first; none when it is declared and not on the server."""
    declared: DeclaredSchedule | None
    owner: str

    @property
    def current(self) -> tuple[Schedule, ...]:
        """Of each span the newest recurring run: older ones are what an apply left behind."""
        newest: dict[str, Schedule] = {}
        for one in self.runs:
            newest.setdefault(since(one), one)
        return tuple(newest.values())

    @property
    def state(self) -> str:
        """In a word."""
        if not self.runs:
            return "not there"
        on = [one.enabled for one in self.current]
        return "enabled" if all(on) else "partly paused" if any(on) else "paused"

    @property
    def zone(self) -> tzinfo:
        """By which its times are told."""
        return self.declared.zone if self.declared else UTC

    def now_in_charge(self, now: datetime) -> Schedule | None:
        """The recurring run whose span it is; None when there is none."""
        at = [one for one in self.current if since(one) <= f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"]
        return max(at, key=since, default=None)

    def due(self, server_zone: tzinfo, after: datetime) -> Iterator[datetime]:
        """When it is due after a moment, in its own time zone; nothing when that cannot be known."""
        found = self.declared.due(after) if self.declared else _due(self.current, server_zone, after)
        return (each.astimezone(self.zone) for each in found)


def listed_schedules(schedules: Sequence[Schedule], declared: Declared | None) -> list[Listed]:
    """All schedules: those of a `pipelines.yaml` first, whether they are on the server or not."""
    owner = owner_of(declared) if declared else ""
    wanted: Mapping[str, DeclaredSchedule] = {
        f"{name}/{key}": schedule
        for name, pipeline in (declared.pipelines if declared else {}).items()
        for key, schedule in pipeline.schedules.items()
    }
    groups: dict[tuple[str, str], list[Schedule]] = {(owner, name): [] for name in wanted}
    for one in sorted(
        schedules, key=lambda one: (one.created or datetime.min.replace(tzinfo=UTC), one.id), reverse=True
    ):
        whose, pipeline, key = marked(one)
        groups.setdefault((whose, f"{pipeline}/{key}" if key else one.id), []).append(one)
    return [
        Listed(name, tuple(found), wanted.get(name) if whose == owner else None, whose)
        for (whose, name), found in groups.items()
    ]


def find_schedule(which: str, listed: Sequence[Listed]) -> Listed:
    """The one that is meant.

    Args:
        which: `pipeline/schedule`, or the id of a recurring run.
        listed: All there are.

    Raises:
        InputError: There is none; names the nearest.
    """
    named = [one for one in listed if one.name == which]
    if len(named) > 1:
        whose = "; ".join(f"of {one.owner or 'nobody'}: {', '.join(each.id for each in one.runs)}" for one in named)
        raise InputError(f"there are {len(named)} schedules {which}: {whose}", "give the id of a recurring run")
    if named:
        return named[0]
    for one in listed:
        if found := [each for each in one.runs if each.id == which]:
            return Listed(which, tuple(found), one.declared, one.owner)
    raise InputError(f"there is no schedule {which!r}", suggestion(which, [one.name for one in listed]))


def fire(server: "Server", schedule: Listed, now: datetime) -> Run:
    """Start a run as the schedule does, now.

    Raises:
        InputError: The schedule is not on the server.
    """
    which = schedule.now_in_charge(now)
    if which is None:
        raise InputError(f"the schedule {schedule.name} is not on the server", "run `ratchet server apply` first")
    if which.version_id and which.version_id not in {one.id for one in server.versions(which.pipeline_id)}:
        raise InputError(f"the version that {schedule.name} runs was deleted", "run `ratchet server apply` first")
    mark = Mark.read(which.description) or Mark()
    name = which.name.removesuffix(begins_later(which))
    return server.create_run(
        name=f"{name} {now.astimezone(UTC):%Y-%m-%d %H:%M} fired by hand",
        description=described(f"Fired by hand, as the schedule {schedule.name} does.", mark),
        experiment_id=which.experiment_id,
        parameters=which.parameters,
        pipeline_id=which.pipeline_id,
        version_id=which.version_id,
        pipeline_root=which.pipeline_root,
    )


def _due(runs: Sequence[Schedule], server_zone: tzinfo, after: datetime) -> Iterator[datetime]:
    """Of recurring runs that are not declared here: what their triggers say."""
    for one in sorted(runs, key=since):
        trigger = one.trigger
        begin = max(after, trigger.start) if trigger.start else after
        for each in ticks(one, server_zone, begin):
            if trigger.end and each > trigger.end:
                break
            yield each


def ticks(schedule: Schedule, server_zone: tzinfo, after: datetime) -> Iterator[datetime]:
    """When a trigger is due after a moment (UTC), whatever its start and end; nothing for a cron that cannot be read."""
    trigger = schedule.trigger
    if trigger.cron:
        try:
            yield from Cron.parse(trigger.cron).instants(server_zone, after)
        except CronError:
            return
    anchor, interval = trigger.start or schedule.created, timedelta(seconds=trigger.interval_seconds)
    if anchor is None or not interval:
        return
    tick = anchor + max(1, (after - anchor) // interval + 1) * interval
    while True:
        yield tick
        tick += interval

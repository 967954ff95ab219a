"""What differs between Git and a server: a pure function of both."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Literal

from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.names import counted
from kfp_ratchet.pipelines.declared import as_database
from kfp_ratchet.pipelines.pipeline_text import digest_of
from kfp_ratchet.pipelines.server.objects import NewSchedule, Pipeline, Schedule, Trigger, Version
from kfp_ratchet.pipelines.server.recurring import Steps, differences, next_steps, since
from kfp_ratchet.pipelines.server.snapshot import Snapshot, marked
from kfp_ratchet.pipelines.server.uploading import refuse_what_fails_later
from kfp_ratchet.pipelines.server.wanted import WantedPipeline, WantedSchedule

Kind = Literal["experiment", "pipeline", "version", "schedule"]
NONE = "-"
_NEW = "(new)"


@dataclass(frozen=True)
class Difference:
    """Something that is not on the server as Git says."""

    kind: Kind
    name: str
    on_server: str
    in_git: str
    action: str
    """What apply does about it."""
    orphan: bool = False
    """Whether it is ours and no longer in Git; then only `--prune` does it."""
    refused: str = ""
    """Why apply does nothing about it."""


@dataclass(frozen=True)
class Plan:
    """All differences, and what else there is to know."""

    differences: tuple[Difference, ...]
    notices: tuple[str, ...]


@dataclass(frozen=True)
class Sides:
    """Git, a server, and between them what decides how they are compared."""

    owner: str
    wanted: Mapping[str, WantedPipeline]
    experiments: Mapping[str, str]
    """Declared ones: name and what it is for."""
    snapshot: Snapshot
    zone: tzinfo
    """In which the server reads crons."""
    adopt: frozenset[str] = frozenset()
    """Pipelines that someone else made and that are to be ours."""


def plan(sides: Sides, undeletable: Callable[[], Collection[str]] = frozenset) -> Plan:
    """Compare.

    Args:
        sides: What to compare.
        undeletable: Asks for the ids of recurring runs that may not be deleted yet; see `next_steps`.
    """
    found = [*_experiments(sides)]
    notices: list[str] = []
    for wanted in sides.wanted.values():
        found += _pipeline(sides, wanted, undeletable, notices)
    found += orphans(sides)
    return Plan(tuple(found), (*notices, *strangers(sides)))


def present_pipeline(sides: Sides, wanted: WantedPipeline) -> Pipeline | None:
    """The pipeline on the server that is to have the wanted content; None when there is none of that name.

    Raises:
        RatchetError: The name is taken by what is not ours.
    """
    snapshot = sides.snapshot
    pipeline = snapshot.pipelines.get(wanted.name)
    if pipeline is None:
        taken = {as_database(name): name for name in snapshot.pipelines}.get(as_database(wanted.name))
        if taken:
            raise RatchetError(
                f"the server has a pipeline {taken!r}, which is the same name to it as {wanted.name!r}",
                f"call it {taken!r} in pipelines.yaml, or delete it there",
            )
        return None
    owner = snapshot.owner(pipeline)
    if owner != sides.owner and wanted.name not in sides.adopt:
        whose = f"belongs to {owner!r}" if owner else "was not made from any pipelines.yaml"
        raise RatchetError(
            f"the pipeline {wanted.name!r} on the server {whose}",
            f"choose another name, or take it over with `ratchet server apply --adopt '{wanted.name}'`",
        )
    return pipeline


def has_content(sides: Sides, wanted: WantedPipeline, pipeline: Pipeline) -> Version | None:
    """The pipeline's newest version, if it has the wanted content and our mark can be found; None when one is to be uploaded."""
    newest = sides.snapshot.newest(pipeline.id)
    if newest is None or digest_of(newest.spec) != wanted.digest or sides.snapshot.owner(pipeline) != sides.owner:
        return None
    return newest


def orphans(sides: Sides) -> list[Difference]:
    """What is ours on the server and no longer in Git: schedules first."""
    return [*_orphaned_schedules(sides), *_orphaned_pipelines(sides)]


def orphaned_schedules(sides: Sides) -> dict[str, list[Schedule]]:
    """Recurring runs with our mark of schedules that are not declared, by `pipeline/schedule`."""
    declared = {(schedule.pipeline, schedule.key) for one in sides.wanted.values() for schedule in one.schedules}
    found: dict[str, list[Schedule]] = {}
    for one in sides.snapshot.schedules:
        owner, pipeline, key = marked(one)
        if owner == sides.owner and (pipeline, key) not in declared:
            found.setdefault(f"{pipeline}/{key}", []).append(one)
    return found


def orphaned_pipelines(sides: Sides) -> list[Pipeline]:
    """Pipelines that we made, and that are not declared."""
    return [
        one
        for one in sides.snapshot.pipelines.values()
        if one.name not in sides.wanted
        and one.id in sides.snapshot.versions
        and sides.snapshot.owner(one) == sides.owner
    ]


def foreign_schedules(sides: Sides, pipeline: Pipeline) -> list[Schedule]:
    """Recurring runs of a pipeline that do not carry our mark."""
    return [one for one in sides.snapshot.schedules if one.pipeline_id == pipeline.id and marked(one)[0] != sides.owner]


def _experiments(sides: Sides) -> Iterator[Difference]:
    used = {schedule.experiment for one in sides.wanted.values() for schedule in one.schedules}
    for name in dict.fromkeys([*sides.experiments, *sorted(used)]):
        present = sides.snapshot.experiment(name)
        if present is None:
            yield Difference("experiment", name, NONE, sides.experiments.get(name) or "used by a schedule", "create")
        elif present.archived and name in used:
            refused = "restore it in the UI, or name another one: what runs there is out of sight"
            yield Difference("experiment", name, "archived", "used by a schedule", "nothing", refused=refused)


def _pipeline(
    sides: Sides, wanted: WantedPipeline, undeletable: Callable[[], Collection[str]], notices: list[str]
) -> Iterator[Difference]:
    try:
        pipeline = present_pipeline(sides, wanted)
    except RatchetError as error:
        yield Difference("pipeline", wanted.name, error.message, "declared", "nothing", refused=error.remedy)
        return
    version = None
    if pipeline is None:
        yield Difference("pipeline", wanted.name, NONE, "declared", "create")
    else:
        version = has_content(sides, wanted, pipeline)
        if sides.snapshot.owner(pipeline) != sides.owner:
            yield Difference(
                "pipeline",
                wanted.name,
                f"of {sides.snapshot.owner(pipeline) or 'nobody'}",
                f"of {sides.owner}",
                "adopt",
            )
    if version is None:
        yield Difference(
            "version",
            wanted.name,
            _newest(sides.snapshot, pipeline),
            wanted.version_name,
            "upload",
            refused=_refusal(sides, wanted),
        )
    for one in to_take_over(sides, wanted.name):
        yield Difference("schedule", one.name, f"of {marked(one)[0]}", f"of {sides.owner}", "delete")
    for schedule in wanted.schedules:
        yield from _schedule(sides, wanted, schedule, pipeline, version, undeletable, notices)


def _refusal(sides: Sides, wanted: WantedPipeline) -> str:
    """Why apply does not upload; "" when it does."""
    try:
        refuse_what_fails_later(wanted.spec, wanted.name, sides.snapshot.server_version)
    except InputError as error:
        return str(error)
    return ""


def to_take_over(sides: Sides, pipeline: str) -> list[Schedule]:
    """Recurring runs of another owner's schedules of a pipeline that is adopted: ours take their place."""
    if pipeline not in sides.adopt:
        return []
    return [
        one
        for one in sides.snapshot.schedules
        if (whose := marked(one))[0] not in ("", sides.owner) and whose[1] == pipeline
    ]


def _newest(snapshot: Snapshot, pipeline: Pipeline | None) -> str:
    found = snapshot.versions.get(pipeline.id, ()) if pipeline else ()
    if not found:
        return NONE
    if snapshot.newest(found[0].pipeline_id) is None:
        return f"{found[0].name} and {found[1].name}, uploaded in the same second"
    return f"{found[0].name}, {found[0].created:%Y-%m-%d %H:%M} UTC"


def _schedule(
    sides: Sides,
    wanted: WantedPipeline,
    schedule: WantedSchedule,
    pipeline: Pipeline | None,
    version: Version | None,
    undeletable: Callable[[], Collection[str]],
    notices: list[str],
) -> Iterator[Difference]:
    snapshot = sides.snapshot
    present = snapshot.of_schedule(sides.owner, wanted.name, schedule.key)
    experiment = snapshot.experiment(schedule.experiment)
    try:
        spans = schedule.spans(sides.zone, snapshot.now)
    except InputError as error:
        yield Difference(
            "schedule",
            schedule.name,
            _state(present),
            _when(schedule),
            "nothing",
            refused=f"{error.message}; {error.remedy}",
        )
        return
    news = wanted.recurring(
        schedule,
        spans,
        pipeline.id if pipeline else _NEW,
        version.id if version else _NEW,
        experiment.id if experiment else _NEW,
    )
    steps = next_steps(news, present, snapshot.now)
    if steps.delete:
        steps = next_steps(news, present, snapshot.now, undeletable=undeletable())
        if not steps:
            notices.append(f"{schedule.name}: an old one is disabled, and deleted once its last run has ended")
    if not steps:
        return
    if not news:
        yield Difference("schedule", schedule.name, _state(present), f"over since {schedule.declared.end}", "delete")
    elif not present:
        yield Difference(
            "schedule",
            schedule.name,
            NONE,
            _when(schedule),
            "create" if schedule.declared.enabled else "create, paused",
        )
    else:
        yield _changed(sides, wanted, schedule, news, present, steps)


def _changed(
    sides: Sides,
    wanted: WantedPipeline,
    schedule: WantedSchedule,
    news: Sequence[NewSchedule],
    present: Sequence[Schedule],
    steps: Steps,
) -> Difference:
    now = sides.snapshot.now
    last = max(map(since, present))
    if (begins := max(map(since, steps.create), default="")) > last and all(
        _looks_ahead(new, present, now) for new in steps.create
    ):
        return Difference(
            "schedule", schedule.name, f"knows clocks up to {last[:10]}", f"up to {begins[:10]}", "extend"
        )
    for new in news:
        same = [one for one in present if since(one) == since(new)]
        if new in steps.create and same:
            shown = max(same, key=lambda one: (one.enabled, one.created or now))
            fields = differences(shown, new, now)
            told = [_told(sides, wanted, field, shown, new) for field in fields]
            return Difference(
                "schedule",
                schedule.name,
                ", ".join(there for there, _ in told),
                ", ".join(here for _, here in told),
                "replace",
            )
    if steps.enable:
        return Difference("schedule", schedule.name, "paused", "enabled", "resume")
    if steps.disable and not schedule.declared.enabled:
        return Difference("schedule", schedule.name, "enabled", "paused", "pause")
    if steps.create:
        missing = counted(len(steps.create), "recurring run")
        return Difference("schedule", schedule.name, f"{missing} missing", _when(schedule), "create")
    surplus = counted(len(steps.disable or steps.delete), "recurring run")
    return Difference("schedule", schedule.name, f"{surplus} too many", _when(schedule), "delete")


def _looks_ahead(new: NewSchedule, present: Sequence[Schedule], now: datetime) -> bool:
    """Whether it is about a change of clocks that the present ones do not know of yet, and all else is the same."""
    same = [one for one in present if since(one) == since(new)]
    if not since(new) or not same:
        return bool(since(new)) and since(new) > max(map(since, present))
    return any(differences(one, new, now) == ["trigger"] and one.trigger.cron == new.trigger.cron for one in same)


def _told(sides: Sides, wanted: WantedPipeline, field: str, there: Schedule, here: NewSchedule) -> tuple[str, str]:
    snapshot = sides.snapshot
    if field == "trigger":
        return shown_trigger(there.trigger), shown_trigger(here.trigger)
    if field == "version":
        names = {one.id: one.name for found in snapshot.versions.values() for one in found}
        known = {one.id for one in snapshot.pipelines.values()}
        lost = "" if there.pipeline_id in known else " of a pipeline that is gone"
        shown = (
            names.get(there.version_id) or f"an older version{lost}"
            if there.version_id
            else "whichever version is newest"
        )
        return shown, names.get(here.version_id, wanted.version_name)
    if field == "experiment":
        names = {one.id: one.name for one in snapshot.experiments.values()}
        return (
            f"experiment {names.get(there.experiment_id, 'gone')}",
            f"experiment {names.get(here.experiment_id, _NEW)}",
        )
    if field == "parameters":
        keys = [
            key
            for key in sorted({*there.parameters, *here.parameters})
            if there.parameters.get(key, NONE) != here.parameters.get(key, NONE)
        ]
        return _values(there, keys), _values(here, keys)
    return f"{field} {str(getattr(there, field)).lower()}", f"{field} {str(getattr(here, field)).lower()}"


def _values(schedule: NewSchedule, keys: Sequence[str]) -> str:
    return ", ".join(f"{key}={schedule.parameters.get(key, NONE)}" for key in keys)


def shown_trigger(trigger: Trigger) -> str:
    """A trigger in words, times in UTC."""
    told = trigger.cron or f"every {trigger.interval_seconds} s"
    # The start of an interval is what it is counted from.
    begin = f" from {trigger.start:%Y-%m-%d %H:%M:%S}" if trigger.start else ""
    return told + begin + (f" until {trigger.end:%Y-%m-%d %H:%M:%S}" if trigger.end else "")


def _when(schedule: WantedSchedule) -> str:
    declared = schedule.declared
    return f"{declared.cron} {declared.time_zone}" if declared.cron else f"every {declared.every}"


def _state(present: Sequence[Schedule]) -> str:
    return NONE if not present else "enabled" if any(one.enabled for one in present) else "paused"


def _orphaned_schedules(sides: Sides) -> Iterator[Difference]:
    known = {one.id for one in sides.snapshot.pipelines.values()}
    for name, found in orphaned_schedules(sides).items():
        firing = [one for one in found if one.enabled]
        gone = any(one.pipeline_id not in known for one in found)
        told = ("fires" if firing else "paused") + (", though its pipeline is gone" if gone else "")
        yield Difference("schedule", name, told, NONE, "delete with --prune", orphan=True)


def _orphaned_pipelines(sides: Sides) -> Iterator[Difference]:
    for one in orphaned_pipelines(sides):
        others = foreign_schedules(sides, one)
        refused = f"schedules of others run it: {', '.join(each.name for each in others)}" if others else ""
        yield Difference("pipeline", one.name, "there", NONE, "delete with --prune", orphan=True, refused=refused)


def strangers(sides: Sides) -> Iterator[str]:
    """Schedules of others that run one of our pipelines."""
    for name in sides.wanted:
        pipeline = sides.snapshot.pipelines.get(name)
        if pipeline is None:
            continue
        for one in foreign_schedules(sides, pipeline):
            if one in to_take_over(sides, name):
                continue
            owner = marked(one)[0]
            whose = f"of {owner}" if owner else "that nobody declared"
            yield f"{name} is also run by the schedule {one.name!r} {whose}: {'enabled' if one.enabled else 'paused'}"

"""Make a server as Git says: pipelines side by side, each with its newest version, then their schedules, then what is to go.

Nothing is remembered between calls: each step is decided from what the server says, so that whoever is killed is followed up by the next.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.pipelines.server.errors import NotFoundError, ServerError, UnreachableError
from kfp_ratchet.pipelines.server.objects import NewSchedule, Pipeline, Schedule, Version
from kfp_ratchet.pipelines.server.plan import (
    Sides,
    foreign_schedules,
    has_content,
    orphaned_pipelines,
    orphaned_schedules,
    orphans,
    present_pipeline,
    strangers,
    to_take_over,
)
from kfp_ratchet.pipelines.server.recurring import Memory, Steps, begins_later, next_steps
from kfp_ratchet.pipelines.server.schedules import ticks
from kfp_ratchet.pipelines.server.snapshot import Snapshot, in_parallel, marked, newest_versions, owner
from kfp_ratchet.pipelines.server.uploading import refuse_what_fails_later, upload, wait_until_after
from kfp_ratchet.pipelines.server.wanted import WantedPipeline, WantedSchedule

if TYPE_CHECKING:
    from kfp_ratchet.pipelines.server.connection import Server

_ROUNDS = 12
"""Four are needed; others at the same time take more."""
_STARTING = timedelta(seconds=60)
"""How long a run may not show after its time has come."""
_RARE = timedelta(minutes=10)


@dataclass(frozen=True)
class Done:
    """Something that was done."""

    what: str
    name: str
    link: str = ""


@dataclass
class Applied:
    """What came of it."""

    done: list[Done] = field(default_factory=list)
    errors: dict[str, RatchetError] = field(default_factory=dict)
    """By pipeline, or pipeline/schedule."""
    notices: list[str] = field(default_factory=list)


def apply(server: "Server", sides: Sides, prune: bool = False, say: Callable[[Done], None] = lambda _: None) -> Applied:
    """Make a server as Git says; what fails for one pipeline does not keep the others.

    Args:
        server: To change.
        sides: Git, and the server as it was found.
        prune: Whether to delete what is ours and no longer in Git.
        say: Told of each thing when it is done, from any thread.
    """
    return _Applying(server, sides, say).all(prune)


def undeletable(server: "Server", schedules: Iterable[Schedule], sides: Sides) -> set[str]:
    """Ids of recurring runs that may not be deleted yet: the cluster ends a run that goes on together with the schedule that started it."""
    running = {one.recurring_run_id for one in server.runs(states=("PENDING", "RUNNING", "CANCELING", "PAUSED"))}
    return running | {one.id for one in schedules if _may_be_starting(one, sides)}


def _may_be_starting(schedule: Schedule, sides: Sides) -> bool:
    """Whether it was due a moment ago, so that its run may not show yet; one that is due all the time would never be deleted."""
    due = ticks(schedule, sides.zone, sides.snapshot.now - _STARTING)
    first, second = next(due, None), next(due, None)
    return first is not None and first <= sides.snapshot.now and (second is None or second - first >= _RARE)


@dataclass
class _Target:
    """A schedule and the recurring runs that it is to have."""

    name: str
    key: tuple[str, str, str]
    wanted: Sequence[NewSchedule]
    memory: Memory


class _Applying:
    def __init__(self, server: "Server", sides: Sides, say: Callable[[Done], None]) -> None:
        self._server = server
        self._sides = sides
        self._snapshot: Snapshot = sides.snapshot
        self._say = say
        self._experiments: dict[str, str] = {}
        self._applied = Applied()
        self._lost: UnreachableError | None = None
        """Why the server could not be reached: the others need not find out for themselves, each with all patience."""

    def all(self, prune: bool) -> Applied:
        in_parallel(self._experiment, self._missing_experiments())
        settled = in_parallel(self._settled, self._sides.wanted.values())
        targets = [
            target
            for wanted, found in zip(self._sides.wanted.values(), settled, strict=True)
            if found
            for target in self._targets(wanted, *found)
        ]
        for wanted, found in zip(self._sides.wanted.values(), settled, strict=True):
            if found and (others := to_take_over(self._sides, wanted.name)):
                self._without(wanted.name, others, undeletable(self._server, others, self._sides))
        self._schedules(targets)
        self._applied.notices += strangers(self._sides)
        if prune:
            self._prune()
        else:
            self._applied.notices += [
                f"{one.kind} {one.name} is not in Git any more: {one.on_server}; --prune deletes it"
                for one in orphans(self._sides)
            ]
        return self._applied

    def _did(self, what: str, name: str, link: str = "") -> None:
        done = Done(what, name, link)
        self._applied.done.append(done)
        self._say(done)

    def _failed(self, name: str, error: RatchetError) -> None:
        self._applied.errors[name] = error
        if isinstance(error, UnreachableError):
            self._lost = error

    def _missing_experiments(self) -> list[str]:
        used = [schedule.experiment for one in self._sides.wanted.values() for schedule in one.schedules]
        for name in dict.fromkeys([*self._sides.experiments, *used]):
            if present := self._snapshot.experiment(name):
                self._experiments[name] = present.id
        return [name for name in dict.fromkeys([*self._sides.experiments, *used]) if name not in self._experiments]

    def _experiment(self, name: str) -> None:
        try:
            made = self._server.experiment(name, self._sides.experiments.get(name, ""))
        except RatchetError as error:
            self._applied.errors[f"experiment {name}"] = error
            return
        self._experiments[name] = made.id
        self._did("created experiment", name, self._server.ui("experiment", made.id))

    def _settled(self, wanted: WantedPipeline) -> tuple[Pipeline, Version] | None:
        """The pipeline with its newest version, which has the wanted content; None when that failed."""
        if self._lost:
            self._applied.errors[wanted.name] = self._lost
            return None
        try:
            pipeline = present_pipeline(self._sides, wanted)
            if pipeline and (version := has_content(self._sides, wanted, pipeline)):
                return pipeline, version
            refuse_what_fails_later(wanted.spec, wanted.name, self._snapshot.server_version)
            if pipeline is None:
                pipeline = self._created(wanted)
            version, made = upload(self._server, pipeline, wanted)
            if made:
                self._did(
                    "uploaded", f"{wanted.name} {version.name}", self._server.ui("version", pipeline.id, version.id)
                )
        except RatchetError as error:
            self._failed(wanted.name, error)
            return None
        return pipeline, version

    def _created(self, wanted: WantedPipeline) -> Pipeline:
        pipeline = self._server.create_pipeline(wanted.name, wanted.description)
        # Someone may have been faster, and may be anyone.
        mine = pipeline.name == wanted.name and owner(pipeline, ()) == wanted.owner
        if not mine:
            fresh = replace(
                self._snapshot,
                pipelines={**self._snapshot.pipelines, pipeline.name: pipeline},
                versions={**self._snapshot.versions, pipeline.id: tuple(newest_versions(self._server, pipeline.id))},
            )
            present_pipeline(replace(self._sides, snapshot=fresh), wanted)
        self._did("created pipeline", wanted.name, self._server.ui("pipeline", pipeline.id))
        return pipeline

    def _targets(self, wanted: WantedPipeline, pipeline: Pipeline, version: Version) -> Iterable[_Target]:
        for schedule in wanted.schedules:
            try:
                yield self._target(wanted, schedule, pipeline, version)
            except RatchetError as error:
                self._applied.errors[schedule.name] = error

    def _target(
        self, wanted: WantedPipeline, schedule: WantedSchedule, pipeline: Pipeline, version: Version
    ) -> _Target:
        experiment = self._snapshot.experiment(schedule.experiment)
        if experiment and experiment.archived:
            raise ServerError(
                f"{schedule.name}: its experiment {schedule.experiment!r} is archived, and what runs there is out of sight",
                "restore it in the UI, or name another one",
            )
        if schedule.experiment not in self._experiments:
            raise ServerError(
                f"{schedule.name}: there is no experiment {schedule.experiment!r}", "see why it could not be made"
            )
        key = (wanted.owner, schedule.pipeline, schedule.key)
        # Who takes over from another one does not start again from the beginning.
        first = not self._snapshot.of_schedule(*key)
        spans = schedule.spans(self._sides.zone, self._snapshot.now, backfill=first)
        wanted_runs = wanted.recurring(schedule, spans, pipeline.id, version.id, self._experiments[schedule.experiment])
        return _Target(schedule.name, key, wanted_runs, Memory(frozenset(one.id for one in self._snapshot.schedules)))

    def _schedules(self, targets: Sequence[_Target]) -> None:
        """Take steps until there is nothing to do for any."""
        schedules: Sequence[Schedule] = self._snapshot.schedules
        for _ in range(_ROUNDS):
            todo = self._next(targets, schedules)
            if not todo:
                return
            in_parallel(lambda each: self._take(each[0].name, *each[1:]), todo)
            targets = [target for target, _, _ in todo if target.name not in self._applied.errors]
            schedules = self._server.schedules()
        for target in targets:
            self._applied.errors[target.name] = ServerError(
                f"{target.name}: someone else changes it all the time", "find out who, then apply again"
            )

    def _next(
        self, targets: Sequence[_Target], schedules: Sequence[Schedule]
    ) -> list[tuple[_Target, Steps, Sequence[Schedule]]]:
        """Those that are not as wanted, each with its next steps and what is there."""
        by_key: dict[tuple[str, str, str], list[Schedule]] = {}
        for one in schedules:
            by_key.setdefault(marked(one), []).append(one)
        found = []
        for target in targets:
            present = by_key.get(target.key, [])
            steps = next_steps(target.wanted, present, self._snapshot.now, target.memory)
            target.memory = steps.memory or target.memory
            if steps.overtaken_by and not steps:
                self._applied.notices.append(
                    f"{target.name}: someone else changed it meanwhile, and theirs stands; apply again to have yours"
                )
            found.append((target, steps, present))
        if leaving := [one for _, steps, _ in found for one in steps.delete]:
            staying = undeletable(self._server, leaving, self._sides)
            found = [
                (target, replace(steps, delete=tuple(one for one in steps.delete if one.id not in staying)), present)
                for target, steps, present in found
            ]
        return [each for each in found if each[1]]

    def _take(self, name: str, steps: Steps, present: Sequence[Schedule]) -> None:
        try:
            if steps.create:
                # The one that was made last is the newest, which two at once have to agree upon.
                wait_until_after(self._server, max((one.created for one in present if one.created), default=None))
            for new in steps.create:
                made = self._server.create_schedule(replace(new, enabled=False))
                self._did("created schedule", name + begins_later(new), self._server.ui("schedule", made.id))
            for what, do, those in (
                ("paused", self._server.disable, steps.disable),
                ("enabled", self._server.enable, steps.enable),
                ("deleted", self._server.delete_schedule, steps.delete),
            ):
                for one in those:
                    do(one.id)
                    old = " (the old one)" if what != "enabled" and one not in steps.enable else ""
                    self._did(
                        what,
                        f"{name}{begins_later(one)}{old}",
                        self._server.ui("schedule", one.id) if what != "deleted" else "",
                    )
        except NotFoundError:
            pass  # someone else has deleted it; the next round sees what there is
        except RatchetError as error:
            self._failed(name, error)

    def _prune(self) -> None:
        groups = orphaned_schedules(self._sides)
        everyone = [one for found in groups.values() for one in found]
        staying = undeletable(self._server, everyone, self._sides) if everyone else set()
        in_parallel(lambda item: self._without(item[0], item[1], staying), groups.items())
        in_parallel(self._without_pipeline, orphaned_pipelines(self._sides))

    def _without(self, name: str, found: Sequence[Schedule], staying: set[str]) -> None:
        steps = Steps(
            disable=tuple(one for one in found if one.enabled),
            delete=tuple(one for one in found if one.id not in staying),
        )
        self._take(name, steps, ())
        if len(steps.delete) < len(found):
            self._applied.notices.append(
                f"{name}: paused, and deleted by the next --prune after its last run has ended"
            )

    def _without_pipeline(self, pipeline: Pipeline) -> None:
        others = foreign_schedules(self._sides, pipeline)
        if others:
            self._applied.errors[pipeline.name] = ServerError(
                f"{pipeline.name} is not deleted: schedules of others run it: {', '.join(one.name for one in others)}",
                "have them deleted first",
            )
            return
        try:
            self._server.delete_pipeline(pipeline.id)
        except RatchetError as error:
            self._applied.errors[pipeline.name] = error
            return
        self._did("deleted pipeline", pipeline.name)

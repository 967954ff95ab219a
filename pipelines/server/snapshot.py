"""What is on a server, as far as a `pipelines.yaml` is concerned: read in parallel, and no more than is needed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from kfp_ratchet.pipelines.declared import as_database
from kfp_ratchet.pipelines.server.marks import Mark
from kfp_ratchet.pipelines.server.objects import Experiment, Pipeline, Schedule, Version

if TYPE_CHECKING:
    from kfp_ratchet.pipelines.server.connection import Server

AT_ONCE = 16
"""Calls to a server at a time."""
_NEWEST = 2
"""Versions that are read of each pipeline: of two in one second nobody can tell which is newer."""

Given = TypeVar("Given")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Snapshot:
    """What was on a server."""

    now: datetime
    """The server's clock, UTC."""
    server_version: str
    pipelines: Mapping[str, Pipeline]
    """By name."""
    versions: Mapping[str, tuple[Version, ...]]
    """By id of the pipeline, newest first: of those that were asked for, and no more of each than were needed."""
    schedules: tuple[Schedule, ...]
    experiments: Mapping[str, Experiment]
    """By name."""

    def newest(self, pipeline_id: str) -> Version | None:
        """The newest version of a pipeline; None without one, or when two are equally new and differ."""
        return the_newest(self.versions.get(pipeline_id, ()))

    def experiment(self, name: str) -> Experiment | None:
        """The one that the database takes for this name; None without one."""
        same = (one for one in self.experiments.values() if as_database(one.name) == as_database(name))
        return self.experiments.get(name) or next(same, None)

    def owner(self, pipeline: Pipeline) -> str:
        """Who a pipeline belongs to, by the newest mark that it or a version of it has; "" when nobody marked it."""
        return owner(pipeline, self.versions.get(pipeline.id, ()))

    def of_schedule(self, name: str, pipeline: str, key: str) -> list[Schedule]:
        """The recurring runs that carry the mark of an owner's schedule."""
        return [one for one in self.schedules if marked(one) == (name, pipeline, key)]


def take_snapshot(server: "Server", names: Iterable[str], owned_by: str) -> Snapshot:
    """Read a server.

    Args:
        server: To read.
        names: Pipelines whose newest versions are needed.
        owned_by: The owner whose other pipelines' versions are needed too.
    """
    with ThreadPoolExecutor(4) as pool:
        health, pipelines = pool.submit(server.health), pool.submit(server.pipelines)
        schedules, experiments = pool.submit(server.schedules), pool.submit(server.experiments)
    by_name = {one.name: one for one in pipelines.result()}
    wanted = set(names)
    needed = [one for one in by_name.values() if one.name in wanted or _owner_said(one) == owned_by]
    versions = in_parallel(lambda one: _versions(server, one), needed)
    return Snapshot(
        now=health.result().now or datetime.now(UTC),
        server_version=health.result().version,
        pipelines=by_name,
        versions={one.id: found for one, found in zip(needed, versions, strict=True)},
        schedules=tuple(schedules.result()),
        experiments={one.name: one for one in experiments.result()},
    )


def the_newest(versions: Sequence[Version]) -> Version | None:
    """Of versions, newest first, the first; None without one, or when some of the same second differ from it."""
    tied = [one for one in versions if one.created == versions[0].created]
    return versions[0] if tied and all(one.spec == tied[0].spec for one in tied) else None


def newest_versions(server: "Server", pipeline_id: str) -> list[Version]:
    """The newest versions of a pipeline, newest first: two, or all when these are of one second."""
    found = server.versions(pipeline_id, newest=_NEWEST)
    tied = len(found) == _NEWEST and found[0].created == found[-1].created
    return server.versions(pipeline_id) if tied else found


def owner(pipeline: Pipeline, versions: Iterable[Version]) -> str:
    """Who a pipeline belongs to; see `Snapshot.owner`."""
    marks = (Mark.read(one.description) for one in versions)
    return next((mark.owner for mark in marks if mark and mark.owner), _owner_said(pipeline))


def marked(schedule: Schedule) -> tuple[str, str, str]:
    """Owner, pipeline and schedule that a recurring run's mark names; empty texts without one.

    A copy that someone made in the UI has the mark as well, and a name of its own: it is theirs.
    """
    mark = Mark.read(schedule.description) or Mark()
    ours = f"{mark.pipeline} {mark.schedule}"
    if schedule.name != ours and not schedule.name.startswith(f"{ours} from "):
        return "", "", ""
    return mark.owner, mark.pipeline, mark.schedule


def in_parallel(work: Callable[[Given], Result], things: Iterable[Given]) -> list[Result]:
    """Results in the order of the things."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(work, things))


def _versions(server: "Server", pipeline: Pipeline) -> tuple[Version, ...]:
    found = newest_versions(server, pipeline.id)
    # A pipeline that was adopted has its mark on a version, which may be an older one.
    if not owner(pipeline, found) and len(found) == _NEWEST:
        found = server.versions(pipeline.id)
    return tuple(found)


def _owner_said(pipeline: Pipeline) -> str:
    mark = Mark.read(pipeline.description)
    return mark.owner if mark else ""

"""What to do next about a schedule's recurring runs, given what is there. A pure function that is asked again after each step.

A recurring run cannot be edited, and a server knows no transactions. So a new one is made disabled; the old ones are disabled, the new
one is enabled; then the old ones are deleted. Each step is decided anew from what the server says: whoever is killed in between is
followed up by the next one, and two at once come to one result. Of equal ones the oldest is kept, of different ones the newest.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from kfp_ratchet.components.shared.canonical import dumps
from kfp_ratchet.pipelines.declared_schedules import same_trigger
from kfp_ratchet.pipelines.server.marks import Mark
from kfp_ratchet.pipelines.server.objects import NewSchedule, Schedule

_LATER = re.compile(r" from [0-9]{4}-[0-9]{2}-[0-9]{2}$")
Age = tuple[float, str]
"""When a recurring run was made; of two in one second everyone takes the same for the older one."""


@dataclass(frozen=True)
class Memory:
    """What one apply knows from its rounds before."""

    known: frozenset[str]
    """Ids of those that were there when it began."""
    newest: Age | None = None
    """Of all that it ever saw to be as wanted: what is newer and otherwise was made by someone else meanwhile."""


@dataclass(frozen=True)
class Steps:
    """The next steps, to be taken in the order of the fields; after the last of them the server is asked again."""

    create: tuple[NewSchedule, ...] = ()
    disable: tuple[Schedule, ...] = ()
    enable: tuple[Schedule, ...] = ()
    delete: tuple[Schedule, ...] = ()
    overtaken_by: tuple[Schedule, ...] = ()
    """Enabled ones that someone else made meanwhile, with other content; theirs stand."""
    memory: Memory | None = None
    """For the next round."""

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.create or self.disable or self.enable or self.delete)


def next_steps(
    wanted: Sequence[NewSchedule],
    present: Sequence[Schedule],
    now: datetime,
    memory: Memory | None = None,
    undeletable: Collection[str] = (),
) -> Steps:
    """What to do next so that exactly the wanted ones are there, each enabled if it is to be.

    Args:
        wanted: The recurring runs that a schedule takes; none when it is over or no longer declared.
        present: All on the server that carry the mark of this schedule.
        now: The server's time.
        memory: From the round before, or of the ids that were there at first; None when nobody else can have come between.
        undeletable: Ids of those that may not be deleted yet: a run of theirs goes on, which would end with them.
    """
    kept = [_elected(one, present, now) for one in wanted]
    others = [one for one in present if one not in kept]
    if memory:
        ages = [_age(one) for one in kept if one] + ([memory.newest] if memory.newest else [])
        memory = replace(memory, newest=max(ages, default=None))
    foreign = [
        one for one in others if _made_meanwhile(one, memory) and not any(_fits(one, each, now) for each in wanted)
    ]
    if overtaking := tuple(one for one in foreign if one.enabled):
        yielding = (
            one for one in present if one.enabled and one not in foreign and _must_yield(one, overtaking, memory)
        )
        return Steps(disable=tuple(yielding), overtaken_by=overtaking, memory=memory)
    pairs = list(zip(wanted, kept, strict=True))
    if missing := tuple(one for one, found in pairs if found is None):
        return Steps(create=missing, memory=memory)
    rest = [one for one in others if one not in foreign]
    disable = [
        *(one for one in rest if one.enabled),
        *(found for one, found in pairs if found and found.enabled and not one.enabled),
    ]
    enable = [found for one, found in pairs if found and one.enabled and not found.enabled]
    if disable or enable:
        return Steps(disable=tuple(disable), enable=tuple(enable), memory=memory)
    return Steps(delete=tuple(one for one in rest if one.id not in undeletable), memory=memory)


def _made_meanwhile(one: Schedule, memory: Memory | None) -> bool:
    return memory is not None and one.id not in memory.known and memory.newest is not None and _age(one) > memory.newest


def _must_yield(one: Schedule, overtaking: Sequence[Schedule], memory: Memory | None) -> bool:
    """Whether it cannot be part of what the others want: what was there before and fires at other times may be."""
    theirs = {since(each) for each in overtaking}
    return memory is None or one.id not in memory.known or since(one) in theirs or bool(since(one)) != any(theirs)


def differences(present: NewSchedule, wanted: NewSchedule, now: datetime) -> list[str]:
    """Which fields differ, by their name in `pipelines.yaml`; whether it is enabled is another question."""
    same = {
        "trigger": same_trigger(present.trigger, wanted.trigger, now),
        "version": (present.pipeline_id, present.version_id) == (wanted.pipeline_id, wanted.version_id),
        "parameters": _plain(present.parameters) == _plain(wanted.parameters),
        "experiment": present.experiment_id == wanted.experiment_id,
        "catch_up": present.catch_up == wanted.catch_up,
        "max_concurrency": present.max_concurrency == wanted.max_concurrency,
    }
    return [name for name, equal in same.items() if not equal]


def since(schedule: NewSchedule) -> str:
    """Which span of its schedule a recurring run is for, as its mark says."""
    mark = Mark.read(schedule.description)
    return mark.since if mark else ""


def begins_later(schedule: NewSchedule) -> str:
    """` from 2027-03-28`, as the name ends of a recurring run that begins when clocks are changed; "" for others."""
    found = _LATER.search(schedule.name)
    return found[0] if found and since(schedule) else ""


def _elected(wanted: NewSchedule, present: Sequence[Schedule], now: datetime) -> Schedule | None:
    """Of those that are as wanted the oldest, so that everyone who asks comes to the same."""
    return min((one for one in present if _fits(one, wanted, now)), key=_age, default=None)


def _fits(present: Schedule, wanted: NewSchedule, now: datetime) -> bool:
    return since(present) == since(wanted) and not differences(present, wanted, now)


def _age(schedule: Schedule) -> Age:
    return (schedule.created.timestamp() if schedule.created else 0.0, schedule.id)


def _plain(value: object) -> str:
    """As text in which 1 and 1.0 are the same, as they are to a server, and true is neither."""
    return dumps(_as_doubles(value))


def _as_doubles(value: object) -> object:
    if isinstance(value, dict):
        return {key: _as_doubles(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_doubles(inner) for inner in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value

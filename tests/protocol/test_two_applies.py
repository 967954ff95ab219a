"""Every order of two applies, one of which may be killed and tried again, over one schedule: the real decisions, on a server in memory.

The server here knows recurring runs and nothing else, and does each call whole, as the real one does.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from interleaving import Scene, Turn, ViolationError, explore

from kfp_ratchet.pipelines.server.marks import Mark
from kfp_ratchet.pipelines.server.objects import NewSchedule, Schedule, Trigger
from kfp_ratchet.pipelines.server.recurring import Memory, next_steps

NOW = datetime(2026, 11, 23, 4, tzinfo=UTC)
FOREIGN = "foreign"


def wanted(version, enabled=True):
    mark = Mark("delays", "flights", "nightly")
    return NewSchedule("flights nightly", str(mark), "e", "p", version, Trigger("0 0 3 * * *"), {}, enabled=enabled)


@dataclass
class World:
    """Recurring runs, by id."""

    there: dict[str, Schedule] = field(default_factory=dict)
    made: int = 0
    seconds: int = 0
    ids: tuple[str, ...] = ("b", "a", "d", "c", "f", "e", "h", "g")
    """Not in the order in which they are given out, as those of a server are not."""

    def create(self, new):
        made = Schedule(
            **{**new.__dict__, "enabled": False}, id=self.ids[self.made], created=NOW + timedelta(seconds=self.seconds)
        )
        self.made += 1
        self.there[made.id] = made
        return made.id

    def switch(self, which, on):
        if which not in self.there:
            return False
        self.there[which] = replace(self.there[which], enabled=on)
        return True

    def state(self):
        return (
            tuple(sorted((one.id, one.version_id, one.enabled, one.created) for one in self.there.values())),
            self.seconds,
            self.made,
        )

    def died(self, name): ...


def applying(turn, world, want, steps_of=next_steps):
    """What apply does about one schedule, call by call."""

    def program():
        memory = None
        for _ in range(12):
            present = turn.take("list", lambda: tuple(world.there[each] for each in sorted(world.there)))
            present = [one for one in present if one.id != FOREIGN]
            memory = memory or Memory(frozenset(one.id for one in present))
            steps = steps_of([want], present, NOW, memory)
            memory = steps.memory
            if not steps:
                return "overtaken" if steps.overtaken_by else "done"
            for new in steps.create:
                newest = max((one.created for one in present), default=None)

                def create(new=new, newest=newest):
                    # It waits until the server's clock is past the second of the newest one.
                    if newest is not None and newest >= NOW + timedelta(seconds=world.seconds):
                        world.seconds += 1
                    return world.create(new)

                turn.take("create", create)
            for on, those in ((False, steps.disable), (True, steps.enable)):
                for one in those:
                    if not turn.take("switch", lambda one=one, on=on: world.switch(one.id, on)):
                        break
            for one in steps.delete:
                turn.take("delete", lambda one=one: world.there.pop(one.id, None) is not None)
        return "gave up"

    return program


def always(scene):
    return None if scene.world.there[FOREIGN].enabled else "what is not ours was touched"


def at_rest(wants):
    def wrong(scene, outcomes):
        ours = [one for one in scene.world.there.values() if one.id != FOREIGN]
        enabled = [one for one in ours if one.enabled]
        if any(isinstance(outcome, Exception) or outcome == "gave up" for outcome in outcomes.values()):
            return f"one did not come to an end: {outcomes}"
        if outcomes and len(enabled) != 1:
            return f"{len(enabled)} are enabled: {ours}"
        if outcomes and enabled[0].version_id not in wants:
            return "the old one is what fires"
        return None

    return wrong


def scene(wants, kills=0, old=True, steps_of=next_steps, tick=False, pauses=None):
    """Two programs; of two that differ each has its retry, which wants the same."""

    def begin(turn: "type[Turn]"):
        world = World()
        if old:
            world.there["z"] = Schedule(
                **{**wanted("old").__dict__, "enabled": True}, id="z", created=NOW - timedelta(days=1)
            )
        world.there[FOREIGN] = Schedule(
            **{**wanted("old").__dict__, "enabled": True}, id=FOREIGN, created=NOW - timedelta(days=2)
        )
        names = [f"{letter}{number}" for letter, number in zip("AB", wants, strict=False)]
        programs = {
            name: applying(turn(name), world, wanted(version), steps_of)
            for name, version in zip(names, wants, strict=True)
        }
        after = {}
        if kills:
            for name, version in zip(names, wants, strict=True):
                programs[f"{name}-again"] = applying(turn(f"{name}-again"), world, wanted(version), steps_of)
                after[f"{name}-again"] = name

        def second():
            world.seconds += 1

        return Scene(world, programs, after, kills, {"a second passes": second} if tick else {}, pauses)

    return begin


EVERY_ORDER = pytest.param(None, marks=pytest.mark.slow)


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("pauses", [2, EVERY_ORDER])
@pytest.mark.parametrize("wants", [["v1", "v1"], ["v1", "v2"]])
def test_two_applies_leave_exactly_one_enabled(wants, pauses, old):
    explored = explore(scene(wants, old=old, tick=True, pauses=pauses), always, at_rest(set(wants)))
    assert explored.ends and explored.states > 50


@pytest.mark.slow
@pytest.mark.parametrize("wants", [["v1", "v1"], ["v1", "v2"]])
def test_whoever_is_killed_anywhere_is_followed_up_by_the_next(wants):
    explored = explore(scene(wants, kills=1, pauses=3), always, at_rest(set(wants)))
    assert explored.ends and explored.states > 500


def test_one_apply_killed_anywhere_and_tried_again_never_has_two_enabled():
    def never_two(scene):
        enabled = [one for one in scene.world.there.values() if one.enabled and one.id != FOREIGN]
        return always(scene) or (f"{len(enabled)} are enabled at once" if len(enabled) > 1 else None)

    explored = explore(scene(["v1"], kills=1), never_two, at_rest({"v1"}))
    assert explored.ends > 5


def test_the_model_checker_sees_what_goes_wrong_when_the_newest_does_not_stand():
    """Without yielding to one that was made meanwhile, two that differ take turns in deleting each other's."""

    def stubborn(want, present, now, memory):
        return replace(next_steps(want, present, now, None), memory=memory)

    with pytest.raises(ViolationError):
        explore(scene(["v1", "v2"], steps_of=stubborn, tick=True), always, at_rest({"v1", "v2"}))

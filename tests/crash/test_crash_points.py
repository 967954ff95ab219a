"""Die at every write of register, deploy, approve, force and rollback: whoever comes next, exactly one version is live in the end, it is
the one the ledger says, and nothing was done twice."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from kfp_ratchet.components.deploy.by_hand import force_live, rollback
from kfp_ratchet.components.shared import registry
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.ledger import Ledger

REQUIRED = {"approval": "required"}
OTHER = 9.0
"""The candidate of a run that comes in between."""


THEN = ("it is repeated", "another run does the same", "another model comes first", "nobody repeats it")


@dataclass(frozen=True)
class Scenario:
    """What is killed, from where it starts, who may come next, and who is champion when it was repeated."""

    base: str
    act: Callable[..., None]
    ends_with: float
    then: tuple[str, ...] = THEN


def of_run(slope, verdict="promote", **policy):
    def act(world, run, epoch=None):
        world.run(slope, world.epoch if epoch is None else epoch, run, verdict, **policy)

    return act


def by_step(version, by):
    return lambda world, run, epoch=None: world.approve(version, by, run)


def by_hand(command, *arguments):
    return lambda world, run, epoch=None: command(world.place, *arguments)


REPEATED = THEN[:1]
BY_HAND = (THEN[0], *THEN[2:])
"""A command is repeated by the person who gave it; no other run does the same."""
SCENARIOS = {
    "the first model": Scenario("empty", of_run(1), 1),
    "a second model": Scenario("one live", of_run(2), 2),
    "a third, which removes the first one's folder": Scenario("two live", of_run(3), 3, REPEATED),
    "after a deploy that died": Scenario("one died", of_run(3), 3, REPEATED),
    "a rejected model": Scenario("one live", of_run(2, "reject"), 1, REPEATED),
    "a model that waits for approval": Scenario("one live", of_run(2, **REQUIRED), 1, REPEATED),
    "a tag found by a later run": Scenario("one is tagged", of_run(2, **REQUIRED), 2, REPEATED),
    "an approval by a tag": Scenario("one is tagged", by_step("", ""), 2, BY_HAND),
    "an approval": Scenario("one waits", by_step("2", "ann"), 2, BY_HAND),
    "a rollback": Scenario("two live", by_hand(rollback, "1", "ann", "worse"), 1, BY_HAND),
    "a forced promotion": Scenario("one rejected", by_hand(force_live, "2", "ann", "demo"), 2, BY_HAND),
}


@pytest.fixture(scope="session")
def saved(world):
    """The world as it stands before each scenario, by name."""
    with world.process():
        with registry.connected(world.tracking_uri):
            pass
        world.save("empty")
        world.run(1, 0, "run-1")
        world.save("one live")
        world.run(2, world.epoch, "run-2")
        world.save("two live")
        for name, prepare in {
            "one rejected": lambda: world.run(2, world.epoch, "run-2", "reject"),
            "one waits": lambda: world.run(2, world.epoch, "run-2", **REQUIRED),
        }.items():
            world.restore("one live")
            prepare()
            world.save(name)
        world.restore("one waits")
        with registry.connected(world.tracking_uri) as client:
            client.set_model_version_tag("line", "2", registry.APPROVAL_TAG, "approved")
        world.save("one is tagged")
        world.restore("one live")
        (started,) = (at for at, name in enumerate(writes(world, of_run(2)), 1) if name == "process start")
        world.restore("one live")
        die(world, of_run(2), started, "after")
        world.save("one died")
    return world


def writes(world, act):
    """The writes of an undisturbed course, in order."""
    with world.process(), world.faults() as faults:
        act(world, "run-x")
    return faults.seen


def die(world, act, at, when):
    """Be killed at a write; in another run the writes before it may be others, so that it is not reached: then it goes all the way."""
    before = world.target.live()
    with world.process():
        with world.faults(at, when) as faults:
            try:
                act(world, "run-x")
            except BaseException:
                if not faults.dead:
                    raise
        if before is not None:
            assert before.pid in world.servers.table or world.ledger.champion().version != before.version, (
                "the old version was stopped before another was champion"
            )
        assert world.ledger.verify() == []


def crash(world, name, at, when, then):
    """One case: killed at write `at`, and then what `then` says."""
    scenario = SCENARIOS[name]
    world.restore(scenario.base)
    epoch = world.epoch
    die(world, scenario.act, at, when)
    with world.process():
        if then == "nobody repeats it":
            world.ensure()
            return world.problems(is_over=False)
        if then == "another model comes first":
            world.run(OTHER, world.epoch, "run-y")
            found = world.problems(is_registered=False)
            if world.slope_of(world.target.live().digest) != OTHER:
                found.append("the other run did not get live")
            try:
                scenario.act(world, "run-x", epoch)
            except RatchetError as error:
                assert error.message and error.remedy
            return found + world.problems()
        try:
            scenario.act(world, "run-x" if then == "it is repeated" else "run-z", epoch)
        except InputError as error:
            # The command had done all that it had to.
            assert scenario.then == BY_HAND and "is the champion already" in error.message
        found = world.problems()
        live = world.slope_of(world.target.live().digest)
        if live != scenario.ends_with:
            found.append(f"{live} is live, not {scenario.ends_with}")
        return found


def cases(world, name):
    """The names of a scenario's writes, and every (write, before or after it, who comes next)."""
    scenario = SCENARIOS[name]
    world.restore(scenario.base)
    points = writes(world, scenario.act)
    repeated = [(at, when, THEN[0]) for at in range(1, len(points) + 1) for when in ("before", "after")]
    # Just before a write all is as just after the one before it, so with the others one of both will do; and of what goes to MLflow, where
    # a dozen writes in a row differ in nothing that matters to them, one in four.
    chosen = [at for at, point in enumerate(points, 1) if at % 4 == 0 or not point.startswith("mlflow")]
    return points, repeated + [(at, "after", then) for then in scenario.then[1:] for at in chosen]


def violations(world, name, some=0):
    """All cases of a scenario, or some spread over it: how many there were, and what went wrong."""
    points, chosen = cases(world, name)
    if some:
        chosen = random.Random(name).sample(chosen, some)
    found = []
    for at, when, then in chosen:
        try:
            problems = crash(world, name, at, when, then)
        except Exception as error:
            problems = [f"{type(error).__name__}: {error}"]
        found += [f"{name}, killed {when} {at} ({points[at - 1]}), {then}: {problem}" for problem in problems]
    return len(chosen), found


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_here_and_there(saved, name):
    """A few of the cases below: enough to see at once that an order of writes was broken, not enough to be sure."""
    assert violations(saved, name, some=2) == (2, [])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_at_every_write(saved, name, record_testsuite_property):
    count, found = violations(saved, name)
    writes = len(cases(saved, name)[0])
    record_testsuite_property(name, json.dumps({"writes": writes, "cases": count, "violations": len(found)}))
    assert count >= 2 * writes and found == []


@pytest.mark.slow
def test_that_were_at_least_500_cases(saved):
    assert sum(len(cases(saved, name)[1]) for name in SCENARIOS) >= 500


@pytest.mark.slow
def test_the_cases_find_a_switch_that_stops_the_old_server_too_early(saved, monkeypatch):
    from kfp_ratchet.components.deploy.local import LocalTarget

    switch = LocalTarget.switch

    def too_early(self, live):
        self.stop_all_but(live)
        switch(self, live)

    monkeypatch.setattr(LocalTarget, "switch", too_early)
    assert violations(saved, "a second model", some=40)[1] != []


@pytest.mark.slow
def test_the_cases_find_a_commit_without_its_check(saved, monkeypatch):
    monkeypatch.setattr(Ledger, "find", lambda self, draft: None)
    assert violations(saved, "a second model", some=40)[1] != []

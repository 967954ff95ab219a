"""No order of steps, kill or pause lets two deploys win, or leaves live what the ledger does not say.

The programs are the real `roll_out` over the real `Ledger`, and every order of their steps is gone through; where the last line of a test's
docstring says so, every order with a few pauses. Then the protocol is broken on purpose, to see that the search finds it.
"""

import contextlib
import json
import re

import pytest
from deploying import (
    EPOCH,
    MemoryApi,
    MemoryStore,
    Target,
    World,
    as_in_memory,
    deploy,
    promotion,
    target_in,
    wrong_in_ledger,
    wrong_in_serving,
)
from interleaving import Scene, ViolationError, explore

from kfp_ratchet.components.deploy import target as targets
from kfp_ratchet.components.deploy.kubernetes.target import KubernetesTarget
from kfp_ratchet.components.shared import ledger as ledgers
from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.ledger import Ledger


@pytest.fixture(autouse=True)
def in_memory(monkeypatch):
    as_in_memory(monkeypatch)


def scene(programs, remote=False, lease=False, waits=False, **options):
    """Makes scenes in which version 1 is live and champion, and version 0 was before; `programs(world, turn)` are what runs."""
    before = World(remote)
    deploy(before, None, promotion("0", 0, "before"))
    deploy(before, None, promotion("1", 2, "before"))
    if waits:
        before.ledger().append(promotion("W", EPOCH, "run W", kind="pending"))

    def begin(turn):
        world = World(remote)
        world.like(before)
        events = {"lease": world.pass_a_lease} if lease else {}
        return Scene(world, programs(world, turn), events=events, **options)

    return begin


def deploys(*names):
    """A deploy each; A' is the retry of A."""

    def program(world, turn, name):
        version = name.removesuffix("'")
        return lambda: deploy(world, turn(name), promotion(version, EPOCH, f"run {version}"))

    return lambda world, turn: {name: program(world, turn, name) for name in names}


def rolls_back(world, turn):
    """A rollback from version 1 to version 0; asked for again, it is the same one."""
    draft = promotion("0", EPOCH, "rollback by ann", kind="rollback", by="ann")
    return lambda: deploy(world, turn, draft)


def whole(scene):
    return wrong_in_ledger(scene.world)


def serves(scene):
    """The same, and whoever asks is answered at any time: by the former champion until the next is ready."""
    if not scene.world.is_answered():
        return "nothing answers"
    return wrong_in_ledger(scene.world)


def settles(scene, outcomes):
    """What is live in the end is what the ledger says, and whoever lost was told why."""
    wrong = wrong_in_serving(scene.world) or wrong_in_ledger(scene.world)
    if wrong:
        return wrong
    for name, outcome in outcomes.items():
        if isinstance(outcome, Exception) and not (isinstance(outcome, RatchetError) and outcome.remedy):
            return f"{name} ended with {outcome!r}"
    return None


def test_two_deploys_on_one_machine_have_one_winner():
    explored = explore(scene(deploys("A", "B")), serves, settles)
    assert explored.outcomes == {
        (("A", winner_a), ("B", winner_b))
        for winner_a, winner_b in (
            ("live A", "StaleEpochError"),
            ("live A", "RatchetError"),
            ("StaleEpochError", "live B"),
            ("RatchetError", "live B"),
        )
    }


def test_a_deploy_killed_anywhere_and_tried_again_beside_another_leaves_one_live():
    explored = explore(scene(deploys("A", "B", "A'"), kills=1, after={"A'": "A"}), serves, settles)
    assert explored.states > 1000
    assert {(("A'", "live A"), ("B", "StaleEpochError")), (("A'", "StaleEpochError"), ("B", "live B"))} <= {
        tuple(pair for pair in outcome if pair[1] != "None") for outcome in explored.outcomes
    }


@pytest.mark.slow
def test_a_rollback_beside_a_deploy_with_either_killed_and_tried_again_leaves_one_live():
    def programs(world, turn):
        retried = {name: rolls_back(world, turn(name)) for name in ("R", "R'")}
        return deploys("A", "A'")(world, turn) | retried

    explored = explore(scene(programs, kills=1, after={"A'": "A", "R'": "R"}), serves, settles)
    told = {pair for outcome in explored.outcomes for pair in outcome}
    assert {("A", "live A"), ("R", "live 0"), ("A'", "live A"), ("R'", "live 0")} <= told


@pytest.mark.slow
def test_three_deploys_at_once_have_one_winner():
    explored = explore(scene(deploys("A", "B", "C")), serves, settles)
    winners = [[name for name, told in outcome if told.startswith("live")] for outcome in explored.outcomes]
    assert all(len(winner) == 1 for winner in winners) and {name for (name,) in winners} == set("ABC")


@pytest.mark.slow
def test_a_deploy_that_was_taken_over_never_undoes_the_one_that_took_over():
    """Two machines, one target without a lock, and a lease that may run out at any time.

    With two pauses.
    """
    explored = explore(scene(deploys("A", "B"), remote=True, lease=True, pauses=2), serves, settles)
    assert (("A", "LostDeployError"), ("B", "live B")) in explored.outcomes


@pytest.mark.slow
def test_a_machine_that_dies_and_comes_back_while_another_takes_over_leaves_one_live():
    """The same with a kill and a retry.

    Without a pause: whoever is killed is the only one that stops halfway. With one, the search takes more minutes than a test may.
    """
    programs = deploys("A", "B", "A'")
    explored = explore(scene(programs, remote=True, lease=True, kills=1, after={"A'": "A"}, pauses=0), serves, settles)
    assert any(("B", "live B") in outcome for outcome in explored.outcomes)


@pytest.mark.slow
def test_two_attempts_of_one_deploy_at_once_do_no_harm_to_each_other():
    """A step that counts as dead and goes on beside its retry, on one target without a lock.

    With two pauses.
    """
    explored = explore(scene(deploys("A", "A'"), remote=True, lease=True, pauses=2), serves, settles)
    assert (("A", "live A"), ("A'", "live A")) in explored.outcomes


@pytest.mark.slow
def test_what_waits_is_answered_once_and_expires_with_its_champion():
    """Two people answer while the version would go live, and another one does.

    With one pause.
    """

    def programs(world, turn):
        def answer(kind, name):
            draft = Draft(kind=kind, version="W", digest="", epoch=0, run=name, by=name)
            return lambda: world.ledger(turn(name)).append(draft).kind

        def deploy_approved():
            ledger = world.ledger(turn("W"))
            for approved in ledger.approved():
                return deploy(world, turn("W"), promotion("W", approved.epoch, "run W"))
            return "waits"

        answers = {"ann": answer("approve", "ann"), "bob": answer("deny", "bob")}
        return answers | {"W": deploy_approved} | deploys("A")(world, turn)

    explored = explore(scene(programs, waits=True, pauses=1), serves, settles)
    told = {pair for outcome in explored.outcomes for pair in outcome}
    assert {("ann", "approve"), ("ann", "ApprovalError"), ("ann", "StaleEpochError"), ("W", "live W")} <= told
    for outcome in map(dict, explored.outcomes):
        assert (outcome["ann"], outcome["bob"]) != ("approve", "deny")
        assert outcome["W"] != "live W" or outcome["ann"] == "approve"


def found(scene_maker, always=whole):
    """What the search says of a protocol that was broken after the scene was set."""
    with pytest.raises(ViolationError) as caught:
        explore(scene_maker, always, settles)
    return str(caught.value).partition("; after ")[0]


def test_the_search_finds_a_ledger_that_skips_the_epoch(monkeypatch):
    maker = scene(deploys("A", "B"))
    monkeypatch.setattr(ledgers, "_NEEDS_EPOCH", frozenset())
    assert "but was judged against 4" in found(maker)


def test_the_search_finds_a_ledger_that_skips_the_intent(monkeypatch):
    maker = scene(deploys("A", "B"), remote=True, lease=True, pauses=2)
    monkeypatch.setattr(Ledger, "_check_intent", lambda *_: None)
    assert re.fullmatch(r"entry \d+ commits deploy 5, but \d+ is open", found(maker))


def test_the_search_finds_a_cluster_that_ignores_the_condition(monkeypatch):
    def put(self, made, version):
        self._world.service = json.dumps(made)

    maker = scene(deploys("A", "B"), remote=True, lease=True, pauses=2)
    monkeypatch.setattr(MemoryApi, "_put", put)
    assert re.fullmatch(r"nothing answers.*|version [1AB] is live, but the ledger says [AB]", found(maker, serves))


def test_the_search_finds_a_target_that_removes_pods_before_it_fences(monkeypatch):
    def unfenced(self, live):
        if live is None or not live.committed:
            return []
        return self._removed([pool for pool, entry in self._pools() if entry <= self._ended and pool != live.pool])

    maker = scene(deploys("A", "B"), remote=True, lease=True, pauses=2)
    monkeypatch.setattr(KubernetesTarget, "stop_all_but", unfenced)
    assert "nothing answers" in found(maker, serves)


def test_the_search_finds_a_target_that_undoes_what_may_still_be_committed(monkeypatch):
    maker = scene(deploys("A", "A'"), remote=True, pauses=2)
    monkeypatch.setattr(targets, "_is_open", lambda *_: False)
    assert re.fullmatch(r"version [1A] is live, but the ledger says A|nothing answers.*", found(maker, serves))


def test_the_search_finds_a_store_that_ignores_the_condition(monkeypatch):
    def create(self, key, content):
        return self._step(
            f"create {key} {content!r}", lambda: self._world.objects.update({key: (content, False)}) or True
        )

    maker = scene(deploys("A", "B"), remote=True, pauses=2)
    monkeypatch.setattr(MemoryStore, "create", create)
    assert "was changed after" in found(maker) or "is live" in found(maker)


def test_the_search_finds_a_machine_without_a_lock(monkeypatch):
    maker = scene(deploys("A", "B"), lease=True, pauses=2)
    monkeypatch.setattr(Target, "lock", lambda self: contextlib.nullcontext())
    assert re.fullmatch(r"nothing answers.*|version \w is live, but the ledger says \w", found(maker, serves))


def test_the_search_finds_a_settling_that_forgets_what_was_committed(monkeypatch):
    maker = scene(deploys("A", "A'"), kills=1, after={"A'": "A"})
    monkeypatch.setattr(targets, "MAKES_CHAMPION", frozenset())
    assert found(maker) == "version 1 is live, but the ledger says A"


@pytest.mark.parametrize("remote", [False, True], ids=["local", "kubernetes"])
def test_a_switch_in_the_name_of_an_older_entry_is_refused(remote):
    world = World(remote)
    deploy(world, None, promotion("0", 0, "before"))
    target = target_in(world)
    live = target.live()
    target.switch(live.model_copy(update={"entry": live.entry + 2}))
    later = target.live()
    with pytest.raises(RatchetError, match="may not change"):
        target.switch(live.model_copy(update={"version": "late"}))
    assert target.live() == later

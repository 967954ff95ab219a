"""A deploy ends with exactly one live version that the ledger agrees on, wherever it is killed or fails."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from kfp_ratchet.components.deploy import process, rollout
from kfp_ratchet.components.deploy.by_hand import rollback
from kfp_ratchet.components.deploy.live import ensure, live, stop, strangers
from kfp_ratchet.components.deploy.local import Live, LocalTarget
from kfp_ratchet.components.deploy.probe import Probe, ask
from kfp_ratchet.components.deploy.rollout import roll_out
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.ledger import Ledger, StaleEpochError


def deploy(bench, version, **overrides):
    arguments = {"fetch": bench.fetch(version), "probe": bench.probe(version), **overrides}
    draft = arguments.pop("draft", None) or bench.draft(version)
    return roll_out(bench.ledger, bench.target, draft, **arguments)


def answer(bench):
    return ask(bench.target.live().url, {"columns": ["x"], "data": [[1.0]]})


def assert_live(bench, version):
    """The ledger, live.json and the only running server name the same version."""
    there = bench.target.live()
    champion = bench.ledger.champion()
    assert (champion.version, there.version, there.committed, there.previous) == (version, version, True, None)
    assert there.epoch == champion.epoch
    assert bench.running() == [there.pid]
    assert answer(bench) == [float(version)]
    assert bench.ledger.open_intent() is None and bench.ledger.verify() == []


@pytest.mark.slow
def test_a_second_version_replaces_the_first_and_a_rollback_brings_it_back(bench):
    first = deploy(bench, "1")
    assert_live(bench, "1")
    assert (first.previous_version, first.answered.rows, first.answered.max_difference) == ("", 2, 0.0)
    deploy(bench, "2")
    assert_live(bench, "2")
    entry = rollback(bench.place, None, "ann", "wrong")
    assert (entry.kind, entry.version, entry.by, entry.reason) == ("rollback", "1", "ann", "wrong")
    assert_live(bench, "1")
    with pytest.raises(InputError, match="no champion before"):
        rollback(bench.place, None, "ann", "again")
    with pytest.raises(InputError, match="never champion"):
        rollback(bench.place, "7", "ann", "")


@pytest.mark.slow
def test_wrong_answers_leave_the_old_version_serving_and_say_which_row(bench):
    deploy(bench, "1")
    wrong = Probe(rows={"columns": ["x"], "data": [[1.0], [2.5]]}, scores=[2.0, 5.1])
    with pytest.raises(RatchetError, match=r"answers 5\.0 to row 1 of the probe; the model itself said 5\.1"):
        deploy(bench, "2", probe=wrong)
    assert_live(bench, "1")
    failed = bench.ledger.entries()[-1]
    assert failed.kind == "deploy-failed" and "row 1" in failed.reason


@pytest.mark.slow
def test_a_server_killed_while_it_is_probed_leaves_the_old_one_serving(bench):
    deploy(bench, "1")

    def kill(said):
        if "comparing its answers" in said:
            (new,) = set(bench.running()) - {bench.target.live().pid}
            os.kill(new, signal.SIGKILL)

    with pytest.raises(RatchetError, match=r"does not answer: .*") as caught:
        deploy(bench, "2", say=kill)
    assert "killed" in caught.value.remedy
    assert_live(bench, "1")
    deploy(bench, "2")
    assert_live(bench, "2")


@pytest.mark.slow
def test_a_model_that_does_not_load_is_undone_with_the_end_of_its_log(bench):
    (bench.model("1") / "artifacts" / "workload" / "weights.json").write_text('{"slant": 1.0}')
    with pytest.raises(RatchetError, match="ended before it answered: KeyError: 'slope'") as caught:
        deploy(bench, "1")
    assert "server.log" in caught.value.remedy and "Traceback" not in str(caught.value)
    assert bench.running() == [] and bench.target.live() is None and bench.ledger.champion() is None
    assert [entry.kind for entry in bench.ledger.entries()] == ["deploy-started", "deploy-failed"]


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the deploy runs after it."""


POINTS = {
    "after the intent": (LocalTarget, "stage", "before"),
    "before the start": (LocalTarget, "launch", "before"),
    "after the probe": (LocalTarget, "launch", "after"),
    "after the switch": (LocalTarget, "switch", "after"),
    "after the commit": (Ledger, "append", "after promote"),
    "before the old one stops": (LocalTarget, "stop_all_but", "after promote"),
}


def kill_at(monkeypatch, bench, point):
    owner, name, when = POINTS[point]
    real = getattr(owner, name)

    def killed(self, *arguments, **keywords):
        promoted = arguments and getattr(arguments[0], "kind", "") == "promote"
        committed = bench.ledger.champion() is not None and bench.ledger.champion().version == "2"
        if when == "before":
            raise Killed
        if when == "after promote" and name != "append" and committed:
            raise Killed
        result = real(self, *arguments, **keywords)
        if when == "after" or (name == "append" and promoted):
            raise Killed
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        patch.setattr(rollout, "_undo", lambda *_: None)
        with pytest.raises(Killed):
            deploy(bench, "2")


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_deploy_is_finished_by_its_retry_and_nothing_is_doubled(bench, monkeypatch, point):
    deploy(bench, "1")
    draft = bench.draft("2")
    kill_at(monkeypatch, bench, point)
    assert answer(bench) in ([1.0], [2.0])
    deploy(bench, "2", draft=draft)
    assert_live(bench, "2")
    kinds = [entry.kind for entry in bench.ledger.entries()]
    assert kinds == ["deploy-started", "promote", "deploy-started", "promote"]
    deploy(bench, "2", draft=draft)
    assert len(bench.ledger.entries()) == 4


@pytest.mark.slow
@pytest.mark.parametrize("point", ["after the switch", "after the commit"])
def test_a_killed_deploy_is_finished_by_another_run_with_the_same_candidate(bench, monkeypatch, point):
    deploy(bench, "1")
    draft = bench.draft("2")
    kill_at(monkeypatch, bench, point)
    deploy(bench, "2", draft=draft.model_copy(update={"run": "run-again"}))
    assert_live(bench, "2")
    assert len(bench.ledger.entries()) == 4


@pytest.mark.slow
@pytest.mark.parametrize("to", [None, "2"])
def test_a_rollback_killed_after_its_commit_and_repeated_goes_back_once(bench, monkeypatch, to):
    for version in "123":
        deploy(bench, version)
    append = Ledger.append

    def killed(self, draft):
        entry = append(self, draft)
        if draft.kind == "rollback":
            raise Killed
        return entry

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", killed)
        patch.setattr(rollout, "_undo", lambda *_: None)
        with pytest.raises(Killed):
            rollback(bench.place, to, "ann", "wrong")
    assert rollback(bench.place, to, "ann", "wrong").version == "2"
    assert_live(bench, "2")
    assert [entry.version for entry in bench.ledger.entries() if entry.kind == "rollback"] == ["2"]
    assert rollback(bench.place, None, "ann", "worse").version == "1"


@pytest.mark.slow
@pytest.mark.parametrize("point", ["after the probe", "after the switch"])
def test_a_killed_deploy_that_nobody_retries_is_undone(bench, monkeypatch, point):
    deploy(bench, "1")
    kill_at(monkeypatch, bench, point)
    ensure(bench.store, "line", "", bench.serving)
    assert bench.running() == [bench.target.live().pid]
    assert answer(bench) == [1.0] and bench.target.live().version == bench.ledger.champion().version == "1"


SUICIDE = """
import json, os, signal, sys
from pathlib import Path
from kfp_ratchet.components.deploy.local import LocalTarget
from kfp_ratchet.components.deploy.probe import Probe
from kfp_ratchet.components.deploy.rollout import roll_out
from kfp_ratchet.components.deploy.serving import Serving
from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.store import Store

store, serving, draft, probe, model = sys.argv[1:]
switch = LocalTarget.switch

def then_die(self, live):
    switch(self, live)
    os.kill(os.getpid(), signal.SIGKILL)

LocalTarget.switch = then_die
target = LocalTarget(Serving.model_validate_json(serving), "line")
draft, probe = Draft.model_validate_json(draft), Probe.model_validate_json(probe)
def fetch(into):
    import shutil
    return Path(shutil.copytree(model, into))

roll_out(Ledger(Store(store), "line"), target, draft, fetch, probe)
"""


@pytest.mark.slow
def test_after_a_real_kill_another_run_need_not_wait_for_the_lease_on_the_same_machine(bench):
    arguments = [
        bench.store,
        bench.serving.model_dump_json(),
        bench.draft("1").model_dump_json(),
        bench.probe("1").model_dump_json(),
        str(bench.model("1")),
    ]
    dead = subprocess.run([sys.executable, "-c", SUICIDE, *arguments])
    assert dead.returncode == -signal.SIGKILL
    assert answer(bench) == [1.0] and bench.ledger.champion() is None
    deploy(bench, "2")
    assert_live(bench, "2")


@pytest.mark.slow
def test_a_champion_that_moved_during_the_deploy_undoes_the_switch(bench, monkeypatch):
    deploy(bench, "1")
    switch = LocalTarget.switch

    def then_another_promotes(self, there):
        switch(self, there)
        if there.version == "2" and bench.ledger.champion().version == "1":
            held = bench.ledger.open_intent().number
            started = bench.draft("3", run="elsewhere", kind="deploy-started").model_copy(update={"intent": held})
            intent = bench.ledger.append(started).number
            bench.ledger.append(bench.draft("3", run="elsewhere").model_copy(update={"intent": intent}))

    monkeypatch.setattr(LocalTarget, "switch", then_another_promotes)
    with pytest.raises(StaleEpochError, match="version 3 by elsewhere"):
        deploy(bench, "2")
    assert answer(bench) == [1.0] and bench.running() == [bench.target.live().pid]
    assert bench.ledger.champion().version == "3"


@pytest.mark.slow
def test_a_dead_or_stopped_server_is_started_again_from_its_folder(bench):
    deploy(bench, "1")
    assert live(bench.serving, "line")[1]
    assert stop(bench.serving, "line") and bench.running() == []
    assert not live(bench.serving, "line")[1]
    there, started = ensure(bench.store, "line", "", bench.serving)
    assert started and there.version == "1"
    assert_live(bench, "1")
    assert ensure(bench.store, "line", "", bench.serving) == (there, False)


@pytest.mark.slow
def test_on_a_fixed_port_the_new_version_answers_at_the_same_address(bench):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bench.serving = bench.serving.model_copy(update={"port": port})
    bench.target = LocalTarget(bench.serving, "line")
    first = deploy(bench, "1").live.url
    second = deploy(bench, "2").live.url
    assert first == second == f"http://127.0.0.1:{port}"
    assert_live(bench, "2")


@pytest.mark.slow
def test_a_deploy_killed_when_it_had_opened_the_port_kept_half_of_the_clients(bench, monkeypatch):
    """Nothing said that this server ran, so nobody stopped it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bench.serving = bench.serving.model_copy(update={"port": port})
    bench.target = LocalTarget(bench.serving, "line")
    deploy(bench, "1")
    opened = process.open_to_clients

    def then_die(server):
        opened(server)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(process, "open_to_clients", then_die)
        patch.setattr(rollout, "_undo", lambda *_: None)
        with pytest.raises(Killed):
            deploy(bench, "2")
    there = bench.target.live()
    assert {there.pid, there.previous.pid} == set(bench.running()) and not there.committed
    assert strangers(bench.serving, "line") == []
    ensure(bench.store, "line", "", bench.serving)
    assert {answer(bench)[0] for _ in range(20)} == {1.0} and len(bench.running()) == 1
    # The same when the champion is started again.
    stop(bench.serving, "line")
    with monkeypatch.context() as patch:
        patch.setattr(process, "open_to_clients", lambda server: _die())
        patch.setattr(LocalTarget, "settle", _once(LocalTarget.settle))
        with pytest.raises(Killed):
            ensure(bench.store, "line", "", bench.serving)
    assert not live(bench.serving, "line")[1], "it answers no clients yet"
    ensure(bench.store, "line", "", bench.serving)
    assert answer(bench) == [1.0] and bench.running() == [bench.target.live().pid]


def _die():
    raise Killed


def _once(settle):
    """Settles before the kill, and not after it."""
    calls = []

    def killed(self, ledger):
        calls.append(ledger)
        if len(calls) > 1:
            raise Killed
        return settle(self, ledger)

    return killed


@pytest.mark.slow
def test_a_server_that_nothing_speaks_of_is_told_unless_a_deploy_is_under_way(bench):
    deploy(bench, "1")
    there = bench.target.live()
    left = process.start(bench.target.version_folder("1") / "model", 0, bench.folder / "log")
    assert strangers(bench.serving, "line") == [left.pid]
    with bench.target.lock():
        assert strangers(bench.serving, "line") == []
    ensure(bench.store, "line", "", bench.serving)
    assert strangers(bench.serving, "line") == [] and bench.running() == [there.pid]


def test_a_lost_ledger_let_a_worse_first_model_go_live_after_some_tries(bench, tmp_path):
    """Each try wrote two entries, until their number reached the one that `live.json` carries."""
    made = Live(
        version="2", digest="sha256:2", url="", private_url="", pid=0, started=0.0, entry=3, committed=True, epoch=4
    )
    bench.target.folder.mkdir(parents=True)
    bench.target.switch(made)
    for _ in range(4):
        with pytest.raises(RatchetError, match="not the one that made v2 live") as refused:
            deploy(bench, "1")
    assert bench.ledger.entries() == [] and "restore" in refused.value.remedy
    for version in "1111":
        bench.ledger.append(bench.draft(version, kind="reject"))
    with pytest.raises(RatchetError, match="not the one that made v2 live"):
        bench.target.settle(bench.ledger)
    assert bench.target.live() == made and len(bench.ledger.entries()) == 4


def test_a_port_that_another_program_has_is_named_and_nothing_starts(bench):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RatchetError, match=rf"port {port} of 127.0.0.1 cannot be used.*serving\.port"):
            process.start(bench.model("1"), port, bench.folder / "log")
    assert bench.running() == []


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("Promoted: first model", "starting v1: first model"),
        ("complaints", "starting v1: complaints"),
        ("", "starting v1"),
    ],
)
def test_a_deploy_that_only_started_does_not_say_promoted(bench, reason, told):
    draft = bench.draft("1").model_copy(update={"reason": reason})
    with bench.target.lock():
        assert rollout._claim(bench.ledger, bench.target, draft).reason == told
    assert draft.reason == reason


def test_a_deploy_under_way_elsewhere_keeps_others_out_and_says_who_holds_it(bench):
    bench.ledger.append(bench.draft("1", run="other", kind="deploy-started"))
    with pytest.raises(RatchetError, match="other has been deploying version 1"):
        deploy(bench, "2")
    assert len(bench.ledger.entries()) == 1


@pytest.mark.slow
def test_a_deploy_that_died_elsewhere_is_taken_over_after_its_lease(bench, monkeypatch):
    bench.ledger.append(bench.draft("1", run="dead", kind="deploy-started"))
    monkeypatch.setattr(rollout, "LEASE", rollout.LEASE * 0)
    deploy(bench, "2")
    assert_live(bench, "2")


def test_a_second_deploy_on_this_machine_is_told_to_wait(bench):
    with bench.target.lock(), pytest.raises(RatchetError, match="another deploy of line is under way"):
        deploy(bench, "1")


def test_a_stale_deploy_is_refused_before_anything_starts_and_stays_in_the_history(bench):
    stale = bench.draft("2")
    bench.ledger.append(bench.draft("1"))
    for _ in range(2):
        with pytest.raises(StaleEpochError):
            deploy(bench, "2", draft=stale)
    assert [entry.kind for entry in bench.ledger.entries()] == ["promote", "deploy-failed"]
    assert bench.running() == [] and bench.target.live() is None


def test_a_pid_that_was_used_again_is_not_taken_for_the_server():
    import os

    import psutil

    started = psutil.Process().create_time()
    assert process.find(os.getpid(), started) is not None
    assert process.find(os.getpid(), started - 100) is None

"""A lease has one holder at a time, and a dead holder keeps nobody waiting."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from kfp_ratchet.components.shared import lease as leases
from kfp_ratchet.components.shared.lease import lease
from kfp_ratchet.components.shared.store import Store

DIES = """
import os, signal, sys
from kfp_ratchet.components.shared.lease import lease
from kfp_ratchet.components.shared.store import Store

with lease(Store(sys.argv[1]), "x"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(leases, "_POLL_SECONDS", 0.01)


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


def holder(**fields):
    known = {"machine": "elsewhere", "host": "far", "pid": 7, "token": "t"}
    return leases._Holder.model_validate(known | fields).content


def test_of_many_who_want_a_lease_one_has_it_at_a_time_and_all_get_it(store):
    inside, most, said = [], [], []

    def work(number):
        with lease(store, "x", said.append):
            inside.append(number)
            most.append(len(inside))
            threading.Event().wait(0.01)
            inside.remove(number)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert most == [1] * 6
    assert any(f"waiting for process {os.getpid()} on " in line for line in said)


def test_a_lease_is_free_after_an_error_and_other_names_never_wait(store):
    with pytest.raises(ZeroDivisionError), lease(store, "x"), lease(store, "y"):
        raise ZeroDivisionError
    with lease(store, "x"):
        pass


def test_a_killed_holder_on_this_machine_keeps_nobody_waiting(store, tmp_path):
    dead = subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=False)
    assert dead.returncode == -signal.SIGKILL
    with lease(store, "x", lambda line: pytest.fail(line)):
        pass


def test_a_holder_elsewhere_counts_as_dead_when_it_stands_still(store, monkeypatch):
    monkeypatch.setattr(leases, "_DEAD_SECONDS", 0.05)
    store.create("leases/x/000001.json", holder())
    said = []
    with lease(store, "x", said.append):
        pass
    assert said and set(said) == {"waiting for process 7 on far, which does the same"}


def test_a_holder_elsewhere_that_moves_is_waited_for_until_it_ends(store, monkeypatch):
    monkeypatch.setattr(leases, "_DEAD_SECONDS", 0.5)
    store.create("leases/x/000001.json", holder())
    beats = []

    def moves(line):
        beats.append(line)
        store.put("leases/x/000001.json", holder(beat=len(beats), ended=len(beats) == 100))

    with lease(store, "x", moves):
        assert len(beats) == 100


def test_a_holder_beats_while_it_works(store, monkeypatch):
    monkeypatch.setattr(leases, "_BEAT_SECONDS", 0.01)
    with lease(store, "x"):
        first = store.get("leases/x/000001.json")
        for _ in range(500):
            if store.get("leases/x/000001.json") != first:
                break
            threading.Event().wait(0.01)
        assert store.get("leases/x/000001.json") != first

"""kill -9 of real processes with real model servers, at instants that nobody chose."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kfp_ratchet.components.deploy import process
from kfp_ratchet.components.deploy.probe import ask
from kfp_ratchet.components.shared import registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
KILLS = 32
LINE = Path(__file__).parent.parent / "components" / "deploy" / "workloads"


@pytest.fixture
def lives(new_world, tmp_path):
    """Starts register and deploy of a candidate in a process of its own, and says how it ended when it was let be or killed."""
    import polars as pl

    from kfp_ratchet.components.train.pyfunc import save_pyfunc

    world = new_world(tmp_path)
    sys.path.insert(0, str(LINE))
    (tmp_path / "workload").mkdir()
    (tmp_path / "workload" / "weights.json").write_text('{"slope": 1.0}')
    made = world.candidate(1.0) / "model" / "ratchet.json"
    from kfp_ratchet.components.shared.model import Card

    save_pyfunc(world.template, tmp_path / "workload", Card.read(made.parent), pl.DataFrame({"x": [1.0, 2.0]}))
    sys.path.remove(str(LINE))
    mortal = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("mortal.py")), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(tmp_path / "mortal.log").open("w"),
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(LINE), os.environ.get("PYTHONPATH", "")])},
    )

    def live(seconds=None, **arguments):
        mortal.stdin.write(json.dumps(arguments) + "\n")
        mortal.stdin.flush()
        pid = int(mortal.stdout.readline())
        if seconds is not None:
            time.sleep(seconds)
            with contextlib.suppress(ProcessLookupError):  # It was faster.
                os.kill(pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(int(mortal.stdout.readline()))

    live.world = world
    live.log = tmp_path / "mortal.log"
    yield live
    mortal.stdin.close()
    mortal.wait(60)
    process.stop(process.running(tmp_path))


IN_A_TRANSACTION = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA cache_size = 1")
connection.executemany("INSERT INTO a VALUES (randomblob(9000))", [()] * 200)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_within_a_transaction_made_mlflows_database_unusable(tmp_path):
    """It was looked at read-only, and so the journal that the killed one had left could not be rolled back: every retry failed."""
    database = tmp_path / "mlflow.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.executescript("CREATE TABLE a (b); INSERT INTO a VALUES (1);")
    assert subprocess.run([sys.executable, "-c", IN_A_TRANSACTION, str(database)]).returncode == -signal.SIGKILL
    assert database.with_name("mlflow.db-journal").stat().st_size
    registry._check_database(database)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM a").fetchone() == (1,)


def test_killed_at_any_instant_and_repeated(lives, record_testsuite_property):
    world, rng, found, landed = lives.world, random.Random(5), [], 0
    took = 0.0
    for number in range(KILLS + 2):
        slope = number + 2.0
        course = {"slope": slope, "epoch": world.epoch, "run": f"run-{number}"}
        before = world.target.live()
        if number < 2:  # Undisturbed, to see how long it takes; the first one also makes MLflow's database.
            began = time.monotonic()
            assert lives(**course) == 0, lives.log.read_text()
            took = time.monotonic() - began
        else:
            if lives(rng.uniform(0, took), **course) == -signal.SIGKILL:
                landed += 1
            there = world.target.live()
            if ask(there.url, {"columns": ["x"], "data": [[1.0]]}) not in ([slope], [slope - 1]):
                found.append(f"kill {number}: neither the old nor the new version answers")
            if world.ledger.champion().version == before.version and not process.find(before.pid, before.started):
                found.append(f"kill {number}: the champion's server was stopped")
            assert lives(**course) == 0, lives.log.read_text()
        found += [f"kill {number}: {problem}" for problem in world.problems()]
        if world.slope_of(world.target.live().digest) != slope:
            found.append(f"kill {number}: another version than the repeated one is live")
    record_testsuite_property("kill -9", json.dumps({"cases": landed, "violations": len(found)}))
    assert found == []
    assert landed >= KILLS * 2 // 3, "most instants lay behind the end"

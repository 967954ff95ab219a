"""`ratchet status` tells what is really so: of the server, and of the ledger."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kfp_ratchet.components.deploy import process
from kfp_ratchet.components.deploy.rollout import roll_out

CONFIG = """
name: line
source: data.csv
schema: schema.yaml
columns: {target: y, problem: regression}
store: store
serving: {folder: serving}
"""


@pytest.fixture
def status(bench):
    (bench.folder / "ratchet.yaml").write_text(CONFIG)
    (bench.folder / "schema.yaml").write_text("columns: {}\n")

    def ask(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("ratchet"), "status", *arguments],
            cwd=bench.folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return ask


@pytest.mark.slow
def test_a_killed_server_is_told_and_started_again(bench, status, tmp_path):
    roll_out(bench.ledger, bench.target, bench.draft("1"), bench.fetch("1"), bench.probe("1"))
    assert status().returncode == 0
    os.kill(bench.target.live().pid, signal.SIGKILL)
    told = status()
    assert told.returncode == 1 and "does not answer; start it: ratchet status --start" in told.stdout
    gone = tmp_path / "gone"
    gone.mkdir()
    started = status("--start", TMPDIR=str(gone))
    assert started.returncode == 0, started.stderr
    there = bench.target.live()
    assert f"answers at {there.url}" in started.stdout
    # Whoever starts a server may have a folder for temporary files that does not outlive it, as a run has.
    environment = Path(f"/proc/{there.pid}/environ").read_text().split("\0")
    temporary = next(value.partition("=")[2] for value in environment if value.startswith("TMPDIR="))
    assert temporary != str(gone) and Path(temporary).is_dir()


@pytest.mark.slow
def test_a_server_that_a_killed_deploy_left_was_not_told(bench, status):
    roll_out(bench.ledger, bench.target, bench.draft("1"), bench.fetch("1"), bench.probe("1"))
    left = process.start(bench.target.version_folder("1") / "model", 0, bench.folder / "log")
    told = status()
    assert told.returncode == 1 and f"process {left.pid}; stop them: ratchet status --start" in told.stdout


def test_an_older_entry_that_was_changed_went_unseen(bench, status):
    """Only the newest entries are read to know the champion."""
    for version, kind in (("1", "reject"), ("2", "promote"), ("3", "reject")):
        bench.ledger.append(bench.draft(version, kind=kind))
    assert json.loads(status("--json").stdout)["ledger_problems"] == []
    first = bench.folder / "store" / "ledger" / "line" / "000001.json"
    first.write_text(first.read_text().replace("run-1", "run-9"))
    told = status()
    assert told.returncode == 1
    assert (
        "ledger cannot be trusted: ledger/line/000001.json was changed after ledger/line/000002.json was written"
        in told.stdout
    )
    asked = status("--json")
    assert asked.returncode == 1 and "000001.json" in json.loads(asked.stdout)["ledger_problems"][0]

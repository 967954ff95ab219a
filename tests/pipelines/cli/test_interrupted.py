"""A run that someone ends says what it had done, leaves a report, and stops its steps."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.pipelines import runner
from kfp_ratchet.pipelines.project import Project as Opened

SLEEPER = """
import os
import time
from pathlib import Path


def model_rows(tables):
    Path("pid").write_text(str(os.getpid()))
    time.sleep(600)
"""


@pytest.fixture
def sleeping(project):
    """A project whose `prepare` writes its pid into a file and sleeps."""
    (project.folder / "data.csv").write_text("id,y\n" + "".join(f"{row},{row % 2}\n" for row in range(50)))
    (project.folder / "recipe.py").write_text(SLEEPER)
    with (project.folder / "ratchet.yaml").open("a") as config:
        config.write("prepare: {function: 'recipe:model_rows'}\nnotifications: {file: told.jsonl}\n")
    return project


@pytest.mark.slow
def test_an_interrupted_run_left_no_report(sleeping, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    run = sleeping.start("run", "--json", TMPDIR=str(temporary))
    assert eventually((sleeping.folder / "pid").exists), "the step did not begin"
    run.send_signal(signal.SIGTERM)
    printed, errors = run.communicate(timeout=60)
    told = json.loads(printed)
    assert run.returncode == told["exit_code"] == 130, errors
    assert told["outcome"] == "interrupted"
    assert told["reason"].startswith("prepare had not ended; it was last seen at: joining tables")
    assert "start it again" in told["remedy"]
    page = Path(told["report"]).read_text()
    assert "Interrupted" in page and "prepare had not ended" in page
    assert not (sleeping.folder / "told.jsonl").exists(), "whoever ended it needs no message"
    assert list(temporary.iterdir()) == [], "KFP's temporary folders are left"


@pytest.mark.slow
def test_a_run_ends_with_its_reader(sleeping):
    """`ratchet run | head -1` went on, or ended with a traceback."""
    run = sleeping.start("run")
    assert "pin" in run.stdout.readline()
    run.stdout.close()
    assert run.wait(60) == 130
    assert run.stderr.read() == ""
    pid = sleeping.folder / "pid"
    assert not pid.exists() or eventually(lambda: not Path("/proc", pid.read_text()).exists()), "the step lives on"
    # Written though nobody reads what the command prints.
    store = Store(str(sleeping.folder / ".ratchet/store"))
    assert [key for key in store.keys("runs") if key.endswith("report.html")]


@pytest.mark.slow
def test_the_end_of_a_run_named_the_places_of_the_file_not_of_its_parameters(project):
    """-p store, tracking_uri and model_name were used by the run, but not by Report and MLflow."""
    given = ("-p", "store=other store", "-p", "tracking_uri=sqlite:///other.db", "-p", "model_name=another")
    done = project.ratchet("run", *given)
    assert done.returncode == 2 and "data.csv" in done.stdout
    reports = list((project.folder / "other store").rglob("report.html"))
    assert len(reports) == 1 and f"Report  {reports[0].relative_to(project.folder)}" in done.stdout
    assert f"{project.folder}/other.db" in done.stdout
    assert "another" in reports[0].read_text()
    assert not (project.folder / ".ratchet" / "store").exists()


def test_a_run_read_its_configuration_twice(project):
    """The second reading could see another file than the first."""
    opened = Opened.open(project.folder / "ratchet.yaml")
    (project.folder / "ratchet.yaml").unlink()
    assert runner.steps(opened)[:3] == ["pin", "ingest", "validate"] and "prepare" not in runner.steps(opened)


def eventually(holds: Callable[[], object]) -> bool:
    for _ in range(600):
        if holds():
            return True
        time.sleep(0.1)
    return False

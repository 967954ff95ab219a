"""The command as a user types it: exit codes, one-sentence errors, and nothing heavy imported before it is needed."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

RATCHET = Path(sys.executable).parent / "ratchet"
CONFIG = "name: mine\nsource: data.csv\nschema: schema.yaml\ncolumns: {target: y, problem: binary, id: id}\n"
SCHEMA = "schema_type: polars_dataframe\ncolumns:\n  y:\n    dtype: Int64\nstrict: false\n"


def ratchet(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([RATCHET, *arguments], cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "ratchet.yaml").write_text(CONFIG)
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    return tmp_path


def test_help_imports_nothing_heavy() -> None:
    """`ratchet --help` answers in a fraction of a second only as long as no command imports its tools at the top."""
    code = "import sys; from kfp_ratchet.pipelines import cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    tools = "kfp polars pandas mlflow torch pandera optuna numpy obstore jinja2"
    servers = "croniter detect_secrets kfp_server_api kubernetes pydantic requests urllib3 yaml"
    assert not {*tools.split(), *servers.split()} & set(loaded)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("run", "-c", "nowhere.yaml"), 2, "nowhere.yaml does not exist"),
        (("run", "-p", "trails=3"), 2, "did you mean 'trials'"),
        (("run", "-p", "trials=many"), 2, "not a whole number"),
        (("run", "-p", "trials"), 2, "not NAME=VALUE"),
        (("run", "-p", "policy={metric: roc_auc}"), 2, "policy"),
        (("run", "-p", 'policy={"metrik":"roc_auc"}'), 2, "metric"),
        (("run", "-p", "as_of=yesterday"), 2, "yesterday"),
        (("run", "-p", "trials=-3"), 2, "trials"),
        (("run", "-p", "store=s3://me:secret@bucket/x"), 2, "store"),
        (("run", "continous_training"), 2, "there is no pipeline 'continous_training'"),
        (("run", "--wat"), 2, "--wat"),
        (("model", "rollback"), 2, "no champion before"),
        (("model", "history", "../etc"), 2, "cannot be the name of a model"),
        (("model", "live"), 1, "nothing is live here"),
        (("status",), 0, "no champion yet"),
        (("stop",), 0, "nothing was running"),
        (("init", "nothing.csv", "--target", "y", "--force"), 2, "nothing.csv"),
        (("data", "draft-schema", "nothing.csv"), 2, "nothing.csv"),
    ],
)
def test_each_mistake_is_named_with_its_exit_code(
    project: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    done = ratchet(project, *arguments)
    assert done.returncode == code, done.stderr
    assert told in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "me:secret" not in done.stderr


@pytest.mark.slow
def test_a_run_without_data_fails_in_its_first_step_and_says_so(project: Path) -> None:
    done = ratchet(project, "run", "--json")
    outcome = json.loads(done.stdout)
    assert done.returncode == outcome["exit_code"] == 2
    assert "data.csv" in outcome["reason"] and outcome["steps"]["pin"]["state"] == "failed"
    assert Path(outcome["report"]).exists()


@pytest.mark.slow
def test_compile_check_finds_a_changed_configuration(project: Path) -> None:
    assert ratchet(project, "compile", "-c", "ratchet.yaml").returncode == 0
    assert ratchet(project, "compile", "-c", "ratchet.yaml", "--check").returncode == 0
    (project / "ratchet.yaml").write_text(CONFIG + "seed: 5\n")
    done = ratchet(project, "compile", "-c", "ratchet.yaml", "--check")
    assert done.returncode == 1
    assert "defaultValue: 5.0" in done.stdout


def test_draft_schema_never_replaces_a_file(project: Path) -> None:
    (project / "data.csv").write_text("id,y\n1,0\n2,1\n")
    assert ratchet(project, "data", "draft-schema", "data.csv", "--out", "drafted.yaml").returncode == 0
    done = ratchet(project, "data", "draft-schema", "data.csv", "--out", "schema.yaml")
    assert done.returncode == 2 and "schema.yaml is there already" in done.stderr
    assert (project / "schema.yaml").read_text() == SCHEMA


SLEEPER = """
import os
import time
from pathlib import Path


def model_rows(tables):
    Path("pid").write_text(str(os.getpid()))
    time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_step_outlives_the_command(project: Path, ending: signal.Signals) -> None:
    """A run whose command was killed went on and put a model live that nobody watched."""
    (project / "data.csv").write_text("id,y\n" + "".join(f"{number},{number % 2}\n" for number in range(50)))
    (project / "recipe.py").write_text(SLEEPER)
    (project / "ratchet.yaml").write_text(CONFIG + "prepare: {function: 'recipe:model_rows'}\n")
    run = subprocess.Popen([RATCHET, "run"], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    step = project / "pid"
    assert eventually(lambda: step.exists() and step.read_text()), "the step did not begin"
    run.send_signal(ending)
    printed, _ = run.communicate(timeout=30)
    assert eventually(lambda: not Path("/proc", step.read_text()).exists()), "the step lives on"
    if ending != signal.SIGKILL:
        assert run.returncode == 130
        assert "Interrupted  prepare had not ended" in printed and "start it again" in printed


def eventually(holds: Callable[[], object]) -> bool:
    for _ in range(300):
        if holds():
            return True
        time.sleep(0.1)
    return False

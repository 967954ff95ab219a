"""What goes wrong around a run that is started or followed from a terminal."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kfp_ratchet.components.shared.journal import journal
from kfp_ratchet.pipelines.compile import continuous_training_yaml

RATCHET = Path(sys.executable).with_name("ratchet")


@pytest.fixture
def project(tmp_path, monkeypatch, double) -> Path:
    text = continuous_training_yaml({"store": "store", "model_name": "m", "source": "s", "tracking_uri": "t"})
    (tmp_path / "training.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RATCHET_SERVER", double.url)
    return tmp_path


def ratchet(*arguments, **environment) -> subprocess.CompletedProcess[str]:
    """As a shell runs it: its own process, no terminal."""
    return subprocess.run(
        [RATCHET, *arguments], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def succeed(project: Path, double):
    """A run whose one step found something that is no ASCII."""

    def run(about: dict):
        key = f"s3://b/p/{about['run_id']}/pin/{'0' * 8}-0000-4000-8000-{'0' * 12}/out"
        with journal(str(project / "store"), key) as record:
            record.found("Zürich ✈ 東京: 3 files")
        double.set_run(about["run_id"], "SUCCEEDED", {"pin": "SUCCEEDED"})

    (project / "store").mkdir()
    return run


def test_a_narrow_terminal_and_another_alphabet_broke_the_steps(project, double):
    double.execute = succeed(project, double)
    done = ratchet("submit", "training.yaml", "--follow", "--name", "Größe 東京", COLUMNS="40")
    assert "Traceback" not in done.stderr
    assert "Zürich" in done.stdout
    assert "Größe 東京" in done.stdout
    assert double.runs[0]["display_name"] == "Größe 東京"


def test_of_two_submits_at_once_neither_is_harmed(project, double):
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: ratchet("submit", "training.yaml", "--json"), range(2)))
    assert [one.returncode for one in both] == [0, 0]
    # Which one sees the other depends on the moment: one run or two, and none of them ended.
    assert 1 <= len(double.runs) <= 2
    assert {run["state"] for run in double.runs} <= {"PENDING", "RUNNING"}
    assert not [path for _, path in double.calls if path.endswith(":terminate")]


def test_a_server_that_is_not_there_was_a_traceback(project):
    url = "http://127.0.0.1:9"
    (project / "pipelines.yaml").write_text(
        f"name: me\nservers:\n  off: {{url: '{url}', patience: 0.2}}\npipelines: {{}}\n"
    )
    done = ratchet("submit", "training.yaml", "--server", "off")
    assert done.returncode == 3, done.stdout + done.stderr
    assert url in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_a_refusal_with_500_left_no_run_and_no_success(project, double):
    double.fail("POST", r"/runs$", status=500, times=9)
    done = ratchet("submit", "training.yaml")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "lint" in done.stderr + done.stdout
    assert not double.runs


def test_a_run_that_was_started_was_not_told_of_when_the_next_call_failed(project, double):
    servers = f"{{s: {{url: '{double.url}', patience: 0.2}}}}"
    (project / "pipelines.yaml").write_text(f"name: me\nservers: {servers}\npipelines: {{}}\n")
    double.execute = lambda run: double.fail("GET", r"/runs$", status=500, times=99)
    done = ratchet("submit", "training.yaml", "--server", "s", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["run"] == double.runs[0]["run_id"]

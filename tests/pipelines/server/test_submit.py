"""`ratchet submit` and `ratchet runs`, against a server whose runs leave a journal as real steps do."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kfp_ratchet.components.shared.errors import BlockedError, InputError
from kfp_ratchet.components.shared.journal import journal
from kfp_ratchet.pipelines.cli import app
from kfp_ratchet.pipelines.compile import continuous_training_yaml
from kfp_ratchet.pipelines.declared import load_declared
from kfp_ratchet.pipelines.pipeline_text import PipelineText
from kfp_ratchet.pipelines.server.apply import apply
from kfp_ratchet.pipelines.server.following import Following
from kfp_ratchet.pipelines.server.objects import Run
from kfp_ratchet.pipelines.server.sides import both_sides
from kfp_ratchet.pipelines.submission import Target, find_target, in_progress

ROOT = Path(__file__).resolve().parents[3]
TEXT = """
from kfp import dsl

@dsl.component(base_image="python:3.11", install_kfp_package=False)
def add(a: int, b: int = 2) -> int:
    return a + b

@dsl.component(base_image="python:3.11", install_kfp_package=False)
def show(a: int):
    print(a)

@dsl.pipeline(name="sum-up", description="Adds.")
def sum_up(a: int, b: int = 2, label: str = "x"):
    show(a=add(a=a, b=b).output)
"""


@pytest.fixture
def project(tmp_path, monkeypatch, double) -> Path:
    (tmp_path / "sums.py").write_text(TEXT)
    (tmp_path / "pipelines.yaml").write_text("name: me\npipelines:\n  sum-up: {pipeline: 'sums:sum_up'}\n")
    training = continuous_training_yaml({"store": "store", "model_name": "m", "source": "s", "tracking_uri": "t"})
    (tmp_path / "training.yaml").write_text(training)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RATCHET_SERVER", double.url)
    # Never the cluster of whoever runs the tests.
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    return tmp_path


@pytest.fixture
def ratchet(project):
    """Runs a command; answers what it printed as JSON, or as text, and its exit code."""

    def run(*arguments, code=0):
        done = CliRunner().invoke(app, list(arguments))
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return json.loads(done.stdout) if "--json" in arguments else done.output

    return run


@pytest.fixture
def applied(ratchet):
    ratchet("server", "apply")
    return ratchet


def step(project: Path, run: str, name: str, fails: Exception | None = None, **details):
    """What a step of ours does: it keeps its record."""
    with journal(str(project / "store"), f"s3://b/p/{run}/{name}/{'0' * 8}-0000-4000-8000-{'0' * 12}/out") as record:
        record.found(f"{name} did its work", **details)
        if fails:
            raise fails


def blocked(project: Path, double, run: str):
    step(project, run, "pin")
    with pytest.raises(BlockedError):
        step(project, run, "validate", BlockedError("column 'x' is missing", "fix the source"))
    tasks = {"pin": "SUCCEEDED", "validate": "FAILED"}
    double.set_run(run, "FAILED", tasks)


def test_what_git_has_is_what_is_started(applied, double):
    first = applied("submit", "sum-up", "-p", "a=1", "--json")
    [run] = double.runs
    assert run["run_id"] == first["run"]
    assert run["runtime_config"]["parameters"] == {"a": 1}
    assert (
        run["pipeline_version_reference"]["pipeline_version_id"]
        == double.pipelines[0]["versions"][0]["pipeline_version_id"]
    )
    assert re.fullmatch(r"sum-up \d{4}-\d\d-\d\d \d\d:\d\d by hand", run["display_name"])


def test_what_was_applied_with_digests_was_not_found(project, double, server):
    def digest(reference: str) -> str:
        return f"sha256:{'a' * 64}"

    declared = load_declared(project / "pipelines.yaml")
    apply(server, both_sides(declared, server, digest), prune=False)
    with pytest.raises(InputError, match="no version with what Git says"):
        find_target("sum-up", server, declared)
    target = find_target("sum-up", server, declared, digest)
    assert target.version_id and {image.partition("@")[2] for image in target.text.images} == {digest("")}


def test_a_change_that_is_not_applied_ran_the_old_code(applied, project, double):
    (project / "sums.py").write_text(TEXT.replace("a + b", "a - b"))
    # A module once imported stays imported: another process is what a user has.
    done = subprocess.run(
        [Path(sys.executable).with_name("ratchet"), "submit", "sum-up", "-p", "a=1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == InputError.exit_code
    assert "no version with what Git says" in done.stderr
    assert not double.runs


@pytest.mark.parametrize(
    ("given", "told", "remedy"),
    [
        (["-p", "a=1.5"], "a must be a whole number", ""),
        (["-p", "b=1"], "a is missing", ""),
        (["-p", "a=1", "-p", "lable=y"], "no parameter 'lable'", "label"),
        (["-p", "a=null"], "a must be a whole number", ""),
        (["-p", "a=1", "-p", "label=AKIAIOSFODNN7EXAMPLQ"], "label holds", "Kubernetes secret"),
        (["-p", "a"], "is not NAME=VALUE", ""),
    ],
)
def test_wrong_values_reached_the_server(applied, double, given, told, remedy):
    calls = len(double.calls)
    with pytest.raises(InputError) as refused:
        applied("submit", "sum-up", *given)
    assert told in refused.value.message
    assert remedy in refused.value.remedy
    assert "AKIA" not in str(refused.value)
    assert all(method == "GET" for method, _ in double.calls[calls:])


@pytest.mark.parametrize(
    ("which", "told"),
    [("sum-pu", "no pipeline 'sum-pu'"), ("sum-up@none", "no version 'none'"), ("none.yaml", "cannot be read")],
)
def test_what_is_not_there_is_named(applied, which, told):
    with pytest.raises(InputError, match=told):
        applied("submit", which, "-p", "a=1")


def test_the_same_in_progress_was_started_again(applied, double):
    first = applied("submit", "sum-up", "-p", "a=1", "--json")
    assert applied("submit", "sum-up", "-p", "a=1", "-p", "b=2", "--json") == {**first, "joined": True}
    assert not applied("submit", "sum-up", "-p", "a=2", "--json")["joined"]
    assert not applied("submit", "sum-up", "-p", "a=1", "--force", "--json")["joined"]
    for run in double.runs:
        double.set_run(run["run_id"], "SUCCEEDED")
    assert not applied("submit", "sum-up", "-p", "a=1", "--json")["joined"]


def test_another_version_with_the_same_values_is_another_run():
    text = PipelineText.parse(continuous_training_yaml())
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    run = Run("r", "", "", "RUNNING", "", "p", "v1", "", {}, "", moment, None, None, False)
    assert in_progress(Target("t", text, "p", "v1"), {"provenance": '{"commit":"x"}'}, [run]) == run
    assert in_progress(Target("t", text, "p", "v2"), {}, [run]) is None
    assert in_progress(Target("t", text, "p", "v1"), {"trials": 3}, [run]) is None


def test_without_the_cache_the_wish_reaches_the_server(applied, double):
    applied("submit", "sum-up", "-p", "a=1", "--no-cache")
    [run] = double.runs
    assert "pipeline_version_reference" not in run
    tasks = run["pipeline_spec"]["root"]["dag"]["tasks"]
    assert [task["cachingOptions"] for task in tasks.values()] == [{}, {}]


def test_a_broken_graph_was_sent(ratchet, project, double):
    spec = PipelineText.parse((project / "training.yaml").read_text())
    broken = json.loads(json.dumps(spec.pipeline_spec))
    broken["components"].pop("comp-pin")
    (project / "broken.json").write_text(json.dumps(broken))
    with pytest.raises(InputError, match="comp-pin"):
        ratchet("submit", "broken.json")
    assert not double.runs


def test_an_archived_experiment_hid_the_run(applied, double, server):
    server._http.tell(f"/experiments/{server.experiment('hidden').id}:archive")
    with pytest.raises(InputError, match="archived"):
        applied("submit", "sum-up", "-p", "a=1", "--experiment", "hidden")
    assert not double.runs


def test_a_run_is_seen_through_with_its_reason(ratchet, project, double):
    double.execute = lambda run: blocked(project, double, run["run_id"])
    ended = ratchet("submit", "training.yaml", "--wait", "--json", code=BlockedError.exit_code)
    assert ended["outcome"] == "blocked"
    assert "column 'x' is missing" in ended["reason"]
    assert ended["remedy"] == "fix the source"
    text = ratchet("submit", "training.yaml", "--follow", "--force", code=BlockedError.exit_code)
    assert "✓ pin" in text
    assert "✗ validate" in text
    assert "Blocked" in text


def test_a_defect_shows_its_traceback(ratchet, project, double):
    def execute(run):
        with pytest.raises(ZeroDivisionError):
            step(project, run["run_id"], "pin", ZeroDivisionError("by zero"))
        double.set_run(run["run_id"], "FAILED", {"pin": "FAILED"})

    double.execute = execute
    text = ratchet("submit", "training.yaml", "--follow", code=3)
    assert "Traceback (most recent call last)" in text
    assert "ratchet runs logs" in text


def test_a_failure_without_a_word_was_a_success(ratchet, project, double):
    double.execute = lambda run: double.set_run(run["run_id"], "FAILED", {"pin": "FAILED"})
    ended = ratchet("submit", "training.yaml", "--wait", "--json", code=3)
    assert (ended["state"], ended["outcome"]) == ("FAILED", "failed")


def test_a_pipeline_without_a_journal_is_followed_by_what_the_server_says(applied, double):
    double.execute = lambda run: double.set_run(run["run_id"], "SUCCEEDED", {"add": "SUCCEEDED", "show": "SUCCEEDED"})
    text = applied("submit", "sum-up", "-p", "a=1", "--follow")
    assert re.search(r"✓ add .*\n✓ show ", text)
    assert "keeps no journal" in text
    double.execute = lambda run: double.set_run(run["run_id"], "FAILED", {"add": "FAILED"})
    assert "✗ add" in applied("submit", "sum-up", "-p", "a=1", "--follow", code=3)


def test_a_store_elsewhere_is_said_and_hides_nothing(ratchet, project, double):
    double.execute = lambda run: double.set_run(run["run_id"], "SUCCEEDED", {"pin": "SUCCEEDED"})
    ended = ratchet("submit", "training.yaml", "-p", "store=elsewhere", "--wait", "--json")
    assert "not on this machine" in ended["reason"]


def test_a_damaged_journal_ended_the_command(ratchet, project, double):
    def execute(run):
        blocked(project, double, run["run_id"])
        next((project / "store" / "runs").rglob("pin.json")).write_text("{")

    double.execute = execute
    ended = ratchet("submit", "training.yaml", "--wait", "--json", code=3)
    assert "damaged" in ended["reason"]


def test_a_server_that_is_away_for_a_while_is_asked_again(applied, double, server):
    run = applied("submit", "sum-up", "-p", "a=1", "--json")["run"]
    double.set_run(run, "RUNNING")
    told = []
    impatient = type(server).connect(server.settings.model_copy(update={"patience": 0.2}))
    following = Following(impatient, run)
    double.fail("GET", f"/runs/{run}", status=503, times=3)
    threading.Timer(2, lambda: double.set_run(run, "SUCCEEDED")).start()
    assert following.wait(on_away=told.append).run.state == "SUCCEEDED"
    assert told[0]
    assert told[-1] == ""


def test_a_run_that_is_deleted_ends_the_following(applied, double, server):
    from kfp_ratchet.pipelines.server.errors import NotFoundError

    run = applied("submit", "sum-up", "-p", "a=1", "--json")["run"]
    following = Following(server, run)
    threading.Timer(0.3, lambda: server._http.delete(f"/runs/{run}")).start()
    with pytest.raises(NotFoundError, match=run):
        following.wait()


@pytest.mark.slow
def test_an_interrupt_detaches_and_cancels_nothing(applied, double, project):
    run = applied("submit", "sum-up", "-p", "a=1", "--json")["run"]
    double.set_run(run, "RUNNING", {"add": "RUNNING"})
    command = [Path(sys.executable).with_name("ratchet"), "runs", "attach", run]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as process:
        asked = len(double.calls)
        while len(double.calls) < asked + 4:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"detached, the run goes on: ratchet runs attach {run}" in out
    assert double.runs[0]["state"] == "RUNNING"


def test_runs_are_listed_newest_first_with_what_became_of_them(ratchet, project, double):
    double.execute = lambda run: blocked(project, double, run["run_id"])
    first = ratchet("submit", "training.yaml", "--wait", "--json", code=5)["run"]
    double.advance(60)
    double.execute = lambda run: None
    second = ratchet("submit", "training.yaml", "-p", "trials=3", "--json")["run"]
    rows = ratchet("runs", "list", "--json")
    assert [(row["run"], row["verdict"]) for row in rows] == [(second, ""), (first, "blocked")]
    assert [row["run"] for row in ratchet("runs", "list", "--state", "failed", "--json")] == [first]
    assert len(ratchet("runs", "list", "-n", "1", "--json")) == 1
    with pytest.raises(InputError, match="no state"):
        ratchet("runs", "list", "--state", "fialed")


def test_a_run_is_found_by_what_a_person_says(applied, double):
    run = applied("submit", "sum-up", "-p", "a=1", "--json")["run"]
    for which in (run, run[:8], "last"):
        assert applied("runs", "cancel", which, "--json")["run"] == run
    for which, told in (("xyz", "no id"), ("0" * 8, "no run's id begins"), ("abc", "no id")):
        with pytest.raises(InputError, match=told):
            applied("runs", "cancel", which)


def test_cancel_and_retry_go_together(applied, double):
    run = applied("submit", "sum-up", "-p", "a=1", "--json")["run"]
    with pytest.raises(InputError, match="only one that failed"):
        applied("runs", "retry", run)
    assert not applied("runs", "cancel", run, "--json")["over"]
    double.set_run(run, "FAILED")
    assert applied("runs", "cancel", run, "--json")["over"]
    assert "over already" in applied("runs", "cancel", run)
    assert applied("runs", "retry", run, "--json")["run"] == run
    assert double.runs[0]["state"] != "FAILED"


def test_logs_outlive_the_pods(ratchet, project, double, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(project / "none"))
    monkeypatch.setenv("HOME", str(project))
    double.execute = lambda run: blocked(project, double, run["run_id"])
    run = ratchet("submit", "training.yaml", "--wait", "--json", code=5)["run"]
    told = ratchet("runs", "logs", run, "--json")
    assert told["steps"]["validate"]["error"]["message"] == "column 'x' is missing"
    assert told["no_pods"]
    assert "fix the source" in ratchet("runs", "logs", run, "validate")
    with pytest.raises(InputError, match="no step 'vaildate'"):
        ratchet("runs", "logs", run, "vaildate")


def test_a_step_that_is_tried_again_is_shown_as_failed(ratchet, project, double, server):
    double.execute = lambda run: blocked(project, double, run["run_id"])
    run = ratchet("submit", "training.yaml", "--wait", "--json", code=5)["run"]
    double.set_run(run, "RUNNING", {"pin": "SUCCEEDED", "validate": "RUNNING"})
    records = Following(server, run, project).records()
    assert (records["pin"].state, records["validate"].state) == ("succeeded", "running")


def test_a_deleted_version_was_taken_for_the_newest(applied, double, server):
    run = applied("submit", "sum-up", "-p", "a=1", "--json")["run"]
    found = server.run(run)
    server.delete_version(found.pipeline_id, found.version_id)
    server.upload_version(found.pipeline_id, "other", "", (ROOT / "compiled" / "approve.yaml").read_text())
    following = Following(server, run)
    assert following.steps == []
    assert following.store is None
    assert "deleted" in following.blind

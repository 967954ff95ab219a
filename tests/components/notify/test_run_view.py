"""What a run amounts to, from its journal."""

import subprocess
import sys

import pytest

from kfp_ratchet.components.notify.messages import message
from kfp_ratchet.components.notify.report import render
from kfp_ratchet.components.notify.run_view import RunView
from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.errors import BlockedError, InconclusiveError, InputError, RatchetError
from kfp_ratchet.components.shared.journal import journal
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.store import Store

CACHEABLE = ("ingest", "validate", "prepare", "tune", "train", "evaluate", "gate")


def read(tmp_path, run="r1"):
    return RunView.read(Store(str(tmp_path)), run, "flights")


def states(view):
    return {step.step: step.state for step in view.steps}


@pytest.mark.parametrize(
    ("verdict", "outcome", "code", "deploy"),
    [
        ("promote", "promoted", 0, "succeeded"),
        ("reject", "rejected", 0, "not needed"),
        ("inconclusive", "inconclusive", 4, "not needed"),
    ],
)
def test_verdict_that_ends_with_the_wrong_code(tmp_path, runs, verdict, outcome, code, deploy):
    runs.play(tmp_path, "r1", verdict)
    view = read(tmp_path)
    assert (view.outcome, view.exit_code) == (outcome, code)
    assert view.reason.lower().startswith(outcome)
    assert states(view)["deploy"] == deploy
    assert view.failure is None


@pytest.mark.parametrize(
    ("step", "error", "outcome", "code"),
    [
        ("validate", BlockedError("12 rows fail", "fix the source"), "blocked", 5),
        ("validate", RatchetError("file is gone", "run again"), "failed", 3),
        ("pin", InputError("source is not set", "set source"), "failed", 2),
        ("train", ZeroDivisionError("division by zero"), "failed", 3),
        ("deploy", RatchetError("the server gave other answers", "look at its log"), "failed", 3),
    ],
)
def test_failure_that_ends_with_the_wrong_code(tmp_path, runs, step, error, outcome, code):
    runs.play(tmp_path, "r1", stop=step, error=error)
    view = read(tmp_path)
    assert (view.outcome, view.exit_code) == (outcome, code)
    assert view.stopped is not None
    assert view.stopped.step == step
    assert step in view.reason
    assert getattr(error, "message", "division by zero") in view.reason
    assert view.remedy == getattr(error, "remedy", "")


def test_promotion_that_never_reached_production(tmp_path, runs):
    runs.play(tmp_path, "r1", stop="register")
    runs.leave(tmp_path, "r1", *("register", *runs.findings()["register"]), made={})
    view = read(tmp_path)
    assert (view.outcome, view.exit_code) == ("failed", 3)
    assert view.reason == "deploy was not reached"
    assert view.remedy


def test_killed_step_that_reads_as_success(tmp_path, runs):
    runs.play(tmp_path, "r1", stop="tune")
    killed = journal(str(tmp_path), "/runs/r1/train/model", {"dataset": "/runs/r1/prepare/rows"})
    killed.__enter__().progress("epoch 3")
    view = read(tmp_path)
    assert (view.outcome, view.exit_code) == ("interrupted", 3)
    assert view.reason.startswith("train began and never ended")
    assert states(view)["evaluate"] == "not reached"


def test_failure_that_a_running_step_hides(tmp_path, runs):
    killed = journal(str(tmp_path), "/runs/r1/pin/pins")
    killed.__enter__()
    runs.leave(tmp_path, "r1", "ingest", "", {}, made={}, error=RatchetError("file is gone"))
    assert read(tmp_path).outcome == "failed"


def test_run_without_any_record(tmp_path):
    view = read(tmp_path)
    assert (view.outcome, view.exit_code) == ("failed", 3)
    assert view.reason == "pin was not reached"
    assert "prepare" not in states(view), "a pipeline may have none"


def test_notify_counted_as_a_step_that_hangs(tmp_path, runs):
    runs.play(tmp_path, "r1", "reject")
    with journal(str(tmp_path), "/runs/r1/notify/report"):
        assert read(tmp_path).outcome == "rejected"


def test_cached_steps_without_their_findings(tmp_path, runs):
    runs.play(tmp_path, "r0", "reject")
    runs.play(tmp_path, "r1", "reject", cached=dict.fromkeys(CACHEABLE, "r0"))
    view = read(tmp_path)
    assert view.outcome == "rejected"
    found = {step.step: (step.state, step.run) for step in view.steps}
    assert found == {
        "pin": ("succeeded", "r1"),
        **dict.fromkeys(CACHEABLE, ("cached", "r0")),
        "register": ("succeeded", "r1"),
        "deploy": ("not needed", ""),
    }
    assert view.details("train")["curve"]


def test_cache_of_a_cache(tmp_path, runs):
    runs.play(tmp_path, "r0", "reject")
    early = ("ingest", "validate", "prepare", "tune")
    runs.play(tmp_path, "r1", "reject", cached=dict.fromkeys(early, "r0"))
    made = {**dict.fromkeys(early, "r0"), "train": "r1", "evaluate": "r1", "gate": "r1"}
    runs.play(tmp_path, "r2", "reject", cached=made)
    found = {step.step: step.run for step in read(tmp_path, "r2").steps}
    assert {step: found[step] for step in made} == made


def test_tuning_of_another_fit(tmp_path, runs):
    runs.play(tmp_path, "r0", "reject")
    _, details = runs.findings()["train"]
    made = dict.fromkeys(("ingest", "validate", "prepare", "tune"), "r0")
    runs.play(tmp_path, "r1", "reject", cached=made, change={"train": {**details, "parameters": {"width": 7}}})
    view = read(tmp_path)
    assert states(view)["tune"] == "cached"
    assert view.details("tune") == {}, "its parameters are not those of this fit"


def test_step_before_others_that_reads_as_not_reached(tmp_path, runs):
    runs.play(tmp_path, "r1", "reject", cached=dict.fromkeys(CACHEABLE, "gone"))
    found = states(read(tmp_path))
    assert found["train"] == "cached"
    assert "not reached" not in found.values()


def test_lineage_that_runs_in_circles(tmp_path):
    for run, step, of in (("r0", "train", "prepare"), ("r0", "prepare", "train"), ("r1", "evaluate", "train")):
        with journal(str(tmp_path), f"/runs/{run}/{step}/out", {"input": f"/runs/r0/{of}/out"}):
            pass
    found = states(read(tmp_path))
    assert (found["train"], found["prepare"]) == ("cached", "cached")


def test_decision_that_nobody_can_read(tmp_path, runs):
    runs.play(tmp_path, "r1", "reject", change={"register": {"decision": {"verdict": "maybe"}}})
    assert read(tmp_path).outcome == "rejected", "the gate's own record still tells"


def test_command_line_that_loads_the_report():
    code = "import sys, kfp_ratchet.components.notify.run_view as r, kfp_ratchet.components.notify.notifications as n; "
    code += "print([m for m in ('jinja2', 'apprise', 'polars', 'mlflow', 'kfp') if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


WAITS = {
    "version": "5",
    "url": "",
    "entry": 7,
    "approval": "pending",
    "remedy": "ratchet model approve flights 5 puts it live",
}


def left_by_deploy(tmp_path, runs, line, **details):
    runs.play(tmp_path, "r1", "promote", only=set(runs.findings()) - {"deploy"})
    runs.leave(tmp_path, "r1", "deploy", line, {**WAITS, **details}, made={})
    return read(tmp_path)


def test_a_version_that_waits_was_told_as_promoted(tmp_path, runs):
    view = left_by_deploy(tmp_path, runs, "v5 waits for approval (entry 7)")
    assert (view.outcome, view.exit_code) == ("pending", 0)
    assert (
        view.reason.startswith("v5 waits for approval (entry 7); roc_auc 0.7012 beats")
        and view.remedy == WAITS["remedy"]
    )


def test_a_version_that_was_denied_was_told_as_promoted(tmp_path, runs):
    view = left_by_deploy(tmp_path, runs, "v5 was denied by ann (entry 8): no", approval="denied", remedy="")
    assert (view.outcome, view.exit_code, view.remedy) == ("rejected", 0, "")
    assert view.reason.startswith("v5 was denied by ann (entry 8): no")


def test_an_inconclusive_run_that_the_policy_lets_fail_ends_with_4(tmp_path, runs):
    error = InconclusiveError("Inconclusive: too few rows", "give the gate more rows")
    change = {"register": runs.findings("inconclusive")["register"][1]}
    runs.play(tmp_path, "r1", "inconclusive", stop="register", error=error, change=change)
    view = read(tmp_path)
    assert (view.outcome, view.exit_code) == ("inconclusive", 4)
    assert view.decision is not None and view.remedy == "give the gate more rows"


@pytest.mark.parametrize(
    ("details", "outcome"),
    [
        ({"url": "http://127.0.0.1:1", "version": "5"}, "promoted"),
        (WAITS, "pending"),
        ({"url": "", "version": "", "approval": ""}, "unchanged"),
    ],
)
def test_a_run_of_approve_has_no_steps_of_training(tmp_path, runs, details, outcome):
    runs.leave(tmp_path, "r1", "approve", "what it did", details, made={})
    view = read(tmp_path)
    assert states(view) == {"approve": "succeeded"}
    assert (view.outcome, view.exit_code, view.reason) == (outcome, 0, "what it did")


def test_who_forced_the_champion_live_is_told_by_every_run_until_another_is_promoted(tmp_path, runs):
    runs.play(tmp_path, "r1", "reject")
    ledger = Ledger(Store(str(tmp_path)), "flights")

    def makes(kind, version, epoch):
        draft = Draft(kind=kind, version=version, digest=version, epoch=epoch, run="r", by="ann", reason="the demo")
        started = ledger.append(draft.model_copy(update={"kind": "deploy-started"}))
        return ledger.append(draft.model_copy(update={"intent": started.number}))

    assert read(tmp_path).forced == ""
    entry = makes("force", "4", 0)
    view = read(tmp_path)
    assert view.forced.startswith("v4 was forced live by ann on 20") and view.forced.endswith("UTC: the demo")
    assert f"WARNING: {view.forced}" in message(view, "report.html")
    assert '<p class="forced"><strong>Forced:</strong> v4 was forced live by ann' in render(view)
    makes("promote", "5", entry.number)
    assert read(tmp_path).forced == "" and 'class="forced"' not in render(read(tmp_path))

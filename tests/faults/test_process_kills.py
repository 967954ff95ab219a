"""SIGKILL anywhere, and two at once: what was done is kept, what was not is done by the next run, and nothing is done twice."""

import json
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
KILLER = str(Path(__file__).parent / "killer")
STEPS = ("pin", "ingest", "validate", "tune", "train", "evaluate", "gate", "register", "deploy")


def test_a_step_killed_before_it_could_say_that_it_was_done_is_finished_by_the_next_run(project, promoted, tmp_path):
    at = tmp_path / "kill-at"
    trial = ("-p", "trials=1")
    for step in STEPS:
        at.write_text(step)
        outcome = project.run(*trial, PYTHONPATH=KILLER, KILL_AT=str(at))
        assert at.read_text() == "", f"{step} was never reached: {outcome['reason']}"
        assert outcome["exit_code"] == 3 and outcome["outcome"] == "interrupted"
        assert outcome["reason"].startswith(f"{step} began and never ended")
        assert "start the run again" in outcome["remedy"] and Path(outcome["report"]).exists()
    # The deploy had gone all the way: its version is champion and answers, and the next run finds nothing new.
    assert project.ledger() == [("deploy-started", "1"), ("promote", "1")]
    live = project.serving()
    assert live["answers"] and live["digest"] == promoted.serving()["digest"], "not what an undisturbed run makes"
    at.write_text("notify")
    outcome = project.run(*trial, PYTHONPATH=KILLER, KILL_AT=str(at))
    assert at.read_text() == "" and outcome["outcome"] == "rejected" and outcome["decision"]["unchanged"]
    assert project.ledger() == [("deploy-started", "1"), ("promote", "1"), ("reject", "1")]
    (study,) = (project.store / "studies").iterdir()
    asked = [json.loads(entry.read_text()) for entry in study.iterdir()]
    assert sum(entry["op_code"] == 4 for entry in asked) == 1, "one trial was made, not one a run"
    assert not (project.store / "checkpoints").exists() or not any((project.store / "checkpoints").rglob("fit"))


def test_two_runs_at_once_in_one_folder_promote_one_version(project):
    both = [project.start("run", "--json") for _ in range(2)]
    outcomes = []
    for process in both:
        out, err = process.communicate(timeout=900)
        assert "Traceback" not in out + err and out, err
        outcomes.append(json.loads(out))
    codes = sorted(outcome["exit_code"] for outcome in outcomes)
    assert codes in ([0, 0], [0, 3])
    if codes == [0, 3]:
        (refused,) = (outcome for outcome in outcomes if outcome["exit_code"])
        assert "deploy" in refused["reason"] and refused["remedy"], refused
    promotions = [entry for entry in project.ledger() if entry[0] == "promote"]
    assert promotions == [("promote", "1")]
    assert project.serving()["answers"]

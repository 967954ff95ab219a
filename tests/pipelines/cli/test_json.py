"""What scripts read: one JSON object on standard output, also when something is wrong."""

import json

import pytest


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", "--json", "-p", "trails=3"), "trails"),
        (("run", "--json", "--wat"), "--wat"),
        (("run", "--json", "-c", "nowhere.yaml"), "nowhere.yaml"),
        (("model", "rollback", "--json"), "no champion before"),
        (("init", "nothing.csv", "--target", "y", "--force", "--json"), "nothing.csv"),
    ],
)
def test_an_error_was_no_json_for_whoever_asked_for_json(project, arguments, told):
    done = project.ratchet(*arguments)
    error = json.loads(done.stdout)
    assert sorted(error) == ["error", "exit_code", "remedy"] and told in error["error"]
    assert done.returncode == error["exit_code"] == 2
    assert "error:" in done.stderr, "a log of standard error says why, too"


def test_init_status_and_stop_answer_in_json(project):
    (project.folder / "table.csv").write_text("id,y\n" + "".join(f"{row},{row % 2}\n" for row in range(60)))
    written = json.loads(project.ratchet("init", "table.csv", "--target", "y", "--force", "--json").stdout)
    assert (written["config"], written["schema"]) == ("ratchet.yaml", "schema.yaml") and written["decided"]
    assert json.loads(project.ratchet("status", "--json").stdout)["ledger_problems"] == []
    assert json.loads(project.ratchet("stop", "--json").stdout) == {"model": "table", "stopped": []}


@pytest.mark.slow
def test_compile_answers_in_json(project):
    checked = project.ratchet("compile", "-c", "ratchet.yaml", "--check", "--json")
    assert checked.returncode == 1
    files = json.loads(checked.stdout)
    assert files == {f"compiled/{name}.yaml": "differs" for name in ("approve", "continuous_training", "mine")}

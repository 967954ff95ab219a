"""Whose is what on a server that several people use: nobody's work is taken, changed or deleted by mistake."""

import io
import json
import subprocess
from dataclasses import replace

import pytest
from declared_project import NIGHTLY, Project
from typer.testing import CliRunner

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.cli import app
from kfp_ratchet.pipelines.cli import server as command
from kfp_ratchet.pipelines.server.schedules import find_schedule, listed_schedules


def git(folder, origin):
    for arguments in (["init", "-q"], ["remote", "add", "origin", origin]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run(["git", *identity, "commit", "-qm", "x", "--allow-empty"], cwd=folder, check=True)


@pytest.fixture
def mine(tmp_path) -> Project:
    project = Project(tmp_path / "mine")
    project.pipeline("flights", schedules={"nightly": NIGHTLY})
    return project


@pytest.fixture
def theirs(tmp_path, mine) -> Project:
    """Another repository whose file has the same name."""
    project = Project(tmp_path / "theirs")
    project.pipeline("flights", word="other", schedules={"nightly": NIGHTLY})
    for one, origin in ((mine, "https://github.com/one/r"), (project, "git@github.com:two/r.git")):
        one.write()
        git(one.folder, origin)
    return project


def test_two_repositories_of_one_name_took_each_other_over(mine, theirs, server, double):
    mine.apply(server)
    [version] = double.pipelines[0]["versions"]
    found = theirs.apply(server)
    assert "belongs to 'delays@github.com/one/r'" in found.errors["flights"].message
    assert double.pipelines[0]["versions"] == [version]
    theirs.pipelines = {"other": theirs.pipelines["flights"]}
    theirs.apply(server, prune=True)
    assert [one["display_name"] for one in double.pipelines] == ["flights", "other"]
    assert sum(one["mode"] == "ENABLE" for one in double.schedules) == 2


def test_after_an_adoption_both_owners_schedules_fired(mine, theirs, server, double):
    mine.apply(server)
    assert any(one.action == "delete" for one in theirs.plan(server, adopt=["flights"]).differences)
    assert not theirs.apply(server, adopt=["flights"]).errors
    [schedule] = double.schedules
    assert schedule["mode"] == "ENABLE"
    assert "two/r" in schedule["description"]
    assert not theirs.plan(server).differences


def test_a_copy_under_a_name_of_its_own_was_deleted(mine, server, double):
    mine.apply(server)
    [ours] = server.schedules()
    server.create_schedule(replace(ours, name="Anna's experiment", enabled=True))
    [notice] = mine.plan(server).notices
    assert "Anna's experiment" in notice
    assert notice in mine.apply(server).notices
    assert len(double.schedules) == 2


def test_the_first_of_two_owners_schedules_was_paused(mine, theirs, server):
    mine.apply(server)
    theirs.pipelines = {"flights ": theirs.pipelines.pop("flights")}
    [ours] = server.schedules()
    server.create_schedule(replace(ours, description=ours.description.replace("one/r", "two/r")))
    with pytest.raises(InputError, match="there are 2 schedules flights/nightly"):
        find_schedule("flights/nightly", listed_schedules(server.schedules(), None))


def test_an_experiment_of_other_case_never_converged(mine, server):
    server.experiment("FLIGHTS")
    assert not any("experiment" in one.what for one in mine.apply(server).done)
    assert not mine.plan(server).differences


def test_diff_passed_what_apply_refuses(mine, server):
    mine.pipelines["flights"]["pipeline"] = "broken.yaml"
    text = (mine.folder / "flights.yaml").read_text()
    (mine.folder / "broken.yaml").write_text(text.replace("name: comp-say", "name: comp-sya"))
    [refused] = [one.refused for one in mine.plan(server).differences if one.kind == "version"]
    assert "comp-sya" in refused


@pytest.fixture
def in_folder(mine, double, monkeypatch):
    mine.write()
    monkeypatch.chdir(mine.folder)
    monkeypatch.setenv("RATCHET_SERVER", double.url)
    return mine


def test_an_emptied_file_pruned_everything(in_folder, server, double):
    in_folder.apply(server)
    in_folder.pipelines = {}
    in_folder.write()
    done = CliRunner().invoke(app, ["server", "apply", "--prune"])
    assert isinstance(done.exception, InputError)
    assert len(double.pipelines) == 1


@pytest.mark.parametrize("error", [OSError("full"), SystemExit(1)])
def test_a_reader_that_goes_away_stopped_the_work_half_way(in_folder, double, monkeypatch, error):
    class Gone(command.Terminal):
        def say(self, *parts):
            raise error

    monkeypatch.setattr(command, "Terminal", Gone)
    CliRunner().invoke(app, ["server", "apply"])
    assert [one["mode"] for one in double.schedules] == ["ENABLE"]


def test_a_secret_in_a_description_was_uploaded(in_folder, double):
    in_folder.pipelines["flights"]["description"] = "token ghp_" + "a1B2" * 9
    in_folder.write()
    done = CliRunner().invoke(app, ["server", "apply"])
    assert "description or owners hold" in str(done.exception)
    assert "ghp_" not in str(done.exception)
    assert not double.pipelines


@pytest.mark.parametrize(
    "text",
    [
        "servers: {a: {url: 'http://x', auth: {token_env: 'hunter2-hunter2'}}}",
        "repository: https://x:hunter2@github.com/o/r",
    ],
)
def test_what_did_not_fit_was_repeated_and_was_the_secret(in_folder, text):
    with (in_folder.folder / "pipelines.yaml").open("a") as file:
        file.write(f"{text}\n")
    done = CliRunner().invoke(app, ["server", "diff"])
    assert isinstance(done.exception, InputError)
    assert "hunter2" not in str(done.exception)


def test_a_token_went_to_any_server_in_clear_text(monkeypatch):
    from kfp_ratchet.pipelines.server.authentication import Credentials
    from kfp_ratchet.pipelines.server.settings import Authentication

    monkeypatch.setenv("KFP_TOKEN", "t")
    near = [
        "https://kfp.example.com",
        "http://localhost:8888",
        "http://ml-pipeline.kubeflow.svc:8888",
        "http://ml-pipeline:8888",
    ]
    assert {Credentials(Authentication(), url).kind for url in near} == {"token of $KFP_TOKEN"}
    assert Credentials(Authentication(), "http://kfp.example.com").kind == "none"


def test_json_in_a_full_disk_said_nothing(in_folder, monkeypatch, capsys):
    from kfp_ratchet.pipelines import cli

    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli.sys, "argv", ["ratchet", "--json"])
    monkeypatch.setattr(cli.sys, "stdout", Full())
    cli._print_error("the message", "the remedy", 3)
    assert "the message" in capsys.readouterr().err


def test_a_schedule_without_its_present_part_was_called_enabled(in_folder, server, monkeypatch):
    in_folder.pipelines["flights"]["schedules"]["nightly"] = {**NIGHTLY, "time_zone": "Europe/Berlin"}
    in_folder.apply(server)
    now = min(server.schedules(), key=lambda one: " from " in one.name)
    server.delete_schedule(now.id)
    [row] = json.loads(CliRunner().invoke(app, ["schedule", "list", "--json"]).stdout)
    assert (row["state"], row["next"]) == ("not there now", "")
    [difference] = in_folder.plan(server).differences
    assert (difference.on_server, difference.action) == ("1 recurring run missing", "create")

"""`ratchet server` and `ratchet schedule` as they are typed."""

import json
import os

import pytest
from declared_project import NIGHTLY, Project
from typer.testing import CliRunner

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.cli import app
from kfp_ratchet.testing.kfp_server import KfpServer


@pytest.fixture
def double():
    with KfpServer(pace=10) as server:
        yield server


@pytest.fixture
def project(tmp_path, monkeypatch):
    found = Project(tmp_path / "p")
    found.pipeline(
        "flights",
        schedules={"nightly": {**NIGHTLY, "time_zone": "Europe/Berlin"}, "off": {**NIGHTLY, "enabled": False}},
    )
    found.write()
    monkeypatch.chdir(found.folder)
    return found


@pytest.fixture
def ratchet(double, project, monkeypatch):
    monkeypatch.setenv("RATCHET_SERVER", double.url)

    def run(*words, exits=0):
        done = CliRunner().invoke(app, [str(word) for word in words])
        if isinstance(done.exception, Exception) and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == exits, done.output
        return done.output

    return run


def test_diff_ends_with_1_until_applied_and_a_dry_run_changes_nothing(ratchet, double):
    assert "flights/nightly" in ratchet("server", "diff", exits=1)
    told = ratchet("server", "apply", "--dry-run")
    assert "upload" in told
    assert all(method == "GET" for method, _ in double.calls)
    assert "created pipeline flights" in ratchet("server", "apply")
    assert "is as Git says: 1 pipeline, 2 schedules" in ratchet("server", "diff")
    assert json.loads(ratchet("server", "diff", "--json"))["differences"] == []
    assert json.loads(ratchet("server", "apply", "--json"))["done"] == []


def test_what_fails_ends_with_3_and_says_so_as_json(ratchet, double, project):
    (project.folder / "flights.yaml").write_text(
        (project.folder / "flights.yaml").read_text().replace("name: comp-say", "name: comp-no")
    )
    output = ratchet("server", "apply", "--json", exits=3)
    told = json.JSONDecoder().raw_decode(output)[0]
    assert [one["name"] for one in told["errors"]] == ["flights"]
    assert double.pipelines == []


def test_list_tells_the_next_time_by_the_schedules_own_zone(ratchet, project):
    ratchet("server", "apply")
    rows = {row["name"]: row for row in json.loads(ratchet("schedule", "list", "--json"))}
    nightly = rows["flights/nightly"]
    assert nightly["next"].endswith("03:00 Europe/Berlin")
    assert nightly["version"].endswith("as in Git")
    assert len(nightly["ids"]) == 3
    assert (rows["flights/off"]["state"], rows["flights/off"]["next"]) == ("paused", "")
    project.pipeline("flights", "changed", project.pipelines["flights"]["schedules"])
    project.write()
    assert "not that of Git" in ratchet("schedule", "list")


def test_pause_is_a_difference_and_resume_settles_it(ratchet, double):
    ratchet("server", "apply")
    assert "the next apply resumes it" in ratchet("schedule", "pause", "flights/nightly")
    assert all(one["status"] == "DISABLED" for one in double.schedules)
    assert "resume" in ratchet("server", "diff", exits=1)
    ratchet("schedule", "resume", "flights/nightly")
    ratchet("server", "diff")
    assert "the next apply pauses it" in ratchet("schedule", "resume", "flights/off")


def test_next_needs_no_server_for_what_is_declared(ratchet, monkeypatch):
    monkeypatch.setenv("RATCHET_SERVER", "http://127.0.0.1:1")
    lines = ratchet("schedule", "next", "flights/nightly", "-n", 3).splitlines()
    assert len(lines) == 3
    assert all("03:00 Europe/Berlin" in line for line in lines)


def test_fire_starts_what_the_schedule_would(ratchet, double):
    ratchet("server", "apply")
    told = json.loads(ratchet("schedule", "fire", "flights/nightly", "--json"))
    [run] = double.runs
    assert run["run_id"] == told["run"]
    assert run["display_name"].startswith("flights nightly 20")
    assert run["display_name"].endswith("fired by hand")
    schedule = double.schedules[0]
    assert run["pipeline_version_reference"] == schedule["pipeline_version_reference"]
    assert run["experiment_id"] == schedule["experiment_id"]


def test_an_unknown_schedule_names_the_nearest(ratchet):
    ratchet("server", "apply")
    with pytest.raises(InputError, match="nigthly") as caught:
        ratchet("schedule", "pause", "flights/nigthly")
    assert "flights/nightly" in caught.value.remedy


def test_no_file_says_which_one_is_missing(ratchet, tmp_path):
    os.chdir(tmp_path)
    with pytest.raises(InputError, match=r"pipelines\.yaml does not exist"):
        ratchet("server", "diff")

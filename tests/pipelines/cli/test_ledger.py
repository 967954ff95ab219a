"""`ratchet ledger` names every problem of the record, and brings MLflow in line with it."""

import json

import pytest

from kfp_ratchet.components.shared import registry
from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.store import Store


@pytest.fixture
def ledger(project):
    made = Ledger(Store(str(project.folder / ".ratchet" / "store")), "mine")
    for epoch, version in enumerate("12"):
        made.append(Draft(kind="promote", version=version, digest=f"sha256:{version}", epoch=epoch, run="run-a"))
    return made


def entries_of(project, model):
    return project.folder / ".ratchet" / "store" / "ledger" / model


def test_a_store_without_a_ledger_is_whole(project):
    done = project.ratchet("ledger", "verify")
    assert done.returncode == 0 and "no ledger yet" in done.stdout


def test_every_problem_of_every_model_is_named_and_ends_with_1(project, ledger):
    other = Ledger(ledger._store, "other")
    for version in "123":
        other.append(Draft(kind="reject", version=version, digest=version, epoch=0, run="r"))
    assert project.ratchet("ledger", "verify").stdout == "mine: 2 entries, whole\nother: 3 entries, whole\n"
    (entries_of(project, "other") / "000002.json").unlink()
    (entries_of(project, "other") / "notes.txt").write_text("x")
    (entries_of(project, "other").parent / "stray.json").write_text("{}")
    text = (entries_of(project, "mine") / "000002.json").read_text()
    (entries_of(project, "mine") / "000002.json").write_text(text.replace("run-a", "run-b"))
    done = project.ratchet("ledger", "verify", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {
        "ledgers": [
            {
                "model": "mine",
                "entries": 1,
                "problems": [
                    "ledger/mine/000002.json is not readable as an entry (it was changed after it was written)"
                ],
            },
            {
                "model": "other",
                "entries": 2,
                "problems": ["ledger/other/notes.txt is not an entry", "ledger/other/000002.json is missing"],
            },
        ],
        "problems": ["ledger/stray.json is not in the ledger of a model"],
    }
    told = project.ratchet("ledger", "verify", "other")
    assert told.returncode == 1 and "mine" not in told.stdout
    assert "other: 2 entries, damaged\n  ledger/other/notes.txt is not an entry\n" in told.stdout


def test_an_unknown_model_is_told_the_nearest(project, ledger):
    for command in ("verify", "reconcile"):
        done = project.ratchet("ledger", command, "mien")
        assert done.returncode == 2 and "did you mean 'mine'?" in done.stderr


@pytest.mark.slow
def test_entries_missing_at_the_end_went_unseen(project, ledger):
    """They break no chain; what MLflow and the server here have seen of them is all that tells."""
    with registry.connected(f"sqlite:///{project.folder}/.ratchet/mlflow.db") as client:
        client.create_registered_model("mine")
        for version in "12":
            client.create_model_version("mine", "/nowhere", tags={"ratchet.digest": f"sha256:{version}"})
    assert project.ratchet("ledger", "reconcile").returncode == 1
    assert project.ratchet("ledger", "verify").returncode == 0
    (entries_of(project, "mine") / "000002.json").unlink()
    told = project.ratchet("ledger", "verify")
    assert told.returncode == 1 and "MLflow has shown entry 2 of mine, but this ledger has 1" in told.stdout
    (entries_of(project, "mine") / "000001.json").unlink()
    lost = project.ratchet("ledger", "verify", "--json")
    assert lost.returncode == 1 and "this ledger has 0" in json.loads(lost.stdout)["ledgers"][0]["problems"][0]
    (project.folder / ".ratchet" / "mlflow.db").unlink()
    there = project.folder / ".ratchet" / "serving" / "mine" / "live.json"
    there.parent.mkdir(parents=True)
    fields = {"version": "2", "digest": "sha256:2", "url": "", "private_url": "", "pid": 1, "started": 0.0}
    there.write_text(json.dumps({**fields, "entry": 2, "committed": True, "epoch": 2}))
    for command in (("ledger", "verify"), ("status",)):
        told = project.ratchet(*command)
        assert told.returncode == 1 and "not the one that made v2 live" in told.stdout
    assert not (project.folder / ".ratchet" / "mlflow.db").exists(), "looking makes no database"


@pytest.mark.slow
def test_a_hand_made_change_is_told_repaired_and_told_no_more(project, ledger):
    uri = f"sqlite:///{project.folder}/.ratchet/mlflow.db"
    with registry.connected(uri) as client:
        client.create_registered_model("mine")
        for version in "12":
            client.create_model_version("mine", "/nowhere", tags={"ratchet.digest": f"sha256:{version}"})
        client.set_registered_model_alias("mine", "champion", "1")
    told = project.ratchet("ledger", "reconcile", "--dry-run")
    assert told.returncode == 1 and "alias champion: 1, by the ledger 2: differs" in told.stdout
    mended = project.ratchet("ledger", "reconcile", "--json")
    assert mended.returncode == 1
    said = json.loads(mended.stdout)
    assert (
        said["model"] == "mine"
        and {
            "thing": "alias",
            "name": "champion",
            "version": "",
            "found": "1",
            "wanted": "2",
            "repairable": True,
            "repaired": True,
        }
        in said["differences"]
    )
    again = project.ratchet("ledger", "reconcile")
    assert (again.returncode, again.stdout) == (0, "MLflow shows mine as the ledger has it\n")


def test_a_registry_that_is_away_is_an_error_and_no_difference(project, ledger):
    config = project.folder / "ratchet.yaml"
    config.write_text(config.read_text() + "tracking_uri: http://127.0.0.1:1\n")
    done = project.ratchet("ledger", "reconcile", "--json", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    assert done.returncode == 3 and "MLflow at http://127.0.0.1:1 failed" in json.loads(done.stdout)["error"]

"""Approving, refusing, comparing and looking back, as a person types it."""

import json

import pytest

from kfp_ratchet.components.shared import registry
from kfp_ratchet.components.shared.decision import Evaluation
from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.model import Card, model_digest
from kfp_ratchet.components.shared.store import Store


@pytest.fixture
def ledger(project):
    return Ledger(Store(str(project.folder / ".ratchet" / "store")), "mine")


def draft(kind, version, epoch=0, **more):
    return Draft(kind=kind, version=version, digest=f"sha256:{version}", epoch=epoch, run="run-a", **more)


def promoted(ledger, version, epoch=0, **more):
    started = ledger.append(draft("deploy-started", version, epoch))
    return ledger.append(draft("promote", version, epoch, intent=started.number, **more))


def test_an_approval_without_a_deploy_is_noted_with_who_and_why(project, ledger):
    ledger.append(draft("pending", "1", reason="Promoted: better"))
    done = project.ratchet(
        "model", "approve", "mine", "v1", "--by", "ann", "--reason", "looked", "--no-deploy", "--json"
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["kind"], said["by"], said["reason"], said["answers"]) == ("approve", "ann", "looked", 1)
    history = project.ratchet("model", "history").stdout
    assert "pending" in history and "looked (by ann)" in history


def test_a_denial_is_final_and_what_does_not_wait_is_refused(project, ledger):
    ledger.append(draft("pending", "1"))
    denied = project.ratchet("model", "deny", "mine", "1", "--by", "ann", "--reason", "worse")
    assert denied.returncode == 0 and "denied: v1" in denied.stdout
    refused = project.ratchet("model", "approve", "mine", "1", "--by", "bob")
    assert refused.returncode == 2 and "was denied by ann already (entry 2): worse" in refused.stderr
    unknown = project.ratchet("model", "approve", "mine", "7")
    assert unknown.returncode == 2 and "version 7 of mine does not wait for approval" in unknown.stderr
    assert [entry.kind for entry in ledger.entries()] == ["pending", "deny"]


@pytest.mark.parametrize(
    "given", [(), ("--by", "ann"), ("--reason", "demo"), ("--by", "ann", "--reason", "demo", "--no-deploy")]
)
def test_force_without_a_person_and_a_reason_writes_nothing(project, ledger, given):
    done = project.ratchet("model", "approve", "mine", "1", "--force", *given)
    assert done.returncode == 2 and "remedy:" in done.stderr and ledger.entries() == []


def test_what_was_champion_at_a_time_follows_the_ledger(project, ledger):
    first = promoted(ledger, "1")
    second = promoted(ledger, "2", first.number)
    at = project.ratchet("model", "live", "--at", first.time)
    assert at.returncode == 0 and at.stdout.startswith("v1, since 20")
    now = json.loads(project.ratchet("model", "live", "--at", second.time, "--json").stdout)
    assert (now["version"], now["number"]) == ("2", second.number)


@pytest.mark.parametrize(
    ("at", "code", "told"),
    [
        ("yesterday", 2, "is not a time"),
        ("2026-13-40", 2, "is not a time"),
        ("2999-01-01", 2, "lies ahead"),
        ("2001-01-01T12:00Z", 1, "had no champion yet"),
    ],
)
def test_a_time_that_is_none_or_has_no_champion_is_named(project, ledger, at, code, told):
    promoted(ledger, "1")
    done = project.ratchet("model", "live", "--at", at)
    assert done.returncode == code and told in done.stdout + done.stderr


def test_rows_that_judged_before_are_counted_in_the_history(project, ledger):
    seen = Evaluation(digest="sha256:rows")
    for version in "12":
        ledger.append(draft("reject", version, decision_digest=version, evaluation=seen, reason="Rejected: worse"))
    lines = project.ratchet("model", "history").stdout.splitlines()
    assert "look" not in lines[0] and lines[1].endswith("Rejected: worse (look 2 at these rows)")


def test_two_versions_differ_in_what_differs_and_say_so(project, ledger, tmp_path):
    uri = f"sqlite:///{project.folder}/.ratchet/mlflow.db"
    for width in (8, 16):
        folder = tmp_path / str(width)
        (folder / "artifacts" / "workload").mkdir(parents=True)
        (folder / "artifacts" / "workload" / "weights.json").write_text(str(width))
        card = Card.model_validate(
            {
                "workload": "tabular",
                "parameters": {"width": width},
                "columns": {"target": "y"},
                "features": {"x": "Float64"},
                "revision": "sha256:r",
                "window": {},
                "split_rule": "time",
                "rows": 90,
                "seed": 0,
                "device": "cpu",
            }
        )
        card.write(folder)
        registry.register(uri, "mine", folder, model_digest(folder), {}, {}, {}, str(width))
    ledger.append(draft("reject", "1", decision_digest="a", reason="Rejected: worse", revision="sha256:r"))
    ledger.append(draft("reject", "2", decision_digest="b", reason="Rejected: worse", revision="sha256:r"))
    done = project.ratchet("model", "diff", "v1", "2", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)["facts"]
    assert facts["parameter width"] == {"differs": True, "values": ["8", "16"]}
    assert not facts["feature x"]["differs"] and not facts["revision"]["differs"]
    plain = project.ratchet("model", "diff", "1", "2").stdout
    assert "* parameter width" in plain and "8  |  16" in plain
    unknown = project.ratchet("model", "diff", "1", "9")
    assert unknown.returncode == 2 and "has no version 9" in unknown.stderr and "it knows 1, 2" in unknown.stderr


def test_the_pipeline_approve_has_parameters_of_its_own(project):
    wrong = project.ratchet("run", "approve", "-p", "trials=3")
    assert wrong.returncode == 2 and "there is no parameter 'trials'" in wrong.stderr
    asked = project.ratchet("run", "continuous_training", "-p", "version=3")
    assert asked.returncode == 2 and "there is no parameter 'version'" in asked.stderr


@pytest.mark.slow
def test_the_pipeline_approve_says_that_nothing_waits(project):
    done = project.ratchet("run", "approve", "--json")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["outcome"], outcome["reason"]) == ("unchanged", "no version of mine waits for approval")
    assert outcome["steps"]["approve"]["state"] == "succeeded" and outcome["report"]

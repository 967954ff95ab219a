"""A whole pipeline whose policy wants a person's word, and one that fails when the gate cannot tell."""

import json

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def policy(**more):
    return "-p", "policy=" + json.dumps({"metric": "roc_auc", "margin": 0.0, "min_rows": 50, **more})


def test_a_run_waits_until_a_person_has_spoken_and_then_goes_live(project):
    outcome = project.run(*policy(approval="required"))
    assert (outcome["outcome"], outcome["exit_code"], outcome["endpoint"]) == ("pending", 0, None)
    assert "ratchet model approve rows 1" in outcome["remedy"] and project.serving() is None
    # The same again, from the cache: it still waits, and is not noted twice.
    assert project.run(*policy(approval="required"))["outcome"] == "pending"
    assert project.ledger() == [("pending", "1")]
    approved = project.ratchet("model", "approve", "rows", "1", "--by", "ann", "--reason", "fine", "--no-deploy")
    assert approved.returncode == 0, approved.stderr
    outcome = project.run(*policy(approval="required"))
    assert outcome["outcome"] == "promoted" and project.serving()["answers"]
    assert project.ledger() == [("pending", "1"), ("approve", "1"), ("deploy-started", "1"), ("promote", "1")]


def test_an_inconclusive_run_fails_where_the_policy_says_so_and_keeps_the_candidate(project):
    outcome = project.run(*policy(min_rows=5000, on_inconclusive="fail"))
    assert (outcome["outcome"], outcome["exit_code"], outcome["version"]) == ("inconclusive", 4, "1")
    assert outcome["steps"]["register"]["state"] == "failed" and project.ledger() == [("inconclusive", "1")]

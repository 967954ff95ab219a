"""One comment, whatever happens in between."""

import json
import time
from pathlib import Path

import pytest
from flask import Response
from typer.testing import CliRunner

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.journal import journal
from kfp_ratchet.pipelines.cli import app
from kfp_ratchet.pipelines.forge.comment import cut, upsert, watermark
from kfp_ratchet.pipelines.forge.github import PullRequest
from kfp_ratchet.pipelines.forge.gitlab import MergeRequest
from kfp_ratchet.pipelines.forge.http import ForbiddenError, ForgeError

ROOT = Path(__file__).resolve().parents[3]
MARK = watermark("flights")


def bodies(forge):
    return [one["body"] for one in forge.comments.values()]


@pytest.mark.parametrize("where", ["on_github", "on_gitlab"])
def test_the_second_time_it_is_updated(where, request):
    forge = request.getfixturevalue(where)
    there = PullRequest() if where == "on_github" else MergeRequest()
    assert upsert(there, "flights", "one")[1]
    assert not upsert(there, "flights", "two")[1]
    assert bodies(forge) == [f"{MARK}\ntwo"]
    calls = len(forge.calls)
    upsert(there, "flights", "two")
    assert all(call.startswith("GET") for call in forge.calls[calls:])
    upsert(there, "delays", "other")
    assert len(forge.comments) == 2


@pytest.mark.parametrize("where", ["on_github", "on_gitlab"])
def test_it_was_written_again_when_it_was_not_on_the_first_page(where, request):
    forge = request.getfixturevalue(where)
    for number in range(300):
        forge.add(f"comment {number}", "someone")
    ours = forge.add(f"{MARK}\nold")
    for number in range(20):
        forge.add(f"later {number}", "someone")
    there = PullRequest() if where == "on_github" else MergeRequest()
    assert not upsert(there, "flights", "new")[1]
    assert forge.comments[ours]["body"] == f"{MARK}\nnew"
    assert len(forge.comments) == 321


def test_someone_elses_comment_with_the_mark_was_overwritten(on_github):
    theirs = on_github.add(f"{MARK}\nnot yours", "mallory")
    quoted = on_github.add(f"> {MARK}\nlook", on_github.login)
    assert upsert(PullRequest(), "flights", "mine")[1]
    assert on_github.comments[theirs]["body"].endswith("not yours")
    assert on_github.comments[quoted]["body"].endswith("look")


def test_two_of_our_own_become_the_oldest(on_github):
    first, second = on_github.add(f"{MARK}\na"), on_github.add(f"{MARK}\nb")
    upsert(PullRequest(), "flights", "c")
    assert on_github.comments[first]["body"] == f"{MARK}\nc"
    assert second not in on_github.comments


@pytest.mark.parametrize("done", [True, False])
def test_a_creation_without_an_answer_was_doubled(on_github, done):
    on_github.faults.append(("POST", 502 if done else Response(status=502)))
    upsert(PullRequest(), "flights", "one")
    assert bodies(on_github) == [f"{MARK}\none"]


def test_a_missing_right_is_named_and_the_token_is_not(on_github):
    on_github.faults.append(("POST", Response(json.dumps({"message": "Resource not accessible by integration"}), 403)))
    with pytest.raises(ForbiddenError) as told:
        upsert(PullRequest(), "flights", "one")
    assert "pull-requests: write" in told.value.remedy
    assert "ghs_" not in str(told.value)


def test_a_wrong_token_is_said(on_github, monkeypatch):
    monkeypatch.setenv("GITHUB_TOKEN", "other")
    with pytest.raises(ForbiddenError, match="wrong or expired"):
        list(PullRequest().comments())


def test_what_is_not_there_is_said(on_github):
    with pytest.raises(ForgeError, match="no such repository or request"):
        list(PullRequest("o/other", "7").comments())


@pytest.mark.parametrize("status", [403, 429])
def test_a_rate_limit_is_waited_for(on_github, status):
    on_github.faults += [
        ("POST", Response(status=status, headers={"Retry-After": "1"})),
        (
            "POST",
            Response(status=403, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()))}),
        ),
    ]
    upsert(PullRequest(), "flights", "one")
    assert bodies(on_github) == [f"{MARK}\none"]


def test_a_rate_limit_of_an_hour_is_not_waited_for(on_github):
    late = str(int(time.time()) + 3600)
    on_github.faults.append(
        ("POST", Response(status=403, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": late}))
    )
    with pytest.raises(ForgeError, match="rate limit"):
        upsert(PullRequest(), "flights", "one")


def test_what_the_forge_calls_invalid_is_said(on_github):
    on_github.faults.append(("POST", Response(json.dumps({"message": "Validation Failed"}), 422)))
    with pytest.raises(ForgeError, match="422: Validation Failed"):
        upsert(PullRequest(), "flights", "one")


def test_a_body_too_long_was_refused(on_github):
    text = "\n\n".join([f"paragraph {number} " + "ü" * 500 for number in range(300)])
    upsert(PullRequest(), "flights", text, "https://whole")
    [body] = bodies(on_github)
    assert len(body) <= 65_536
    assert body.endswith("The whole: https://whole*")


def test_a_cut_never_leaves_a_section_open():
    text = "head\n\n<details><summary>a</summary>\n\n" + "\n\n".join(["x" * 90] * 20) + "\n\n</details>\n\nend"
    for longest in range(450, len(text) + 10, 97):
        found = cut(text, longest)
        assert len(found) <= longest
        assert found.count("<details>") == found.count("</details>")


def test_a_title_could_end_the_mark():
    assert watermark("a --> <b> `x`") == "<!-- kfp-ratchet: a - -b- -x- -->"


def test_a_check_is_written_once_and_of_the_head(on_github, monkeypatch, tmp_path):
    event = {"pull_request": {"number": 7, "head": {"sha": "head", "repo": {"fork": False}}}}
    (tmp_path / "event.json").write_text(json.dumps(event))
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(tmp_path / "event.json"))
    PullRequest().check("kfp-ratchet: flights", "failure", "t", "one")
    PullRequest().check("kfp-ratchet: flights", "success", "t", "two")
    [check] = on_github.checks
    assert (check["head_sha"], check["conclusion"], check["output"]["summary"]) == ("head", "success", "two")


@pytest.mark.parametrize(
    ("missing", "told"),
    [("GITHUB_TOKEN", "token"), ("GITHUB_REPOSITORY", "repository"), ("GITHUB_REF", "pull request")],
)
def test_what_is_missing_is_named(on_github, monkeypatch, missing, told):
    monkeypatch.delenv(missing)
    with pytest.raises(InputError, match=told):
        list(PullRequest().comments())


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project with a run in its store that was blocked."""
    text = "name: mine\nsource: data\nschema: schema.yaml\ncolumns: {target: y, id: i}\nstore: store\n"
    (tmp_path / "ratchet.yaml").write_text(text)
    (tmp_path / "schema.yaml").write_text("columns: {}\n")
    with journal(str(tmp_path / "store"), f"{tmp_path}/.ratchet/runs/x/artifacts/run-1/pin/out") as step:
        step.found("pinned")
    (tmp_path / ".ratchet/runs/x/artifacts/run-1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def report(*arguments: str):
    done = CliRunner().invoke(app, ["runs", "report", *arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_a_run_is_found_and_told(project):
    for which in ("last", "run-1", "run", ".ratchet/runs/x"):
        assert "mine: failed" in report(which).stdout
    with pytest.raises(InputError, match="has no run"):
        report("other")


def test_a_run_with_a_store_of_its_own_was_not_found(project):
    (project / "store").rename(project / "trial")
    assert "pin was not reached" in report("last").stdout
    assert "pin was not reached" not in report("last", "-p", "store=trial").stdout
    with pytest.raises(InputError, match="stor"):
        report("last", "-p", "stor=trial")


def test_the_command_writes_comment_and_check(project, on_github):
    told = json.loads(report("last", "--comment", "--check", "--link", "Job=https://ci/1", "--json").stdout)
    assert told["new"]
    assert on_github.checks[0]["conclusion"] == "failure"
    assert "[Job](<https://ci/1>)" in bodies(on_github)[0]
    assert "up to date" in report("last", "--comment").stdout


def test_a_pull_request_from_a_fork_failed_the_job(project, on_github, monkeypatch):
    event = {"pull_request": {"number": 7, "head": {"sha": "head", "repo": {"fork": True}}}}
    (project / "event.json").write_text(json.dumps(event))
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(project / "event.json"))
    on_github.faults.append(("POST", Response(status=403)))
    done = report("last", "--comment")
    assert done.exit_code == 0
    assert "mine: failed" in done.stdout


def test_a_check_is_github_s(project, on_gitlab):
    with pytest.raises(InputError, match="GitHub"):
        report("last", "--check")
    assert report("last", "--comment").exit_code == 0
    assert len(on_gitlab.comments) == 1

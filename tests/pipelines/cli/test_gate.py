"""`ratchet gate`: why, and again; in a pipe, on any terminal, as JSON, and when what is asked for is not there."""

import io
import json
import re

import pytest

from kfp_ratchet.components.gate import Policy, judge
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.pipelines.backtest import backtest
from kfp_ratchet.pipelines.cli import app
from kfp_ratchet.pipelines.cli.backtested import tell_backtest
from kfp_ratchet.pipelines.cli.decided import tell_decision
from kfp_ratchet.pipelines.cli.terminal import Terminal

MARGIN = '{"resamples": 200, "margin": 0.2}'


@pytest.fixture
def gate(project, past, monkeypatch, capsys):
    """The command in a project whose ledger has three decisions; returns what it prints and its exit code."""
    for version, noise in (("1", 2.0), ("2", 1.0), ("3", 3.0)):
        past.judged(version, noise)
    (past.folder / ".ratchet").rename(project.folder / ".ratchet")
    monkeypatch.chdir(project.folder)
    past.folder = project.folder

    def run(*arguments):
        code = app(["gate", *arguments], standalone_mode=False)
        return capsys.readouterr().out, code or 0

    return run


def test_explain_tells_every_check_and_what_was_asked(gate):
    told, code = gate("explain", "v2")
    assert code == 0 and told.startswith("mine: entry 4, promote of v2, ")
    decision = json.loads(gate("explain", "v2", "--json")[0])["decision"]
    for check in decision["checks"]:
        assert f"{check['outcome']:<7}  {check['name']}" in told and check["reason"] in told
    assert "whole interval of the gain in roc_auc over the champion v1 must lie above 0" in told
    assert decision["evidence_digest"] in told


def test_explain_of_a_rollback_tells_who_and_how_its_version_was_judged(gate, past):
    entry = past.rolled_back("1", by="ann")
    told, _ = gate("explain", str(entry.number))
    assert told.startswith(f"mine: entry {entry.number}, rollback of v1 by ann, ") and "complaints" in told
    assert "v1 was judged before:" in told and "entry 2, promote of v1" in told
    assert json.loads(gate("explain", str(entry.number), "--json")[0])["asked"]["kind"] == "rollback"


def test_a_second_look_at_the_same_rows_was_not_mentioned(gate, past):
    assert "Looks" not in gate("explain", "last")[0]
    past.window = 4
    past.judged("4", 3.0)
    assert "1 other candidate was judged on these rows before" in gate("explain", "last")[0]


def test_a_decision_is_the_same_when_it_is_taken_again(gate):
    told, code = gate("decide", "--entry", "4")
    assert code == 0 and "the same as entry 4, to the last digit" in told
    assert json.loads(gate("decide", "--entry", "4", "--json")[0])["differs"] == []


def test_another_policy_shows_what_differs(gate):
    told, code = gate("decide", "--entry", "v2", "--policy", MARGIN)
    assert code == 0 and "  verdict: promote → reject\n" in told and "  policy.margin: 0.0 → 0.2\n" in told
    listed = json.loads(gate("decide", "--entry", "v2", "--policy", MARGIN, "--json")[0])["differs"]
    differs = {one["what"]: (one["then"], one["now"]) for one in listed}
    assert differs["verdict"] == ("promote", "reject") and "candidate.value" not in differs


def test_inconclusive_was_exit_code_0(gate):
    _, code = gate("decide", "--entry", "v2", "--policy", '{"resamples": 200, "min_rows": 100000}')
    assert code == 4


def test_a_bare_folder_needs_no_project(past, tmp_path, monkeypatch, capsys):
    folder = past.evidence("1", 0.5)
    monkeypatch.chdir(folder)
    code = app(["gate", "decide", "--evidence", ".", "--json"], standalone_mode=False)
    told = json.loads(capsys.readouterr().out)
    assert (code or 0, told["policy_from"], told["differs"]) == (0, "the defaults", None)
    assert told["decision"] == judge(folder, Policy()).model_dump(mode="json")


def test_a_folder_in_a_project_is_asked_by_its_policy(gate, past, project):
    with (project.folder / "ratchet.yaml").open("a") as config:
        config.write("policy: {resamples: 200, margin: 0.3}\n")
    told = json.loads(gate("decide", "--evidence", str(past.evidence("1", 0.5)), "--json")[0])
    assert (told["policy_from"], told["decision"]["policy"]["margin"]) == ("the project", 0.3)


def test_damaged_evidence_is_inconclusive_not_an_error(gate, past):
    folder = past.evidence("9", 0.5, "2")
    (folder / "rows.parquet").write_bytes(b"PAR1")
    told, code = gate("decide", "--evidence", str(folder))
    assert code == 4 and "rows.parquet is not what evidence.json speaks of" in told


def test_backtest_prints_a_line_a_decision_and_a_summary(gate, past):
    told, code = gate("backtest", "--policy", MARGIN)
    lines = told.splitlines()
    assert code == 0 and [line.split()[0] for line in lines[:3]] == ["2", "4", "5"]
    assert "reject? " in lines[2] and "judged against v2, though " in lines[2]
    assert "mine under the policy of the command line: 3 decisions taken again" in told
    said = json.loads(gate("backtest", "mine", "--policy", MARGIN, "--json")[0])
    assert [(one["entry"], one["then"], one["guess"]) for one in said["decisions"]] == [
        (2, "promote", False), (4, "promote", False), (5, "reject", True)]  # fmt: skip
    assert said["headline"] in told and said["policy"]["margin"] == 0.2
    again = backtest(Ledger(past.store, "mine"), past.store, Policy.parse(MARGIN))
    assert again.headline == said["headline"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("explain", "99"), "has no entry 99; its entries are 1 to 5"),
        (("explain", "v22"), "no judgement about v22; did you mean 'v2'"),
        (("explain", "nonsense"), "has no run 'nonsense'"),
        (("explain", "last", "--model", "mien"), "has no model 'mien'; did you mean 'mine'"),
        (("decide",), "there is no evidence to decide on; give --evidence FOLDER or --entry 12"),
        (("decide", "--evidence", "nowhere"), "nowhere is no folder of evidence"),
        (("decide", "--evidence", "nowhere", "-c", "no.yaml"), "nowhere is no folder of evidence"),
        (("decide", "--evidence", "EVIDENCE", "-c", "no.yaml"), "no.yaml does not exist"),
        (("decide", "--evidence", "ratchet.yaml"), "ratchet.yaml is no folder of evidence"),
        (
            ("decide", "--entry", "4", "--policy", '{"margn": 1}'),
            r"policy.margn is not a setting \(did you mean margin",
        ),
        (("decide", "--entry", "4", "--policy", "nowhere.yaml"), "there is no policy file 'nowhere.yaml'"),
        (("decide", "--entry", "4", "--policy", '{"metric": "rmse"}'), "rmse does not fit a binary target"),
        (("backtest", "mien"), "has no model 'mien'; did you mean 'mine'"),
        (("backtest", "--policy", '{"metric": "rok_auc"}'), "did you mean 'roc_auc'"),
    ],
)
def test_what_is_not_there_is_one_clear_error(gate, past, arguments, told):
    here = str(past.evidence("9", 0.5))
    with pytest.raises(InputError, match=told):
        gate(*(here if argument == "EVIDENCE" else argument for argument in arguments))


def test_a_damaged_archive_is_named(gate, past):
    entry = past.ledger.entries()[-1]
    folder = past.folder / ".ratchet/store/evidence" / entry.evidence_digest.removeprefix("sha256:")
    (folder / "evidence.json").write_text("{}")
    with pytest.raises(RatchetError, match=r"the archive is damaged at .*: evidence.json was changed") as refused:
        gate("decide", "--entry", "5")
    assert refused.value.exit_code == 3
    assert "evidence.json was changed" in gate("backtest", "--json")[0]


def test_an_entry_without_archive_is_named(gate, past):
    past.judged("4", 3.0, keep=False)
    with pytest.raises(RatchetError, match="the decision of entry 6 is kept nowhere"):
        gate("decide", "--entry", "6")


def test_looking_changed_the_store(gate, project):
    before = sorted(project.folder.rglob("*"))
    for arguments in (("explain", "last"), ("decide", "--entry", "last"), ("backtest", "--policy", MARGIN)):
        gate(*arguments)
    assert sorted(project.folder.rglob("*")) == before


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
def test_a_line_was_wider_than_the_terminal(gate, past, monkeypatch, width):
    """Or broke a reason so that a word was lost."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    done = backtest(Ledger(past.store, "mine"), past.store, Policy.parse(MARGIN))
    for tell, reasons in (
        (lambda console: tell_decision(console, past.decisions["2"]), [c.reason for c in past.decisions["2"].checks]),
        (lambda console: tell_backtest(console, "mine", "the command line", done), [one.note for one in done.replayed]),
    ):
        file = io.StringIO()
        monkeypatch.setattr("sys.stdout", file)
        console = Terminal()
        assert console.is_terminal and console.width == width
        tell(console)
        shown = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())
        assert max(map(len, shown.splitlines())) <= width
        words = " ".join(shown.split())
        # In a table other columns stand between the lines of a reason.
        assert all(word in words for reason in reasons for word in reason.split())

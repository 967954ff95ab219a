"""The run's report."""

import re
from html.parser import HTMLParser

import pytest

from kfp_ratchet.components.notify.report import render
from kfp_ratchet.components.notify.run_view import RunView
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.store import Store

HOSTILE = "<script>alert('x')</script>"
VOID = {"meta", "br", "hr", "img", "link", "input"}


def report(tmp_path, run="r1"):
    return render(RunView.read(Store(str(tmp_path)), run, "flights"))


def headings(page):
    return re.findall(r"<h2 id=\"[a-z]+\">(.*?)</h2>", page)


class Balanced(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()


def test_section_that_is_missing_or_out_of_order(tmp_path, runs):
    runs.play(tmp_path, "r1")
    page = report(tmp_path)
    assert headings(page) == [
        "Comparison",
        "Checks",
        "Slices",
        "Calibration",
        "Explanation",
        "Learning curve",
        "Tuning",
        "Data validation",
        "Data and lineage",
        "Steps and resources",
    ]
    assert page.index('<p class="word">Promoted</p>') < page.index("<h2")
    assert page.count("<figure") == 9
    assert "flights 336,776, weather 26,115" in page
    assert "evaluate 14d, end 2013-10-31" in page


def test_title_that_is_a_machines_name_for_the_run(tmp_path, runs):
    runs.play(tmp_path, "continuous-training-flights-2026-11-22-12-09-56-348689")
    page = report(tmp_path, "continuous-training-flights-2026-11-22-12-09-56-348689")
    assert re.search(r"<h1>flights \N{MIDDLE DOT} \d{4}-\d\d-\d\d \d\d:\d\d UTC</h1>", page)
    lineage = page.split('id="lineage"')[1]
    assert "continuous-training-flights-2026-11-22-12-09-56-348689" in lineage.split("</section>")[0]


def test_the_code_and_the_machine_that_made_a_candidate(tmp_path, runs):
    runs.play(tmp_path, "now")
    lineage = report(tmp_path, "now").split('id="lineage"')[1].split("</section>")[0]
    for said in ("and changes that were not committed", "AMD EPYC, 2 cores", "<dt>Pipeline YAML</dt>", "ab" * 32):
        assert said in lineage, said


@pytest.mark.parametrize("told", [None, "abc", ["abc"], {"commit": {"deep": ["x"]}, "hardware": None}])
def test_lineage_that_someone_else_wrote_into_the_journal(tmp_path, runs, told):
    runs.play(tmp_path, "now", change={"register": {"lineage": told}})
    assert 'id="lineage"' in report(tmp_path, "now")


def test_slices_of_the_gate_that_are_not_drawn(tmp_path, runs):
    slices = [
        {
            "name": f"slice origin={name}",
            "outcome": "pass",
            "reason": "",
            "observed": {"value": 0.0049, "low": -7.13e-06, "high": 0.0105},
            "bound": 0.0,
        }
        for name in ("EWR", "JFK")
    ]
    runs.play(tmp_path, "r1", change={"register": {"decision": runs.decision("promote", checks=slices)}})
    section = report(tmp_path).split('id="slices"')[1].split("</section>")[0]
    assert "Gain by slice" in section
    assert section.count("<circle") == 2
    assert section.count("[0.0000, 0.0105]") >= 4
    assert "e\N{MINUS SIGN}06" not in section


def test_one_of_several(tmp_path, runs):
    found = runs.findings()["tune"][1]
    one = {"tune": {**found, "trials": found["trials"][:1]}}
    runs.play(tmp_path, "r1", change={**one, "register": {"decision": runs.decision("promote", rows=1)}})
    page = report(tmp_path)
    assert "<p>1 trial;" in page
    assert "Loss by trial" not in page
    assert "<dd>1 row</dd>" in page


@pytest.mark.parametrize(("metric", "said"), [("log_loss", "Lower is better."), ("roc_auc", "Higher is better.")])
def test_metric_that_does_not_say_which_way_is_better(tmp_path, runs, metric, said):
    runs.play(tmp_path, "r1", change={"register": {"decision": runs.decision("promote", metric=metric)}})
    section = report(tmp_path).split('id="comparison"')[1].split("</section>")[0]
    assert said in section


def test_page_that_does_not_close_what_it_opens(tmp_path, runs):
    runs.play(tmp_path, "promoted")
    runs.blocked(tmp_path, "blocked")
    for run in ("promoted", "blocked", "empty"):
        parser = Balanced()
        parser.feed(report(tmp_path, run))
        assert parser.open == []


@pytest.mark.parametrize(
    ("verdict", "word", "after"),
    [
        ("promote", "Promoted", "Version 4 is live at http://127.0.0.1:5123; v3 is kept to roll back to."),
        ("reject", "Rejected", "Production is untouched: v3 stays live."),
        ("inconclusive", "Inconclusive", "Production is untouched: v3 stays live."),
    ],
)
def test_outcome_that_does_not_say_what_is_live(tmp_path, runs, verdict, word, after):
    runs.play(tmp_path, "r1", verdict)
    page = report(tmp_path)
    assert f'<p class="word">{word}</p>' in page
    assert after in page
    assert f'class="verdict {verdict}"' in page


def test_blocked_run_without_remedy_or_rows(tmp_path, runs):
    runs.blocked(tmp_path, "r1")
    page = report(tmp_path)
    assert '<section class="verdict blocked" aria-label="Outcome">' in page
    assert "set checks.on_failure: quarantine" in page
    assert "in_range(-60, 1500)" in page
    assert ">-9999</td>" in page
    assert headings(page) == ["Data validation", "Data and lineage", "Steps and resources"]


def test_failed_run_without_its_traceback(tmp_path, runs):
    runs.play(tmp_path, "r1", stop="tune", error=ZeroDivisionError("division by zero"))
    page = report(tmp_path)
    assert "tune: ZeroDivisionError: division by zero" in page
    assert "Traceback of tune" in page


def test_failed_deployment_that_claims_to_know_what_is_live(tmp_path, runs):
    runs.play(tmp_path, "r1", stop="deploy", error=RatchetError("other answers", "look at the log"))
    page = report(tmp_path)
    assert "untouched" not in page
    assert "ratchet model live" in page


def test_cached_step_that_does_not_say_so(tmp_path, runs):
    runs.play(tmp_path, "r0", "reject")
    runs.play(tmp_path, "r1", "reject", cached=dict.fromkeys(("ingest", "validate", "prepare", "tune", "train"), "r0"))
    page = report(tmp_path)
    assert page.count('from the cache of run <span class="digest">r0</span>') == 5
    assert "5 of 10 steps" in page
    assert "Learning curve" in headings(page)


def hostile(value):
    """Every text in `value`, keys included, with markup in it."""
    if isinstance(value, dict):
        return {f"{key}{HOSTILE}": hostile(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return f"{value}{HOSTILE}" if isinstance(value, str) else value


def test_foreign_text_that_becomes_markup(tmp_path, runs):
    for step, (line, details) in runs.findings().items():
        told = {key: hostile(value) if key not in ("decision", "window") else value for key, value in details.items()}
        if step == "validate":
            told["failures"] = [
                {**details["failures"][0], "column": HOSTILE, "check": HOSTILE, "examples": [{HOSTILE: HOSTILE}]}
            ]
            told["checks"] = [{"name": HOSTILE, "outcome": HOSTILE, "reason": HOSTILE}]
            told["tables"] = {HOSTILE: {"rows": 1}}
        if step == "tune":
            told["trials"] = [
                {**trial, "state": HOSTILE, "parameters": {HOSTILE: HOSTILE}} for trial in details["trials"]
            ]
            told["importance"] = {HOSTILE: 0.5}
        if step == "train":
            told["curve"] = [{**point, HOSTILE: 1.0} for point in details["curve"]]
        if step == "evaluate":
            told["explanation"] = [{"feature": HOSTILE, "importance": 1.0}]
        if "decision" in details:
            checks = [{"name": f"slice {HOSTILE}", "outcome": "pass", "reason": HOSTILE, "observed": {"value": 1.0}}]
            told["decision"] = runs.decision(
                "promote", reason=HOSTILE, metric=HOSTILE, champion_version=HOSTILE, checks=checks
            )
        runs.leave(tmp_path, "r1", step, line + HOSTILE, told, made={})
    page = report(tmp_path)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 60
    assert "Slices" in headings(page)


def test_page_too_large_to_open(tmp_path, runs):
    wide = {f"column_{i}": "<" * 200 for i in range(60)}
    found = {step: dict(details) for step, (_, details) in runs.findings().items()}
    found["validate"]["failures"] = [{"column": "c" * 500, "check": "k" * 500, "count": 1, "examples": [wide] * 5}] * 60
    found["tune"]["trials"] = [
        {"number": i, "state": "COMPLETE", "value": 1 / (i + 1), "parameters": wide} for i in range(300)
    ]
    found["train"]["curve"] = [
        {"epoch": i, "loss": 1.0, "train_loss": 1.0, **{f"m{k}": 1.0 for k in range(40)}} for i in range(3000)
    ]
    found["evaluate"]["explanation"] = [{"feature": "f" * 500, "importance": 1.0}] * 500
    for step, (line, _) in runs.findings().items():
        runs.leave(tmp_path, "r1", step, line * 200, found[step], made={})
    assert len(report(tmp_path).encode()) < 2_000_000


@pytest.mark.parametrize(
    "junk", [None, "text", 7, [], {}, [None], [{"epoch": "x"}], {"a": None}, [{"number": None, "value": "x"}]]
)
def test_misshapen_details_that_cost_the_report(tmp_path, runs, junk):
    for step, (line, details) in runs.findings().items():
        told = {key: junk for key in details if key != "decision"} | (
            {"decision": details["decision"]} if "decision" in details else {}
        )
        runs.leave(tmp_path, "r1", step, line, told, made={})
    assert '<p class="word">Promoted</p>' in report(tmp_path)


def test_first_model_compared_with_a_champion(tmp_path, runs):
    first = runs.decision("promote", champion_version="", champion_digest="")
    found = runs.findings()
    change = {
        "gate": {"decision": first},
        "register": {**found["register"][1], "decision": first},
        "pin": {"champion_version": ""},
    }
    runs.play(tmp_path, "r1", change=change)
    page = report(tmp_path)
    assert "trivial model" in page
    assert "none yet" in page
    assert "over the trivial model" in page

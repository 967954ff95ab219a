"""The run's report on hostile, huge and odd input, and for readers who do not see it."""

import itertools
import re
from html.parser import HTMLParser

import pytest

from kfp_ratchet.components.gate.figures import MOST_SLICES
from kfp_ratchet.components.notify import report as report_module
from kfp_ratchet.components.notify.report import render
from kfp_ratchet.components.notify.run_view import RunView
from kfp_ratchet.components.shared.journal import Record
from kfp_ratchet.components.shared.store import Store

MOST_BYTES = 2_000_000
NAMES = {
    "script": "<script>alert(1)</script>",
    "attribute": '" onmouseover="alert(1)" x=\'',
    "closing tag": "</title></style></svg><img src=x onerror=alert(1)>",
    "link": "javascript:alert(1)",
    "style": "red;} body{background:url(https://example.com/x)}",
    "template": "{{ 7 * 7 }}{% raw %}",
    "formula": '=HYPERLINK("https://example.com";"x")',
    "bidi": "user\u202etxt.exe",
    "control": "a\x00b\x1b[31mc",
    "entity": "&lt;b&gt;&#x3c;",
}


class Elements(HTMLParser):
    """Every element of a page with its attributes, and every visible text."""

    def __init__(self, page):
        super().__init__()
        self.found, self.texts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


def report(tmp_path, run="r1", model="flights"):
    return render(RunView.read(Store(str(tmp_path)), run, model))


def named(name):
    """Every text in `value` turned into a name of someone's choice, keys included."""

    def turn(value):
        if isinstance(value, dict):
            return {f"{key} {name}": turn(item) for key, item in value.items()}
        if isinstance(value, list):
            return [turn(item) for item in value]
        return name if isinstance(value, str) else value

    return turn


def hostile_run(tmp_path, runs, name):
    turn = named(name)
    for step, (line, details) in runs.findings().items():
        told = dict(details)
        if step == "pin":
            told |= {"source": turn({"flights": "x"}), "champion_version": name}
        if step == "ingest":
            told["tables"] = {name: {"rows": 1}}
        if step == "validate":
            found = {
                "table": name,
                "column": name,
                "check": name,
                "reason": name,
                "count": 1,
                "examples": [{name: name}],
            }
            told |= {
                "tables": {name: {"rows": 1}},
                "failures": [found],
                "checks": [{"name": name, "outcome": name, "reason": name}],
            }
        if step == "tune":
            trials = [{**trial, "parameters": {name: name}, "error": name} for trial in details["trials"]]
            told |= {"trials": trials, "importance": {name: 0.5}, "best": {name: name}}
        if step == "train":
            told |= {"curve": [{**point, name: 1.0} for point in details["curve"]], "parameters": {name: name}}
        if step == "evaluate":
            told |= {"explanation": [{"feature": name, "importance": 1.0}], "explanation_metric": name, "problem": name}
        if step == "deploy":
            told |= {"url": name, "version": name}
        if "decision" in details:
            checks = [
                {"name": f"slice {name}={name}", "outcome": "fail", "reason": name, "observed": {"value": 1.0}},
                {"name": name, "outcome": "pass", "reason": name},
            ]
            told["decision"] = runs.decision(
                "promote", reason=name, metric=name, champion_version=name, checks=checks, policy={name: name}
            )
        runs.leave(tmp_path, "r1", step, f"{line} {name}", told, made={})


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_name_that_is_more_than_text(tmp_path, runs, name):
    plain = "plain"
    for folder, used in (("hostile", name), ("plain", plain)):
        (tmp_path / folder).mkdir()
        hostile_run(tmp_path / folder, runs, used)
    page, calm = report(tmp_path / "hostile", model=name), report(tmp_path / "plain", model=plain)
    elements, others = Elements(page), Elements(calm)
    # No element and no attribute that a harmless name's page does not have: nothing came out of its text.
    shapes, plain_shapes = ({(tag, *sorted(attributes)) for tag, attributes in one.found} for one in (elements, others))
    assert shapes <= plain_shapes
    assert all(found["href"].startswith("#") for _, found in elements.found if "href" in found)
    styles = {found["style"] for _, found in elements.found if "style" in found}
    assert styles <= {f"--mark:var(--{colour})" for colour in ("accent", "second", "muted")}
    shown = re.sub(r"[\x00-\x1f\u202e]", lambda odd: f"[U+{ord(odd[0]):04X}]", name)
    assert sum(shown in text for text in elements.texts) > 40


def test_page_that_asks_the_network(tmp_path, runs):
    hostile_run(tmp_path, runs, "https://example.com/x.png")
    elements = Elements(report(tmp_path))
    fetching = {"src", "srcset", "data", "action", "poster", "background", "ping", "xlink:href", "formaction"}
    assert not [found for _, found in elements.found if fetching & set(found)]
    assert not {"script", "link", "iframe", "object", "embed", "base", "image", "use"} & {
        tag for tag, _ in elements.found
    }


def test_ten_thousand_columns_five_hundred_slices_five_thousand_trials(tmp_path, runs):
    names = [f"\"'<&> a name of some length, number {i}" * 2 for i in range(10_000)]
    found = {step: dict(details) for step, (_, details) in runs.findings().items()}
    found["ingest"]["tables"] = {name: {"rows": 1, "columns": {}} for name in names}
    found["validate"]["tables"] = {name: {"rows": 1} for name in names}
    example = dict.fromkeys(names[:60], "'" * 500)
    found["validate"]["failures"] = [
        {"column": name, "check": name * 5, "count": 1, "reason": name * 9, "examples": [example] * 5}
        for name in names[:60]
    ]
    found["validate"]["checks"] = [{"name": name, "outcome": "pass", "reason": name * 99} for name in names[:300]]
    found["tune"]["trials"] = [
        {
            "number": i,
            "state": "COMPLETE" if i % 3 else "PRUNED",
            "value": 1 / (i + 1),
            "parameters": dict.fromkeys(names[:30], "'" * 70),
            "error": "'" * 300,
        }
        for i in range(5000)
    ]
    found["tune"]["importance"] = dict.fromkeys(names, 0.1)
    found["train"]["curve"] = [{"epoch": i, "loss": 1.0, **dict.fromkeys(names[:9], 1.0)} for i in range(3000)]
    found["train"]["parameters"] = dict.fromkeys(names, "'" * 500)
    found["evaluate"]["explanation"] = [{"feature": name, "importance": 1.0} for name in names]
    checks = [
        {
            "name": f"slice {name}",
            "outcome": "fail" if i == 499 else "pass",
            "reason": "'" * 5000,
            "observed": {"value": i / 500, "low": 0, "high": 1},
            "bound": 0.0,
        }
        for i, name in enumerate(names[:500])
    ]
    judged = runs.decision("reject", checks=checks, policy={"note": "'" * 90_000})
    found["gate"]["decision"] = found["register"]["decision"] = judged
    for step, (line, _) in runs.findings().items():
        runs.leave(tmp_path, "r1", step, line + "'" * 9000, found[step], made={})
    page = report(tmp_path, model="'" * 9000)
    assert len(page.encode()) < MOST_BYTES
    assert "Too large to show" not in page
    assert f"<p>{MOST_SLICES} of 500 slices: those that fail, then those that gain least.</p>" in page
    assert page.count('<span class="note">fails</span>') == 1
    assert "5,000 trials, 1,667 pruned" in page


def test_bounds_that_are_not_enough(tmp_path, runs, monkeypatch):
    monkeypatch.setattr(report_module, "_MOST_BYTES", 30_000)
    runs.play(tmp_path, "r1")
    page = report(tmp_path)
    assert "Too large to show" in page
    assert '<p class="word">Promoted</p>' in page
    assert page.count("<h2 id=") == 10


def test_page_that_cannot_be_heard(tmp_path, runs):
    runs.play(tmp_path, "promoted")
    runs.blocked(tmp_path, "blocked")
    for run in ("promoted", "blocked"):
        page = report(tmp_path, run)
        found = Elements(page).found
        assert ("html", {"lang": "en"}) in found
        levels = [int(tag[1]) for tag, _ in found if re.fullmatch(r"h\d", tag)]
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
        assert all(attributes.get("scope") in ("col", "row") for tag, attributes in found if tag == "th")
        drawings = re.findall(r'<svg[^>]*role="img"[^>]*>(.{7})', page)
        assert set(drawings) <= {"<title>"}
        assert len(drawings) > 5 or run == "blocked"
        regions = [attributes["aria-label"] for _, attributes in found if attributes.get("role") == "region"]
        assert len(regions) == len(set(regions)) >= 2
        ids = [attributes["id"] for _, attributes in found if "id" in attributes]
        assert len(ids) == len(set(ids))


def test_calibration_that_leaves_out_the_champion(tmp_path, runs):
    runs.play(tmp_path, "r1")
    section = report(tmp_path).split('id="calibration"')[1].split("</section>")[0]
    assert '<li class="ringed"' in section
    assert section.count('class="whisker"') == 18
    assert "Champion, bin by bin" in section
    assert ">4,000</td>" in section


@pytest.mark.parametrize(
    ("problem", "title"),
    [
        ("multiclass", "How often the likeliest class is right"),
        ("regression", "Observed by predicted value"),
        ("binary", "Share of positives"),
    ],
)
def test_quantity_that_is_called_a_probability(tmp_path, runs, problem, title):
    told = {**runs.findings()["evaluate"][1], "problem": problem}
    runs.play(tmp_path, "r1", change={"evaluate": told})
    section = report(tmp_path).split('id="calibration"')[1].split("</section>")[0]
    assert title in section
    assert ("probability" in section) == (problem != "regression")


def test_cached_step_with_a_bar_in_this_runs_time(tmp_path, runs):
    runs.play(tmp_path, "r0", "reject")
    runs.play(tmp_path, "r1", "reject", cached=dict.fromkeys(("ingest", "validate", "prepare", "tune", "train"), "r0"))
    figure = report(tmp_path).split('id="steps"')[1].split("</figure>")[0]
    assert figure.count("from the cache</span>") == 5
    assert "not needed" not in figure
    assert figure.count('<rect class="span"') == 4


def test_killed_step_that_looks_finished(tmp_path, runs):
    runs.play(tmp_path, "r1", stop="train")
    path = tmp_path / "runs/r1/steps/train.json"
    record = Record.model_validate_json(path.read_text())
    path.write_text(record.model_copy(update={"state": "running", "seconds": 30.0}).model_dump_json())
    figure = report(tmp_path).split('id="steps"')[1].split("</figure>")[0]
    assert '<rect class="span odd"' in figure
    assert '<span class="note">never ended</span>' in figure
    assert '<span class="chip fail">never ended</span>' in report(tmp_path)


def test_blocked_step_called_failed(tmp_path, runs):
    runs.blocked(tmp_path, "r1")
    assert '<span class="chip blocked">blocked</span>' in report(tmp_path)


def test_run_that_saw_no_champion_says_nothing_is_live(tmp_path, runs):
    runs.play(tmp_path, "r1", stop="pin", error=runs.RatchetError("the source is away", "bring it back"))
    page = report(tmp_path)
    assert "Production is untouched.</p>" in page
    assert "none yet" not in page


def test_broken_schema_without_its_reason(tmp_path, runs):
    missing = {"table": "flights", "column": "dep_delay", "check": "column_in_dataframe", "count": 0, "share": 0.0}
    told = {"failures": [{**missing, "reason": "the column is missing (has: carrier, dest)"}]}
    runs.play(tmp_path, "r1", stop="validate", error=runs.RatchetError("x", "y"), change={"validate": told})
    section = report(tmp_path).split('id="validation"')[1].split("</section>")[0]
    assert "the column is missing (has: carrier, dest)" in section
    assert "0.00%" not in section


def test_trials_that_failed_called_pruned(tmp_path, runs):
    found = runs.findings()["tune"][1]
    broken = {"number": 99, "state": "fail", "value": None, "error": "all losses were NaN"}
    runs.play(tmp_path, "r1", change={"tune": {**found, "trials": [*found["trials"], broken]}})
    page = report(tmp_path)
    assert "21 trials, 6 pruned, 1 failed" in page
    assert "all losses were NaN" in page


def test_kept_epoch_that_is_not_marked(tmp_path, runs):
    runs.play(tmp_path, "r1")
    assert "kept: epoch 12" in report(tmp_path)

"""What a forge is shown of a run: nothing that comes of data can be more than text."""

import contextlib
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from kfp_ratchet.components.notify.run_view import RunView
from kfp_ratchet.components.shared.decision import Check, Decision, Evaluation, Interval
from kfp_ratchet.components.shared.errors import BlockedError, InputError
from kfp_ratchet.components.shared.journal import journal
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.pipelines.cli import app
from kfp_ratchet.pipelines.run_summary import Bare, _text, bare_junit, bare_markdown, junit, markdown, save

HOSTILE = "`a` | <script>alert(1)</script> **b** [x](http://evil) ![i](http://evil) @ada #12 \\ ~~c~~ $y$ --> &lt;\n# head\x00"


def decision(**changes) -> Decision:
    said = {
        "verdict": "promote",
        "reason": "Promoted: roc_auc 0.763 beats the champion's (v1) 0.740.",
        "metric": "roc_auc",
        "candidate": Interval(value=0.763, low=0.75, high=0.77),
        "champion": Interval(value=0.740, low=0.73, high=0.75),
        "gain": Interval(value=0.023, low=0.007, high=0.042),
        "rows": 12955,
        "champion_version": "1",
        "revision": "9122052d",
        "evaluation": Evaluation(start="2013-06-16", end="2013-06-30"),
        "checks": (
            Check(name="gain", outcome="pass", reason="the gain lies above 0"),
            Check(name="slice origin=EWR", outcome="unknown", reason="too few rows"),
        ),
    }
    return Decision.model_validate({**said, **changes})


def view(
    store: Path, decided: Decision | None = None, *, line: str = "fine", error: Exception | None = None
) -> RunView:
    """A run as its journal has it, up to the gate, or to the step that failed."""
    steps = ["pin", "ingest", "validate"] + (
        ["tune", "train", "evaluate", "gate", "register", "deploy", "notify"] if error is None else []
    )
    for name in steps:
        with contextlib.suppress(BlockedError), journal(str(store), f"/runs/r1/{name}/out") as step:
            details = {"decision": decided.model_dump(mode="json")} if decided and name == "gate" else {}
            step.found(
                line,
                **details,
                **({"version": "4"} if name == "register" else {}),
                **({"url": "http://x"} if name == "deploy" else {}),
            )
            if error is not None and name == "validate":
                raise error
    return RunView.read(Store(str(store)), "r1", "flights")


def rendered(text: str) -> str:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)


def test_the_comparison_is_told_with_its_interval(tmp_path):
    text = markdown(view(tmp_path, decision()), {"run": "https://ui/run", "report": "store/report.html", "none": ""})
    assert text.startswith("### ✅ flights: promoted\n")
    html = rendered(text)
    assert "<td>gain</td>\n<td>0.0230</td>\n<td>0.0070 to 0.0420</td>" in html
    assert "12,955 rows, 2013-06-16 00:00 UTC to 2013-06-30 00:00 UTC" in text
    assert "<code>9122052d</code>" in html
    assert '<a href="https://ui/run">run</a>' in html
    assert "<code>store/report.html</code>" in html
    assert "none" not in text
    assert "Steps (9)" in text
    assert "❔ unknown" in text


def test_names_of_columns_were_markup(tmp_path):
    decided = decision(
        checks=(Check(name=HOSTILE, outcome="fail", reason=HOSTILE),), reason=HOSTILE, metric=HOSTILE, revision=HOSTILE
    )
    text = markdown(view(tmp_path, decided, line=HOSTILE), {HOSTILE: "https://evil/<b>", "place": HOSTILE})
    html = rendered(text)
    assert "<script" not in html
    assert "<strong>b" not in html
    assert "<img" not in html
    assert not re.findall(r'href="(?!https://evil/%3Cb%3E")', html)
    # Within code nothing is looked for.
    prose = re.sub("<code>.*?</code>", "", html)
    assert "@ada" not in prose
    assert "#12" not in prose
    for row in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL):
        assert len(re.findall("<t[dh]>", row)) in (3, 4)


@given(st.text())
def test_any_text_stays_a_text(text):
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(f"{_text(text)} y")
    kinds = {child.type for token in tokens for child in token.children or ()}
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert kinds <= {"text", "text_special", "softbreak"}


def test_a_block_is_a_failure_with_its_remedy(tmp_path):
    blocked = view(tmp_path, error=BlockedError("column 'x' is missing", "fix the source"))
    text = markdown(blocked)
    assert "### ❌ flights: blocked" in text
    assert "**Remedy:** fix the source" in text
    suite = ElementTree.fromstring(junit(blocked)).find("testsuite")
    failed = suite.find("testcase/failure")
    assert (failed.get("message"), failed.text, suite.get("failures")) == (
        "column 'x' is missing",
        "fix the source",
        "1",
    )


def test_every_step_and_check_is_a_case(tmp_path):
    suite = ElementTree.fromstring(junit(view(tmp_path, decision(verdict="reject", reason="Rejected: no")))).find(
        "testsuite"
    )
    names = [(case.get("classname"), case.get("name")) for case in suite.findall("testcase")]
    assert ("flights.steps", "gate") in names
    assert ("flights.gate", "slice origin=EWR") in names
    assert (suite.get("failures"), suite.get("tests")) == ("0", str(len(names)))
    said = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert said["verdict"] == "reject"
    skipped = [case.get("name") for case in suite.findall("testcase") if case.find("skipped") is not None]
    assert skipped == ["slice origin=EWR"]


def test_what_xml_cannot_hold_broke_the_file(tmp_path):
    decided = decision(checks=(Check(name=HOSTILE, outcome="fail", reason=HOSTILE),), reason=HOSTILE)
    ElementTree.fromstring(junit(view(tmp_path, decided)))
    ElementTree.fromstring(bare_junit("\x01", Bare("failed", "\x02\ud800", "", True)))
    assert "❌" in bare_markdown("t", Bare.of(InputError("m", "r")))


def test_the_summary_of_a_job_was_overwritten(tmp_path, monkeypatch):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    save(Bare("succeeded", "said", "", False), "t", summary, None)
    assert summary.read_text().startswith("before\n### ✅ t: succeeded")
    with pytest.raises(InputError, match="cannot be written"):
        save(Bare("succeeded", "said", "", False), "t", None, tmp_path / "summary.md" / "x.xml")


def test_a_run_that_never_began_leaves_both(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["run", "--summary", "s.md", "--junit", "out/j.xml"])
    assert isinstance(done.exception, InputError)
    assert "ratchet.yaml" in Path("s.md").read_text()
    assert ElementTree.parse("out/j.xml").find("testsuite").get("failures") == "1"

"""The pages of single steps: the same care as the run's report."""

import re
from html.parser import HTMLParser

import pytest

from kfp_ratchet.components.gate.report import render as gate_page
from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.components.tune.outcome import Outcome, Trial
from kfp_ratchet.components.validate.report import render as validate_page

HOSTILE = "<script>alert(1)</script>\" onclick='x' {{ 7 * 7 }} javascript:x \u202e"


def gate(name: str, many: int) -> str:
    interval = {"value": 0.01, "low": -0.02, "high": 0.03}
    checks = [
        {"name": f"slice {name} {i}", "outcome": "fail", "reason": name * 9, "observed": interval} for i in range(many)
    ]
    return gate_page(
        Decision.model_validate(
            {
                "verdict": "reject",
                "reason": name,
                "metric": name,
                "champion_version": name,
                "candidate": interval,
                "champion": interval,
                "gain": interval,
                "checks": checks,
                "policy": {name: name},
            }
        )
    )


def tune(name: str, many: int, tmp_path) -> str:
    trials = [
        Trial(
            number=i,
            state=("complete", "pruned", "fail")[i % 3],
            value=1 / (i + 1) if i % 3 == 0 else None,
            parameters={f"{name} {k}": name for k in range(30)},
            seconds=1.5,
            epochs=3,
            error=name * 9,
        )
        for i in range(many)
    ]
    shares = {f"{name} {k}": 0.01 for k in range(many)}
    found = Outcome(workload=name, best={name: name}, value=1.0, trials=trials, importance=shares)
    found.write(str(tmp_path / "study"), str(tmp_path / "page"))
    return (tmp_path / "page").read_text()


def validate(name: str, many: int) -> str:
    example = {f"{name} {i}": name * 9 for i in range(many)}
    failures = [
        {
            "table": name,
            "column": f"{name} {i}",
            "check": name,
            "reason": "",
            "count": 1,
            "share": 0.1,
            "examples": [example] * 5,
        }
        for i in range(min(many, 300))
    ]
    checks = [{"name": name, "outcome": name, "reason": name * 99}]
    tables = {name: {"rows": 1, "accepted": 1, "quarantined": 0}}
    return validate_page({"tables": tables, "failures": failures, "checks": checks}, name, "")


@pytest.fixture(params=["gate", "tune", "validate"])
def draw(request, tmp_path):
    return {"gate": gate, "validate": validate, "tune": lambda name, many: tune(name, many, tmp_path)}[request.param]


def elements(page: str) -> list[tuple[str, dict[str, str | None]]]:
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, dict(attributes)))
    parser.feed(page)
    return found


def test_step_page_that_takes_a_name_for_markup(draw):
    shapes, plain = (
        {(tag, *sorted(attributes)) for tag, attributes in elements(draw(name, 4))} for name in (HOSTILE, "plain")
    )
    assert shapes <= plain
    assert "\u202e" not in draw(HOSTILE, 4)


def test_step_page_too_large_to_open(draw):
    assert len(draw("\"'<&> a name of some length", 5000).encode()) < 2_000_000


def test_step_page_that_cannot_be_heard(draw):
    page = draw("name", 3)
    found = elements(page)
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in found if tag == "th")
    scrolled = [attributes for _, attributes in found if attributes.get("class") == "scroll"]
    assert scrolled
    assert all(attributes["role"] == "region" and attributes["aria-label"] for attributes in scrolled)
    assert not re.search(r"(?:src|href)=\"(?!#)", page)

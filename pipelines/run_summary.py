"""The outcome of a run as text for a forge: Markdown for a comment or a job's summary, JUnit XML for its test report.

Names of columns, messages and all else that comes of data are written so that they can be nothing but text.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from xml.etree import ElementTree

from kfp_ratchet.components.notify.run_view import RunView
from kfp_ratchet.components.notify.wording import duration, when
from kfp_ratchet.components.shared.charts import number
from kfp_ratchet.components.shared.decision import Decision, Interval
from kfp_ratchet.components.shared.errors import InputError, RatchetError

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""GitHub's file for a job's summary, to which every step adds its own."""
_MARKS = {"promoted": "✅", "unchanged": "⏸️", "rejected": "⛔", "pending": "⏳", "inconclusive": "❔"}
_OUTCOMES = {"pass": "✅ pass", "fail": "❌ fail", "unknown": "❔ unknown"}
_LONGEST = 600
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#!|~$&])")
_LINE_START = re.compile(r"^([-+=]|[0-9]+(?=[.)]))")
"""What makes a list, a rule or a heading of a line."""


def markdown(view: RunView, links: Mapping[str, str] | None = None) -> str:
    """A run's outcome as GitHub-flavoured Markdown.

    Args:
        view: The run.
        links: Address by name, shown at the end; those without an address are left out.
    """
    blocks = [
        f"### {_MARKS.get(view.outcome, '❌')} {_text(view.model_name or 'run')}: {view.outcome}",
        _text(view.sentence),
        f"**{'To do' if view.outcome == 'pending' else 'Remedy'}:** {_text(view.remedy)}" if view.remedy else "",
        f"**Forced:** {_text(view.forced)}" if view.forced else "",
        *(_judged(view.decision) if view.decision else ()),
        _details("Steps", [("step", "state", "took", "found"), *_steps(view)]),
        _ending(view, links or {}),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


@dataclass(frozen=True)
class Bare:
    """The outcome of a run that left no journal, or that never began."""

    outcome: str
    message: str
    remedy: str
    failed: bool

    @classmethod
    def of(cls, error: RatchetError) -> Self:
        """What an error says."""
        return cls(error.kind, error.message, error.remedy, True)


def bare_markdown(title: str, bare: Bare) -> str:
    """The same of a run without a journal."""
    remedy = f"\n\n**Remedy:** {_text(bare.remedy)}" if bare.remedy else ""
    return f"### {'❌' if bare.failed else '✅'} {_text(title)}: {bare.outcome}\n\n{_text(bare.message)}{remedy}\n"


def junit(view: RunView) -> str:
    """A run as JUnit XML: a test case a step and a check of the gate.

    A step that failed or was blocked is a failure. A check that did not pass is no failure of the run: it is skipped, with its reason.
    """
    title = view.model_name or "run"
    suite = _suite(title)
    properties = ElementTree.SubElement(suite, "properties")
    said = {"run": view.run, "outcome": view.outcome, "reason": view.reason}
    said |= {"revision": view.decision.revision, "verdict": view.decision.verdict} if view.decision else {}
    for name, value in said.items():
        ElementTree.SubElement(properties, "property", name=name, value=_xml(value))
    for one in view.steps:
        own = one.record if one.record is not None and one.record.run == view.run else None
        case = _case(suite, f"{title}.steps", one.step, own.seconds if own else 0.0)
        # What it died of, where the step itself could not say it.
        stopped = view.stopped is not None and view.stopped.step == one.step and one.state in ("failed", "running")
        if stopped and view.failure is not None:
            _fail(
                case,
                view.outcome,
                view.failure.message,
                "\n".join(filter(None, [view.failure.remedy, view.failure.traceback])),
            )
        elif one.state != "succeeded":
            ElementTree.SubElement(case, "skipped", message=one.state)
    if view.stopped is not None and view.stopped.state == "not reached" and view.failure is not None:
        _fail(
            _case(suite, f"{title}.steps", "run", 0.0),
            view.outcome,
            view.failure.message,
            view.failure.remedy,
        )
    for check in view.decision.checks if view.decision else ():
        case = _case(suite, f"{title}.gate", check.name, 0.0)
        if check.outcome != "pass":
            ElementTree.SubElement(case, "skipped", message=_xml(f"{check.outcome}: {check.reason}"))
    return _written(suite)


def bare_junit(title: str, bare: Bare) -> str:
    """The same of a run without a journal."""
    suite = _suite(title)
    case = _case(suite, f"{title}.steps", "run", 0.0)
    if bare.failed:
        _fail(case, bare.outcome, bare.message, bare.remedy)
    return _written(suite)


def save(
    told: RunView | Bare,
    title: str,
    summary: Path | None,
    junit_file: Path | None,
    links: Mapping[str, str] | None = None,
) -> None:
    """Write both where they are asked for; what GitHub collects is added to what is there.

    Raises:
        InputError: A file cannot be written.
    """
    if summary is not None:
        text = bare_markdown(title, told) if isinstance(told, Bare) else markdown(told, links)
        _write(summary, text, add=str(summary) == os.environ.get(STEP_SUMMARY))
    if junit_file is not None:
        _write(junit_file, bare_junit(title, told) if isinstance(told, Bare) else junit(told))


def _write(path: Path, text: str, *, add: bool = False) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if add else "w", encoding="utf-8", errors="replace") as file:
            file.write(f"{text}\n" if add else text)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}", "name a file that can be") from error


def _judged(decision: Decision) -> Iterator[str]:
    """Comparison, what it was made on, and the checks."""
    share = f"{decision.confidence:.0%} interval"
    against = f"champion v{_text(decision.champion_version)}" if decision.champion_version else "trivial model"
    rows = [
        ("candidate", decision.candidate),
        (against, decision.champion),
        ("gain", decision.gain),
        *(
            [(f"gain over anchor v{_text(decision.anchor_version)}", decision.anchor_gain)]
            if decision.anchor_version
            else []
        ),
    ]
    metric = _text(decision.metric) or "metric"
    yield _table([("", metric, share), *((name, number(one.value), _interval(one)) for name, one in rows)])
    window = (
        f", {_text(when(decision.evaluation.start))} to {_text(when(decision.evaluation.end))}"
        if decision.evaluation.start
        else ""
    )
    asked = f"{decision.question.replace('_', '-')}, margin {number(decision.margin)}"
    revision = f"; data revision {_code(decision.revision.removeprefix('sha256:')[:12])}" if decision.revision else ""
    yield f"{decision.rows:,} rows{window}; asked: {asked}{revision}"
    checks = [(_text(one.name), _OUTCOMES[one.outcome], _text(one.reason)) for one in decision.checks]
    yield _details("Checks", [("check", "outcome", "why"), *checks])


def _steps(view: RunView) -> Iterator[tuple[str, str, str, str]]:
    for one in view.steps:
        own = one.record is not None and one.record.run == view.run
        took = duration(one.record.seconds).replace(" ", "\u00a0") if one.record is not None and own else ""
        yield _text(one.step), one.state, took, _text(one.record.line if one.record is not None else "")


def _ending(view: RunView, links: Mapping[str, str]) -> str:
    addresses = [
        f"[{_text(name)}](<{_address(url)}>)" for name, url in links.items() if url.startswith(("http://", "https://"))
    ]
    places = [
        f"{_text(name)}: {_code(url)}"
        for name, url in links.items()
        if url and not url.startswith(("http://", "https://"))
    ]
    version = view.details("register").get("version") or view.deployed.get("version")
    return " · ".join(
        [f"run {_code(view.run)}", *([f"version {_text(str(version))}"] if version else []), *addresses, *places]
    )


def _interval(one: Interval) -> str:
    return "" if one.low is None and one.high is None else f"{number(one.low)} to {number(one.high)}"


def _details(title: str, rows: list[tuple[str, ...]]) -> str:
    if len(rows) < 2:
        return ""
    return f"<details><summary>{title} ({len(rows) - 1})</summary>\n\n{_table(rows)}\n\n</details>"


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def _text(value: str) -> str:
    """Any text as one line of Markdown that means nothing but itself: no markup, no mention, no reference."""
    line = " ".join(value.split())
    line = line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
    escaped = _SPECIAL.sub(r"\\\1", line)
    escaped = _LINE_START.sub(lambda found: f"\\{found[0]}" if found[0] in "-+=" else f"{found[0]}\\", escaped)
    # A mention and the number of an issue are found after the markup is read: only another character between helps.
    return re.sub(r"(@|\\#)(?=\w)", "\\1\u200b", escaped)


def _code(value: str) -> str:
    """A text between as many backticks as it takes; a bar would end a table's cell even there."""
    line = " ".join(value.split()).replace("|", "\\|")
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    gap = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{gap}{line}{gap}{fence}"


def _address(url: str) -> str:
    return re.sub(r"[\s<>]", lambda found: f"%{ord(found[0]):02X}", url)


def _suite(name: str) -> ElementTree.Element:
    return ElementTree.Element("testsuite", name=_xml(f"kfp-ratchet {name}"))


def _case(suite: ElementTree.Element, classname: str, name: str, seconds: float) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=_xml(classname), name=_xml(name), time=f"{seconds:.3f}")


def _fail(case: ElementTree.Element, kind: str, message: str, text: str) -> None:
    ElementTree.SubElement(case, "failure", type=_xml(kind), message=_xml(message)).text = _xml(text)


def _written(suite: ElementTree.Element) -> str:
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("skipped", str(len(suite.findall("testcase/skipped"))))
    suite.set("errors", "0")
    suite.set("time", f"{sum(float(case.get('time', 0)) for case in cases):.3f}")
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    """A text without what XML cannot hold."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)

"""A decision on the terminal: as a table and in words."""

from collections.abc import Sequence

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kfp_ratchet.components.gate.wording import WORD, count, spread
from kfp_ratchet.components.shared.decision import Check, Decision
from kfp_ratchet.pipelines.cli.terminal import Terminal, plain

NARROW = 100
"""Columns below which a reason stands in a line of its own."""
COLOURS = {"promote": "green", "reject": "yellow", "inconclusive": "yellow"}
_MARKS = {"pass": ("✓", "green"), "fail": ("✗", "red"), "unknown": ("?", "yellow")}


def tell_decision(console: Terminal, decision: Decision, more: Sequence[tuple[str, str]] = ()) -> None:
    """Verdict and reason, every check, and what they were found by; `more` is said beside that."""
    word = WORD[decision.verdict]
    console.tell((word, f"bold {COLOURS[decision.verdict]}"), "  ", decision.reason.removeprefix(f"{word}: "))
    if decision.checks:
        console.say()
        _tell_checks(console, decision.checks)
    console.say()
    _tell_facts(console, [*_facts(decision), *more])


def _tell_facts(console: Terminal, facts: Sequence[tuple[str, str]]) -> None:
    if not console.is_terminal:
        for name, told in facts:
            console.say(f"{name:<10}", told)
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, told in facts:
        table.add_row(name, plain(told))
    console.print(table)


def _tell_checks(console: Terminal, checks: Sequence[Check]) -> None:
    if not console.is_terminal:
        for check in checks:
            console.say(" ".join(f"{check.outcome:<7}  {check.name}{_measured(check)}  {check.reason}".splitlines()))
    elif console.width < NARROW:
        for check in checks:
            console.tell(_MARKS[check.outcome], " ", (check.name, "bold"), _measured(check))
            console.print(Padding(plain(check.reason), (0, 0, 0, 2)))
    else:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column("")
        table.add_column("check", overflow="fold", max_width=40)
        table.add_column("observed", no_wrap=True)
        table.add_column("bound", no_wrap=True)
        table.add_column("why", overflow="fold")
        for check in checks:
            observed = spread(check.observed) if check.observed.value is not None else ""
            mark = Text(*_MARKS[check.outcome])
            table.add_row(mark, plain(check.name), observed, _bound(check), plain(check.reason))
        console.print(table)


def _measured(check: Check) -> str:
    observed = f"  {spread(check.observed)}" if check.observed.value is not None else ""
    return observed + (f"  bound {_bound(check)}" if check.bound is not None else "")


def _bound(check: Check) -> str:
    return "" if check.bound is None else f"{check.bound:g}"


def _facts(decision: Decision) -> list[tuple[str, str]]:
    """What was asked and how it was answered, in words."""
    rival = f"the champion v{decision.champion_version}" if decision.champion_digest else "the trivial model"
    # A decision on evidence that could not be read does not even know the candidate.
    found = [("Asked", _asked(decision, rival))] if decision.candidate_digest else []
    if decision.gain.value is not None:
        found.append(
            ("Measured", f"{decision.metric} {spread(decision.candidate)}; of {rival} {spread(decision.champion)}")
        )
    if decision.anchor_gain.value is not None:
        found.append(("Anchor", f"v{decision.anchor_version}: the gain over it is {spread(decision.anchor_gain)}"))
    if decision.churn.value is not None:
        found.append(("Churn", f"{spread(decision.churn)} of the answers differ from the champion's"))
    if decision.method:
        found.append(("Intervals", f"{decision.method}; each end holds with {decision.confidence:.4g} by itself"))
    if decision.detectable is not None:
        found.append(
            ("Power", f"rows like these promote a true gain of {decision.detectable:.3g} with 80 % probability")
        )
    if decision.rows:
        found.append(("Judged on", _rows(decision)))
    for name, digest in (("Evidence", decision.evidence_digest), ("Policy", decision.policy_digest)):
        if digest:
            found.append((name, digest))
    return found


def _asked(decision: Decision, rival: str) -> str:
    better = "the gain" if decision.metric == "" else f"the gain in {decision.metric}"
    if decision.question == "non_inferiority" and decision.champion_digest:
        return f"not worse: the whole interval of {better} over {rival} and over the anchor must lie above -{decision.margin:g}"
    return f"better: the whole interval of {better} over {rival} must lie above {decision.margin:g}"


def _rows(decision: Decision) -> str:
    told = count(decision.rows, "row")
    if decision.sampled_from:
        told += f", a sample of {decision.sampled_from:,}"
    if decision.evaluation.start:
        told += f", {decision.evaluation.start} to {decision.evaluation.end}"
    return told

"""The decision as a page to look at."""

from pathlib import Path

from markupsafe import Markup

from kfp_ratchet.components.gate import figures
from kfp_ratchet.components.gate.wording import WORD, count
from kfp_ratchet.components.shared.charts import chosen, number, short_name
from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.components.shared.page import page, templates

_AFTER = {
    "promote": "The candidate goes on to deployment.",
    "reject": "Production stays as it is.",
    "inconclusive": "Production stays as it is.",
}


def render(decision: Decision) -> str:
    """One self-contained HTML page: verdict, reason, intervals, and every check."""
    word = WORD[decision.verdict]
    general = [check for check in decision.checks if not figures.is_slice(check)]
    slices = figures.worst_slices(decision.checks)
    charts = [figures.gain(decision), figures.comparison(decision), figures.slices(slices)]
    environment = templates(Path(__file__).parent, number=number, counted=count, chosen=chosen, short_name=short_name)
    body = environment.get_template("report.html.j2").render(
        decision=decision,
        facts=facts(decision),
        checks=[*general, *slices],
        slices=len(slices),
        judged=len(decision.checks) - len(general),
        word=word,
        reason=decision.reason.removeprefix(f"{word}: "),
        after=_AFTER[decision.verdict],
        charts=Markup("\n".join(filter(None, charts))),  # noqa: S704 - charts escapes its labels itself
    )
    return page(f"Gate: {decision.verdict}", body)


def facts(decision: Decision) -> list[tuple[str, str]]:
    """What was asked and how sure the answer is, by name and in words; only what is known."""
    margin = f"{decision.margin:.6g}"
    better = f"better by more than {margin}" if decision.margin else "better"
    rival = "the champion" if decision.champion_digest else "the trivial model"
    anchor = f", nor than the anchor v{decision.anchor_version}" if decision.anchor_digest else ""
    asked = {
        "superiority": f"Is the candidate shown to be {better} than {rival}?",
        "non_inferiority": f"Is it shown to be less than {margin} worse than {rival}{anchor}?",
    }
    found = {"Question": asked[decision.question] if decision.metric else "", "Intervals": decision.method}
    if decision.detectable is not None:
        truly = f"{'gains' if decision.detectable >= 0 else 'loses'} {abs(decision.detectable):.3g}"
        found["Power"] = f"on rows like these, a candidate that truly {truly} is promoted with 80 % probability"
    if decision.churn.value is not None:
        share, low, high = (
            "?" if end is None else f"{100 * end:.3g}"
            for end in (decision.churn.value, decision.churn.low, decision.churn.high)
        )
        found["Churn"] = f"{share} % of answers differ from the champion's [{low}, {high}]"
    if decision.sampled_from:
        found["Sample"] = f"{count(decision.rows, 'row')}, evenly drawn from {count(decision.sampled_from, 'row')}"
    if decision.evaluation.start:
        first, last = (moment[:16].replace("T", " ") for moment in (decision.evaluation.start, decision.evaluation.end))
        found["Rows of"] = f"{first} to {last} UTC"
    if decision.evaluation.looks:
        found["Looks"] = f"{count(decision.evaluation.looks, 'other model')} judged on these rows before"
    if decision.verdict == "promote":
        found["Anchor"] = (
            "becomes the candidate, shown to be better"
            if decision.sets_anchor
            else "stays as it is: not shown to be better"
        )
    return [(name, text) for name, text in found.items() if text]

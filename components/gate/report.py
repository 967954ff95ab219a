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
        checks=[*general, *slices],
        slices=len(slices),
        judged=len(decision.checks) - len(general),
        word=word,
        reason=decision.reason.removeprefix(f"{word}: "),
        after=_AFTER[decision.verdict],
        charts=Markup("\n".join(filter(None, charts))),  # noqa: S704 - charts escapes its labels itself
    )
    return page(f"Gate: {decision.verdict}", body)

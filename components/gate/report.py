"""The decision as a page to look at."""

from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from kfp_ratchet.components.shared.charts import Row, intervals, number
from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.components.shared.page import page

_WORD = {"promote": "Promoted", "reject": "Rejected", "inconclusive": "Inconclusive"}
_AFTER = {
    "promote": "The candidate goes on to deployment.",
    "reject": "Production stays as it is.",
    "inconclusive": "Production stays as it is.",
}


def render(decision: Decision) -> str:
    """One self-contained HTML page: verdict, reason, intervals, and every check."""
    rival = f"champion v{decision.champion_version}" if decision.champion_version else "trivial model"
    gain = decision.gain
    models = [("candidate", decision.candidate), (rival, decision.champion)]
    slices = [check for check in decision.checks if check.name.startswith("slice ")]
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = number
    template = environment.from_string(Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8"))
    body = template.render(
        decision=decision,
        word=_WORD[decision.verdict],
        reason=decision.reason.removeprefix(f"{_WORD[decision.verdict]}: "),
        after=_AFTER[decision.verdict],
        gain_chart=Markup(  # noqa: S704 - charts escapes its labels itself
            intervals(
                f"Gain in {decision.metric}",
                [Row("gain", gain.value, gain.low, gain.high)],
                decision.margin,
                f"the margin, {decision.margin:g}",
                "Right of the line is better than asked.",
            )
        ),
        model_chart=Markup(  # noqa: S704
            intervals(decision.metric, [Row(name, one.value, one.low, one.high) for name, one in models])
        ),
        slice_chart=Markup(  # noqa: S704
            intervals(
                "Gain by slice",
                [
                    Row(
                        check.name.removeprefix("slice "), check.observed.value, check.observed.low, check.observed.high
                    )
                    for check in slices
                ],
                slices[0].bound,
                "the loss that is tolerated",
            )
            if slices
            else ""
        ),
    )
    return page(f"Gate: {decision.verdict}", body)

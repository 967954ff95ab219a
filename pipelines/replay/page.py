"""The year on one self-contained page; every number in it comes from the ledger, the journal and the evidence."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from kfp_ratchet.components.gate.wording import count, spread
from kfp_ratchet.components.notify.notifications import Outcome
from kfp_ratchet.components.notify.wording import shortened
from kfp_ratchet.components.shared.charts import Row, intervals, number
from kfp_ratchet.components.shared.decision import Decision, Interval
from kfp_ratchet.components.shared.page import page, templates
from kfp_ratchet.pipelines.replay import figures
from kfp_ratchet.pipelines.replay.naive import Choice
from kfp_ratchet.pipelines.replay.story import Retrain

OUTCOMES: tuple[Outcome, ...] = ("promoted", "rejected", "inconclusive", "blocked", "pending")


@dataclass(frozen=True)
class Year:
    """All that the page says."""

    model: str
    periods: tuple[str, ...]
    """All that were asked for; `retrains` may not have got that far."""
    retrains: Sequence[Retrain]
    choices: Sequence[Choice]
    comparisons: Mapping[str, Decision]
    """By period: the naive rule's model (candidate) beside the live one (champion)."""
    incidents: Mapping[str, str]

    @property
    def counts(self) -> dict[str, int]:
        """Retrains by outcome."""
        found = Counter(one.outcome for one in self.retrains)
        return {outcome: found[outcome] for outcome in OUTCOMES if found[outcome] or outcome != "pending"}

    @property
    def headline(self) -> str:
        """What the year was, in one sentence."""
        return f"{self.retrained}: {self.told}"

    @property
    def retrained(self) -> str:
        """How many retrains there were."""
        missing = len(self.periods) - len(self.retrains)
        return count(len(self.retrains), "retrain") + (f" of {len(self.periods)}" if missing else "")

    @property
    def told(self) -> str:
        """How they ended."""
        return ", ".join(f"{number} {outcome}" for outcome, number in self.counts.items())

    @property
    def live(self) -> str:
        """What is live at the end, and since when."""
        live = self.retrains[-1].live_after if self.retrains else ""
        since = next((one.period for one in self.retrains if one.outcome == "promoted" and one.version == live), "")
        return f"v{live} is live, since {since}" if live else "nothing is live"

    @property
    def differing(self) -> list[tuple[Retrain, Choice]]:
        """The periods in which the naive rule decides otherwise."""
        pairs = zip(self.retrains, self.choices, strict=True)
        return [
            (one, choice)
            for one, choice in pairs
            if choice.promotes is not None and choice.promotes != (one.outcome == "promoted")
        ]

    @property
    def served(self) -> dict[str, int]:
        """Periods in which the naive rule's model, where it is another, is shown to be worse, better, or neither."""
        found = Counter(_direction(decision.gain) for decision in self.comparisons.values())
        return {word: found[word] for word in ("worse", "better", "not told apart")}

    @property
    def missed(self) -> list[Retrain]:
        """Retrains that the gate did not promote and whose model, live by the naive rule, is later shown to be better."""
        better = {
            _choice(self, period).live_before
            for period, decision in self.comparisons.items()
            if _direction(decision.gain) == "better"
        }
        return [one for one in self.retrains if one.version in better and one.outcome != "promoted"]


def render(year: Year) -> str:
    """The page as HTML."""
    environment = _environment()
    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    decided = [one.decision for one in year.retrains if one.decision is not None]
    body = environment.get_template("page.html.j2").render(
        year=year,
        rows=list(zip(year.retrains, year.choices, strict=True)),
        metric=next((one.metric for one in decided), "metric"),
        confidence=next((one.confidence for one in decided), 0.95),
        policy=next((json.dumps(one.policy, indent=1, sort_keys=True) for one in decided if one.policy), ""),
        incidents=[(one, year.incidents[one.period]) for one in year.retrains if one.period in year.incidents],
        figures={name: Markup(html) for name, html in _figures(year).items()},  # noqa: S704 - escaped where they are drawn
        signs=figures.SIGNS,
        tones=figures.TONES,
    )
    return page(f"A year of {year.model}" if len(year.periods) == 12 else f"{year.model} replayed", body, style)


def _figures(year: Year) -> dict[str, str]:
    decisions = [one.decision for one in year.retrains]
    metric = next((one.metric for one in decisions if one is not None), "metric")
    return {
        "metrics": figures.metrics(
            "Champion and challenger on the same rows",
            year.retrains,
            [
                figures.Estimates(
                    "champion",
                    [one.champion if one and one.champion_version else None for one in decisions],
                    "diamond",
                    "var(--second)",
                    -0.17,
                ),
                figures.Estimates(
                    "challenger", [one.candidate if one else None for one in decisions], "dot", "var(--accent)", 0.17
                ),
            ],
            metric,
            "Each on the last days of the period, with confidence intervals of each model alone; the gate judges by the interval of "
            "their paired difference, which is much narrower. Shaded: blocked, so nothing was trained.",
        ),
        "lives": figures.lives(
            "Live after each retrain",
            year.retrains,
            year.choices,
            "By the gate, and by the naive rule on the same candidates.",
        ),
        "stored": figures.metrics(
            "What the naive rule compares",
            year.retrains,
            [
                figures.Estimates(
                    "the candidate today", [_point(one.candidate) for one in year.choices], "dot", "var(--accent)"
                ),
                figures.Estimates(
                    "its champion when it was new", [_point(one.stored) for one in year.choices], "bar", "var(--second)"
                ),
            ],
            metric,
            "Two points, measured on rows of different periods: an easy month promotes, a hard one refuses.",
        ),
        "served": intervals(
            "The naive rule's model against the one that was live",
            [
                Row(
                    f"{period}: v{_choice(year, period).live_before} against v{decision.champion_version}",
                    decision.gain.value,
                    decision.gain.low,
                    decision.gain.high,
                )
                for period, decision in year.comparisons.items()
            ],
            bound=0.0,
            bound_label="no difference",
            caption=f"Paired difference in {metric} on the same rows of the period, where the two differ; left of the line the naive "
            "rule's model is worse.",
        )
        if year.comparisons
        else "",
    }


def _choice(year: Year, period: str) -> Choice:
    return next(one for one in year.choices if one.period == period)


def _point(value: float | None) -> Interval | None:
    return None if value is None else Interval(value=value)


def _direction(gain: Interval) -> str:
    if gain.low is not None and gain.low > 0:
        return "better"
    return "worse" if gain.high is not None and gain.high < 0 else "not told apart"


@cache
def _environment() -> Environment:
    return templates(
        Path(__file__).parent,
        counted=count,
        number=number,
        spread=spread,
        shortened=shortened,
        short=figures.short,
        direction=_direction,
        digest=lambda text: str(text or "").partition(":")[2][:16],
    )

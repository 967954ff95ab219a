"""What tuning ends with: the study artifact, its page, and what the journal keeps."""

import math
from html import escape
from itertools import accumulate
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kfp_ratchet.components.shared.canonical import dumps
from kfp_ratchet.components.shared.charts import Row, Series, bars, lines, number, short_name
from kfp_ratchet.components.shared.names import counted
from kfp_ratchet.components.shared.page import page

_CHIP = {"complete": "pass", "pruned": "unknown", "fail": "fail"}
# Bounds that keep the page below 2 MB; the study artifact has everything.
_MOST_ROWS, _MOST_NAMES, _MOST_POINTS, _LONGEST = 200, 40, 300, 300


class Trial(BaseModel):
    """One trial."""

    model_config = ConfigDict(frozen=True)

    number: int
    state: str = Field(description="complete, pruned or fail.")
    value: float | None = Field(description="Best validation loss; None unless complete.")
    parameters: dict[str, Any] = Field(description="The searched hyperparameters.")
    seconds: float | None
    epochs: int
    error: str = Field(default="", description="Why it failed.")


class Outcome(BaseModel):
    """A finished study."""

    model_config = ConfigDict(frozen=True)

    workload: str
    best: dict[str, Any] = Field(description="The best hyperparameters, fixed ones included.")
    fixed: dict[str, Any] = Field(default_factory=dict)
    value: float | None = Field(default=None, description="The best trial's validation loss.")
    trials: list[Trial] = Field(default_factory=list)
    importance: dict[str, float] = Field(
        default_factory=dict, description="Share of each searched hyperparameter; empty for fewer than 5 trials."
    )

    @property
    def line(self) -> str:
        """The outcome in one line."""
        if not self.trials:
            fixed = ", ".join(f"{name}={value}" for name, value in self.best.items())
            return f"not tuned (0 trials): {fixed or 'nothing is fixed'}; {self.workload}'s defaults for the rest"
        counts = {state: sum(trial.state == state for trial in self.trials) for state in _CHIP}
        more = "".join(
            f", {counts[state]} {word}" for state, word in (("pruned", "pruned"), ("fail", "failed")) if counts[state]
        )
        return f"best validation loss {number(self.value)} of {counted(counts['complete'], 'complete trial')}{more}"

    def write(self, study: str, report: str) -> None:
        """Write the study (canonical JSON) and the report (HTML)."""
        Path(study).write_text(dumps(self.model_dump(mode="json")))
        Path(report).write_text(page("Hyperparameter search", self._body()), encoding="utf-8")

    def _body(self) -> str:
        chosen = "".join(
            f"<div><dt>{escape(short_name(name))}</dt><dd>{_said(value)}</dd></div>"
            for name, value in sorted(self.best.items())
        )
        parts = [
            f"<p>{escape(self.line)}</p>",
            f'<h2>Chosen for {escape(short_name(self.workload))}</h2><dl class="facts">{chosen}</dl>',
        ]
        if self.trials:
            parts += [
                "<h2>History</h2>",
                lines("Validation loss by trial", self._history(), "trial", "loss", "Lower is better."),
                self._table(),
            ]
        if self.importance:
            rows = [Row(label=name, value=share) for name, share in self.importance.items()]
            parts += [
                "<h2>What mattered</h2>",
                bars("Importance of hyperparameters", rows[:_MOST_NAMES], "Share of each, by PED-ANOVA."),
            ]
        return "\n".join(parts)

    def _history(self) -> list[Series]:
        done = [(float(trial.number), trial.value) for trial in self.trials if trial.value is not None]
        best = list(accumulate(done, lambda past, one: (one[0], min(past[1], one[1]))))
        apart = max(1, math.ceil(len(done) / _MOST_POINTS))
        return [
            Series(name="best so far", points=[*best[:-1:apart], *best[-1:]]),
            Series(name="trial", points=done[::apart], style="dots"),
        ]

    def _table(self) -> str:
        """The best trials; those without a loss come last."""
        names = sorted({name for trial in self.trials for name in trial.parameters})[:_MOST_NAMES]
        shown = sorted(self.trials, key=lambda trial: math.inf if trial.value is None else trial.value)[:_MOST_ROWS]
        head = "".join(
            f'<th scope="col" class="num">{escape(short_name(name))}</th>'
            for name in ["loss", *names, "epochs", "seconds"]
        )
        caption = (
            f"The best {len(shown)} of {counted(len(self.trials), 'trial')}" if len(shown) < len(self.trials) else ""
        )
        return (
            '<div class="scroll" role="region" aria-label="Table: trials" tabindex="0"><table>'
            + (f"<caption>{caption}</caption>" if caption else "")
            + f'<thead><tr><th scope="col" class="num">trial</th><th scope="col">state</th>{head}</tr></thead>'
            f"<tbody>{''.join(self._row(trial, names) for trial in shown)}</tbody></table></div>"
        )

    @staticmethod
    def _row(trial: Trial, names: list[str]) -> str:
        values = [trial.value, *(trial.parameters.get(name) for name in names), trial.epochs, trial.seconds]
        cells = "".join(f'<td class="num">{_said(value)}</td>' for value in values)
        chip = f'<span class="chip {_CHIP.get(trial.state, "unknown")}">{escape(trial.state)}</span>'
        why = f'<div class="muted small">{escape(short_name(trial.error, _LONGEST))}</div>' if trial.error else ""
        return f'<tr><th scope="row" class="num">{trial.number}</th><td class="cell">{chip}{why}</td>{cells}</tr>'


def _said(value: object) -> str:
    return escape(short_name(number(value)))

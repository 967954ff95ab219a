"""What tuning ends with: the study artifact, its page, and what the journal keeps."""

from html import escape
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kfp_ratchet.components.shared.canonical import dumps
from kfp_ratchet.components.shared.charts import Row, Series, bars, lines, number
from kfp_ratchet.components.shared.manifest import counted
from kfp_ratchet.components.shared.page import page

_CHIP = {"complete": "pass", "pruned": "unknown", "fail": "fail"}


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
            f"<dt>{escape(name)}</dt><dd>{escape(number(value))}</dd>" for name, value in sorted(self.best.items())
        )
        parts = [
            f"<p>{escape(self.line)}</p>",
            f'<h2>Chosen for {escape(self.workload)}</h2><dl class="facts">{chosen}</dl>',
        ]
        if self.trials:
            parts += [
                "<h2>History</h2>",
                lines("Validation loss by trial", self._history(), "trial", "loss", "lower is better"),
                self._table(),
            ]
        if self.importance:
            rows = [Row(label=name, value=share) for name, share in self.importance.items()]
            parts += ["<h2>What mattered</h2>", bars("Importance of hyperparameters", rows, "share, PED-ANOVA")]
        return "\n".join(parts)

    def _history(self) -> list[Series]:
        done = [(float(trial.number), trial.value) for trial in self.trials if trial.value is not None]
        best = [(x, min(value for _, value in done[: i + 1])) for i, (x, _) in enumerate(done)]
        return [Series(name="trial", points=done, style="dots"), Series(name="best so far", points=best)]

    def _table(self) -> str:
        names = sorted({name for trial in self.trials for name in trial.parameters})
        head = "".join(
            f'<th class="num">{escape(name)}</th>' for name in ["trial", "loss", *names, "epochs", "seconds"]
        )
        return (
            f'<div class="scroll" tabindex="0"><table><thead><tr><th>state</th>{head}<th></th></tr></thead>'
            f"<tbody>{''.join(self._row(trial, names) for trial in self.trials)}</tbody></table></div>"
        )

    @staticmethod
    def _row(trial: Trial, names: list[str]) -> str:
        values = [
            trial.number,
            trial.value,
            *(trial.parameters.get(name) for name in names),
            trial.epochs,
            trial.seconds,
        ]
        cells = "".join(f'<td class="num">{escape(number(value))}</td>' for value in values)
        chip = f'<span class="chip {_CHIP.get(trial.state, "unknown")}">{escape(trial.state)}</span>'
        return f'<tr><td>{chip}</td>{cells}<td class="reason">{escape(trial.error)}</td></tr>'

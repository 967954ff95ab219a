"""The run's report: one self-contained page that says how the run ended, why, and what it rests on."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from kfp_ratchet.components.gate import figures as gate_figures
from kfp_ratchet.components.gate.wording import count
from kfp_ratchet.components.notify import figures, wording
from kfp_ratchet.components.notify.details import Finding, Rule, TableCount, Trial, each, mapping
from kfp_ratchet.components.notify.lineage import lineage
from kfp_ratchet.components.notify.run_view import RunView
from kfp_ratchet.components.notify.timings import Timings
from kfp_ratchet.components.shared.charts import chosen, number, short_name
from kfp_ratchet.components.shared.page import page, templates

# Bounds that keep the page below 2 MB whatever the steps found.
_MOST_TRIALS = 40
_MOST_FINDINGS, _MOST_EXAMPLES = 25, 10
_MOST_CHECKS = 80
_MOST_TABLES = 40
_MOST_STEPS = 40
_MOST_SETTINGS = 60
_LONGEST_TEXT = 20_000
_MOST_BYTES = 1_900_000
"""Of all sections; what hostile names can make of the bounds above is not worth an argument."""

_SECTIONS = {
    "comparison": "Comparison",
    "checks": "Checks",
    "slices": "Slices",
    "calibration": "Calibration",
    "explanation": "Explanation",
    "learning": "Learning curve",
    "tuning": "Tuning",
    "validation": "Data validation",
    "lineage": "Data and lineage",
    "steps": "Steps and resources",
}
_TONES = {
    "promoted": "promote",
    "pending": "inconclusive",
    "unchanged": "inconclusive",
    "rejected": "reject",
    "interrupted": "failed",
}
_STATE_TONES = {"succeeded": "pass", "failed": "fail", "blocked": "blocked", "never ended": "fail"}


def render(run: RunView) -> str:
    """The report of a run as HTML, below 2 MB; sections whose step left nothing are left out."""
    timings = Timings.of(run)
    context = {**_context(run, timings), "figures": _figures(run, timings)}
    environment = _environment()
    macros = environment.get_template("sections.html.j2").make_module(context)
    drawn = [(name, title, getattr(macros, name)()) for name, title in _SECTIONS.items()]
    body = environment.get_template("report.html.j2").render(
        run=run,
        verdict=macros.verdict(),  # type: ignore[attr-defined]
        sections=_fitting([section for section in drawn if section[2].strip()]),
    )
    return page(f"{short_name(run.model_name) or 'Run'} \N{MIDDLE DOT} {context['started'] or run.run}", body)


def _fitting(sections: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """The sections, the largest ones left out as long as all together are too large to open."""
    size = {name: len(content.encode(errors="replace")) for name, _, content in sections}
    dropped: set[str] = set()
    while sum(size.values()) > _MOST_BYTES:
        largest = max(size, key=size.__getitem__)
        dropped.add(largest)
        del size[largest]
    note = Markup('<p class="muted">Too large to show; the journal of the run has it.</p>')
    return [(name, title, note if name in dropped else content) for name, title, content in sections]


def _context(run: RunView, timings: Timings) -> dict[str, Any]:
    decision = run.decision
    checks = list(decision.checks) if decision else []
    tune, train = run.details("tune"), run.details("train")
    trials = each(Trial, tune.get("trials"))
    ranked = sorted(trials, key=lambda trial: (trial.pruned or trial.failed, trial.value is None, trial.value or 0.0))
    validate, evaluate = run.details("validate"), run.details("evaluate")
    tables = [
        (name, shape) for name, value in mapping(validate.get("tables")).items() for shape in each(TableCount, [value])
    ]
    cached = sum(view.state == "cached" for view in run.steps)
    findings = each(Finding, validate.get("failures"))
    return {
        "run": run,
        "tone": _TONES.get(run.outcome, run.outcome),
        "reason": run.sentence,
        "after": _after(run),
        "decision": decision,
        "register": run.details("register"),
        "champion": _champion(run),
        "champion_known": _champion_known(run),
        "started": wording.when(timings.began),
        "took": wording.duration(timings.wall_seconds) if timings.wall_seconds is not None else None,
        "from_cache": f"{cached} of {len(run.steps)} steps" if cached else None,
        "general_checks": [check for check in checks if not gate_figures.is_slice(check)][:_MOST_CHECKS],
        "slice_checks": gate_figures.worst_slices(checks),
        "slices_judged": sum(map(gate_figures.is_slice, checks)),
        "calibrations": {
            "Candidate": figures.bins(evaluate.get("calibration")),
            "Champion": figures.bins(evaluate.get("champion_calibration")),
        },
        "trials": trials,
        "trials_pruned": sum(trial.pruned for trial in trials),
        "trials_failed": sum(trial.failed for trial in trials),
        "best_trial": next(
            (trial for trial in ranked[:1] if trial.value is not None and not (trial.pruned or trial.failed)), None
        ),
        "shown_trials": ranked[:_MOST_TRIALS],
        "trial_parameters": list(dict.fromkeys(name for trial in trials for name in trial.parameters))[
            : wording.MOST_COLUMNS
        ],
        "tables": tables[:_MOST_TABLES],
        "more_tables": max(0, len(tables) - _MOST_TABLES),
        "findings": findings[:_MOST_FINDINGS],
        "most_examples": _MOST_EXAMPLES,
        "more_findings": max(0, len(findings) - _MOST_FINDINGS),
        "rules": [*each(Rule, validate.get("checks")), *each(Rule, run.details("prepare").get("checks"))][
            :_MOST_CHECKS
        ],
        "lineage_facts": lineage(run),
        "step_views": run.steps[:_MOST_STEPS],
        "parameters": dict(
            list((mapping(train.get("parameters")) or mapping(tune.get("best"))).items())[:_MOST_SETTINGS]
        ),
        "policy": wording.shortened(json.dumps(decision.policy, indent=2, sort_keys=True), _LONGEST_TEXT)
        if decision and decision.policy
        else "",
        "state_tone": _STATE_TONES,
    }


def _figures(run: RunView, timings: Timings) -> dict[str, Any]:
    decision, evaluate, tune = run.decision, run.details("evaluate"), run.details("tune")
    drawn = {
        "comparison": gate_figures.comparison(decision) if decision else "",
        "gain": gate_figures.gain(decision) if decision else "",
        "slices": gate_figures.slices(gate_figures.worst_slices(decision.checks)) if decision else "",
        "history": figures.history(each(Trial, tune.get("trials"))),
        "parameter_importance": figures.parameter_importance(tune),
        "explanation": figures.explanation(evaluate),
        "calibration": figures.calibration(evaluate, f"champion v{_champion(run)}"),
        "timeline": figures.timeline(run, timings),
    }
    # The figures escape what is foreign in them.
    return {name: Markup(html) for name, html in drawn.items()} | {  # noqa: S704
        "curves": [Markup(html) for html in figures.curves(run.details("train"))]  # noqa: S704
    }


def _champion(run: RunView) -> str:
    pinned = run.details("pin").get("champion_version")
    return str(pinned or (run.decision.champion_version if run.decision else "") or "")


def _champion_known(run: RunView) -> bool:
    """Did the run get as far as to see whether there is a champion?"""
    return "champion_version" in run.details("pin") or run.decision is not None


def _after(run: RunView) -> str:
    """What the outcome means for production."""
    champion = _champion(run)
    if run.outcome == "promoted":
        deployed = run.deployed
        where = f" at {deployed['url']}" if deployed.get("url") else ""
        version = deployed.get("version") or run.details("register").get("version") or ""
        return f"Version {version} is live{where}" + (f"; v{champion} is kept to roll back to." if champion else ".")
    if run.stopped is not None and run.stopped.step in ("deploy", "approve"):
        return "See which version is live with: ratchet model live"
    if champion:
        return f"Production is untouched: v{champion} stays live."
    return "Production is untouched: nothing is live." if _champion_known(run) else "Production is untouched."


@cache
def _environment() -> Environment:
    return templates(
        Path(__file__).parent,
        number=number,
        counted=count,
        chosen=chosen,
        check_name=gate_figures.check_name,
        short_name=short_name,
        duration=wording.duration,
        state=wording.state,
        attempts=wording.attempts,
        memory=wording.memory,
        percent=wording.percent,
        setting=wording.setting,
        shortened=wording.shortened,
        cell=wording.cell,
        ending=wording.ending,
        column_names=wording.column_names,
    )

"""The run's report: one self-contained page that says how the run ended, why, and what it rests on."""

import json
from contextlib import suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from kfp_ratchet.components.gate import figures as gate_figures
from kfp_ratchet.components.gate.wording import count
from kfp_ratchet.components.notify import figures, wording
from kfp_ratchet.components.notify.details import Finding, Rule, TableCount, Trial, each, mapping, numbers
from kfp_ratchet.components.notify.run_view import RunView
from kfp_ratchet.components.shared.charts import chosen, number
from kfp_ratchet.components.shared.page import page

# Bounds that keep the page below 2 MB whatever the steps found.
_MOST_TRIALS = 40
_MOST_FINDINGS = 25
_MOST_CHECKS = 80
_MOST_SETTINGS = 60
_LONGEST_TEXT = 20_000

_SECTIONS = {
    "comparison": "Comparison",
    "checks": "Checks",
    "slices": "Slices",
    "learning": "Learning curve",
    "tuning": "Tuning",
    "validation": "Data validation",
    "explanation": "Explanation",
    "calibration": "Calibration",
    "lineage": "Data and lineage",
    "steps": "Steps",
}
_TONES = {"promoted": "promote", "rejected": "reject", "interrupted": "failed"}
_STATE_TONES = {"succeeded": "pass", "failed": "fail", "running": "running"}


def render(run: RunView) -> str:
    """The report of a run as HTML, below 2 MB; sections whose step left nothing are left out."""
    context = {**_context(run), "figures": _figures(run)}
    environment = _environment()
    macros = environment.get_template("sections.html.j2").make_module(context)
    drawn = [(name, title, getattr(macros, name)()) for name, title in _SECTIONS.items()]
    body = environment.get_template("report.html.j2").render(
        run=run,
        verdict=macros.verdict(),  # type: ignore[attr-defined]
        sections=[section for section in drawn if section[2].strip()],
    )
    return page(f"{run.model_name or 'Run'} \N{MIDDLE DOT} {context['started'] or run.run}", body)


def _context(run: RunView) -> dict[str, Any]:
    decision = run.decision
    checks = list(decision.checks) if decision else []
    tune, train = run.details("tune"), run.details("train")
    trials = each(Trial, tune.get("trials"))
    ranked = sorted(trials, key=lambda trial: (_pruned(trial), trial.value is None, trial.value or 0.0))
    validate = run.details("validate")
    records = [view.record for view in run.steps if view.record is not None and view.record.run == run.run]
    cached = sum(view.state == "cached" for view in run.steps)
    return {
        "run": run,
        "tone": _TONES.get(run.outcome, run.outcome),
        "reason": run.sentence,
        "after": _after(run),
        "decision": decision,
        "register": run.details("register"),
        "champion": _champion(run),
        "started": wording.when(min((record.started for record in records if record.started), default="")),
        "took": wording.duration(_elapsed(run)),
        "from_cache": f"{cached} of {len(run.steps)} steps" if cached else None,
        "general_checks": [check for check in checks if not check.name.startswith("slice")][:_MOST_CHECKS],
        "slice_checks": [check for check in checks if check.name.startswith("slice")][:_MOST_CHECKS],
        "trials": trials,
        "trials_pruned": sum(map(_pruned, trials)),
        "best_trial": ranked[0] if ranked and ranked[0].value is not None and not _pruned(ranked[0]) else None,
        "shown_trials": ranked[:_MOST_TRIALS],
        "trial_parameters": list(dict.fromkeys(name for trial in trials for name in trial.parameters))[
            : wording.MOST_COLUMNS
        ],
        "tables": {
            name: shape
            for name, value in mapping(validate.get("tables")).items()
            for shape in each(TableCount, [value])
        },
        "findings": each(Finding, validate.get("failures"))[:_MOST_FINDINGS],
        "rules": [*each(Rule, validate.get("checks")), *each(Rule, run.details("prepare").get("checks"))][
            :_MOST_CHECKS
        ],
        "lineage_facts": _lineage(run),
        "parameters": dict(
            list((mapping(train.get("parameters")) or mapping(tune.get("best"))).items())[:_MOST_SETTINGS]
        ),
        "policy": wording.shortened(json.dumps(decision.policy, indent=2, sort_keys=True), _LONGEST_TEXT)
        if decision and decision.policy
        else "",
        "state_tone": _STATE_TONES,
    }


def _figures(run: RunView) -> dict[str, Any]:
    decision, evaluate, tune = run.decision, run.details("evaluate"), run.details("tune")
    checks = [check for check in decision.checks if check.name.startswith("slice")] if decision else []
    drawn = {
        "comparison": gate_figures.comparison(decision) if decision else "",
        "gain": gate_figures.gain(decision) if decision else "",
        "slices": gate_figures.slices(checks[:_MOST_CHECKS]),
        "history": figures.history(each(Trial, tune.get("trials"))),
        "parameter_importance": figures.parameter_importance(tune),
        "explanation": figures.explanation(evaluate),
        "calibration": figures.calibration(evaluate),
    }
    # The figures escape what is foreign in them.
    return {name: Markup(html) for name, html in drawn.items()} | {  # noqa: S704
        "curves": [Markup(html) for html in figures.curves(run.details("train"))]  # noqa: S704
    }


def _champion(run: RunView) -> str:
    pinned = run.details("pin").get("champion_version")
    return str(pinned or (run.decision.champion_version if run.decision else "") or "")


def _after(run: RunView) -> str:
    """What the outcome means for production."""
    champion = _champion(run)
    if run.outcome == "promoted":
        deployed = run.details("deploy")
        where = f" at {deployed['url']}" if deployed.get("url") else ""
        version = deployed.get("version") or run.details("register").get("version") or ""
        return f"Version {version} is live{where}" + (f"; v{champion} is kept to roll back to." if champion else ".")
    if run.stopped is not None and run.stopped.step == "deploy":
        return "See which version is live with: ratchet model live"
    return (
        f"Production is untouched: v{champion} stays live." if champion else "Production is untouched: nothing is live."
    )


def _lineage(run: RunView) -> list[tuple[str, Any, str]]:
    """What the run rests on: (name, value, kind), in the order of the pipeline."""
    pin, ingest, prepare, train = (run.details(step) for step in ("pin", "ingest", "prepare", "train"))
    evaluate, register, decision = run.details("evaluate"), run.details("register"), run.decision
    card = mapping(register.get("card"))
    facts = [
        ("Run", run.run, "digest"),
        ("Revision of the data", pin.get("revision") or ingest.get("revision") or card.get("revision"), "digest"),
        ("Source", _text(pin.get("source")), ""),
        ("Window", _text(pin.get("window")), ""),
        ("Split", evaluate.get("split_rule") or card.get("split_rule"), ""),
        ("Rows read", ", ".join(_tables_read(ingest)), ""),
        ("Rows made by", mapping(prepare.get("recipe")).get("name"), ""),
        ("Rows accepted", decision.accepted_rows if decision else None, ""),
        ("Model rows", prepare.get("rows"), ""),
        ("Rows trained on", train.get("rows") or card.get("rows"), ""),
        ("Rows judged on", (decision.rows if decision else None) or evaluate.get("rows"), ""),
        ("Workload", card.get("workload") or run.details("tune").get("workload"), ""),
        ("Seed", card.get("seed"), ""),
        ("Device", card.get("device") or train.get("device"), ""),
        ("Code", _text(card.get("code")), ""),
        ("Candidate", (decision.candidate_digest if decision else "") or train.get("digest"), "digest"),
        ("Champion", decision.champion_digest if decision else "", "digest"),
        ("Evidence", decision.evidence_digest if decision else "", "digest"),
        ("Policy", decision.policy_digest if decision else "", "digest"),
        ("Ledger entry", run.details("deploy").get("entry") or register.get("entry"), ""),
    ]
    return [
        (name, number(value) if isinstance(value, int) else wording.shortened(value, 600), kind)
        for name, value, kind in facts
        if value not in (None, "")
    ]


def _tables_read(ingest: dict[str, Any]) -> list[str]:
    tables = {name: numbers(shape) for name, shape in mapping(ingest.get("tables")).items()}
    return [f"{name} {shape['rows']:,.0f}" for name, shape in tables.items() if "rows" in shape]


def _text(value: Any) -> str:
    """Nested settings, also as JSON text, in one line: `train all, evaluate 14d`."""
    if isinstance(value, str) and value.startswith("{"):
        with suppress(ValueError):
            value = json.loads(value)
    found = mapping(value)
    return (
        ", ".join(f"{key} {item}" for key, item in found.items() if item not in (None, ""))
        if found
        else str(value or "")
    )


def _pruned(trial: Trial) -> bool:
    return trial.state.lower() in ("pruned", "fail", "failed")


def _elapsed(run: RunView) -> float | None:
    """Seconds from the first step's start to the last one's end, waiting between them included."""
    spans = []
    for view in run.steps:
        if view.record is not None and view.record.run == run.run:
            try:
                began = datetime.fromisoformat(view.record.started).timestamp()
            except ValueError:
                continue
            spans.append((began, began + view.record.seconds))
    return max(end for _, end in spans) - min(began for began, _ in spans) if spans else None


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": number,
        "counted": count,
        "chosen": chosen,
        "check_name": gate_figures.check_name,
        "duration": wording.duration,
        "memory": wording.memory,
        "percent": wording.percent,
        "setting": wording.setting,
        "shortened": wording.shortened,
        "cell": wording.cell,
        "ending": wording.ending,
        "column_names": wording.column_names,
    }
    return environment

"""Is the evidence fit to judge on? Whatever is missing, odd or too little makes a check `unknown`, never an exception."""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from kfp_ratchet.components.gate.metrics import Array
from kfp_ratchet.components.gate.policy import Policy
from kfp_ratchet.components.gate.wording import count, number
from kfp_ratchet.components.shared.decision import Check
from kfp_ratchet.components.shared.evidence import ID, LABEL, SLICE_PREFIX, WEIGHT, Evidence, score_columns


@dataclass(frozen=True)
class Scored:
    """Rows that both models scored, in id order, as arrays; rows of weight 0 left out."""

    label: Array
    weight: Array
    candidate: Array
    champion: Array
    """Scores have shape (n,), or (n, classes) for multiclass; the champion's are the trivial model's when there is none."""
    keys: list[str]
    slices: dict[str, list[str]]


def examine(evidence: Evidence, rows: pl.DataFrame, policy: Policy) -> tuple[Scored | None, list[Check]]:
    """Turn rows into arrays, and say whether they can be judged on.

    Returns:
        The arrays (None when they cannot even be made) and the checks. Judge only when every check passes.
    """
    problem = _why_not(evidence, rows)
    if problem:
        return None, [_check("evidence", problem)]
    scored = _arrays(evidence, rows)
    checks = [
        _check("scores", _wrong_values(evidence, scored), "labels, weights and scores are finite and in range"),
        _check("sanity", _insane(evidence), f"the scores passed {count(len(evidence.sanity), 'sanity check')}"),
        _check(
            "rows",
            f"{count(len(scored.label), 'row')} to judge on, fewer than policy.min_rows = {policy.min_rows:,}"
            if len(scored.label) < policy.min_rows
            else "",
            f"{count(len(scored.label), 'row')}, at least {policy.min_rows:,} are asked for",
        ),
    ]
    if evidence.problem != "regression" and checks[0].outcome == "pass":
        checks.append(
            _check(
                "classes",
                _rare_class(evidence, scored, policy.min_class_rows),
                f"every class has at least {count(policy.min_class_rows, 'row')}",
            )
        )
    return scored, checks


def _check(name: str, problem: str, fine: str = "") -> Check:
    return Check(name=name, outcome="unknown" if problem else "pass", reason=problem or fine)


def _why_not(evidence: Evidence, rows: pl.DataFrame) -> str:
    """What keeps rows from being turned into arrays, "" when nothing does."""
    if not evidence.candidate_digest:
        return "the evidence does not say which model the candidate is (candidate_digest is empty)"
    if bool(evidence.champion_version) != bool(evidence.champion_digest):
        return "the evidence names a champion by only one of champion_version and champion_digest"
    if evidence.problem == "multiclass" and len(evidence.classes) < 2:
        return f"the evidence names {len(evidence.classes)} classes for a multiclass target"
    numeric = [LABEL, WEIGHT, *score_columns("candidate", evidence)]
    if evidence.champion_digest:
        numeric += score_columns("champion", evidence)
    expected = [ID, *numeric, *(SLICE_PREFIX + name for name in evidence.slices)]
    missing = [name for name in expected if name not in rows.columns]
    if missing:
        return f"column {missing[0]!r} is missing from the evidence's rows (has: {', '.join(rows.columns)})"
    text = [name for name in numeric if not rows.schema[name].is_numeric()]
    if text:
        return f"column {text[0]!r} of the evidence's rows holds {rows.schema[text[0]]}, not numbers"
    if rows.height != evidence.rows:
        return f"the evidence says {count(evidence.rows, 'row')} and holds {rows.height:,}"
    if rows.is_empty():
        return "the evidence has no rows"
    if rows[ID].null_count():
        return f"the evidence holds {count(rows[ID].null_count(), 'row')} with no id"
    if rows[ID].n_unique() != rows.height:
        return f"row ids of the evidence are not unique: {rows.height - rows[ID].n_unique():,} repeat"
    return "" if evidence.champion_digest else _no_baseline(evidence)


def _no_baseline(evidence: Evidence) -> str:
    multiclass = evidence.problem == "multiclass"
    found = evidence.baseline.get("scores" if multiclass else "score")
    values = found if isinstance(found, list) else [found]
    wanted = len(evidence.classes) if multiclass else 1
    numbers = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
    if len(numbers) != len(values) or len(values) != wanted or isinstance(found, list) != multiclass:
        return "there is no champion, and the evidence has no sound trivial baseline to judge a first model against"
    if evidence.problem != "regression" and not all(0 <= value <= 1 for value in numbers):
        return "the evidence's trivial baseline is no probability"
    return ""


def _arrays(evidence: Evidence, rows: pl.DataFrame) -> Scored:
    rows = rows.filter(pl.col(WEIGHT).is_null() | (pl.col(WEIGHT) != 0)).sort(ID)

    def column(name: str) -> Array:
        return rows[name].cast(pl.Float64).to_numpy()

    def scores(names: list[str]) -> Array:
        return column(names[0]) if evidence.problem != "multiclass" else np.column_stack([column(n) for n in names])

    candidate = scores(score_columns("candidate", evidence))
    if evidence.champion_digest:
        champion = scores(score_columns("champion", evidence))
    else:
        baseline = evidence.baseline["scores" if evidence.problem == "multiclass" else "score"]
        champion = np.broadcast_to(np.asarray(baseline, dtype=np.float64), candidate.shape).copy()
    return Scored(
        label=column(LABEL),
        weight=column(WEIGHT),
        candidate=candidate,
        champion=champion,
        keys=[str(key) for key in rows[ID].to_list()],
        slices={
            name: rows[SLICE_PREFIX + name].cast(pl.String).fill_null("(missing)").to_list() for name in evidence.slices
        },
    )


def _wrong_values(evidence: Evidence, scored: Scored) -> str:
    named = {
        "labels": scored.label,
        "weights": scored.weight,
        "candidate's scores": scored.candidate,
        "champion's scores": scored.champion,
    }
    for name, values in named.items():
        odd = int((~np.isfinite(values)).sum())
        if odd:
            return f"{odd:,} of the {name} are missing, NaN or infinite"
    if (scored.weight < 0).any():
        return "a weight is negative"
    if evidence.problem == "regression":
        return ""
    classes = 2 if evidence.problem == "binary" else len(evidence.classes)
    strange = scored.label[~np.isin(scored.label, np.arange(classes))]
    if len(strange):
        return f"label {number(strange[0])} is none of the {classes} classes"
    for name in ("candidate's scores", "champion's scores"):
        values = named[name]
        if (values < 0).any() or (values > 1).any():
            return f"the {name} are no probabilities: they run from {values.min():g} to {values.max():g}"
    return ""


def _insane(evidence: Evidence) -> str:
    if not evidence.sanity:
        return "the evidence has no sanity results"
    failed = [name for name, passed in evidence.sanity.items() if not passed]
    return f"the candidate's scores are not sane: they fail {', '.join(failed)}" if failed else ""


def _rare_class(evidence: Evidence, scored: Scored, least: int) -> str:
    """The first class with too few rows; a class without rows that the candidate does not know either is not asked for."""
    binary = evidence.problem == "binary"
    for index in range(2 if binary else len(evidence.classes)):
        held = int((scored.label == index).sum())
        known = binary or held > 0 or bool((scored.candidate[:, index] > 0).any())
        if known and held < least:
            name = evidence.classes[index] if index < len(evidence.classes) else str(index)
            return f"class {name!r} has {count(held, 'row')} to judge on, fewer than policy.min_class_rows = {least:,}"
    return ""

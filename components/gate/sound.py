"""Is the evidence fit to judge on? Whatever is missing, odd or too little makes a check `unknown`, never an exception."""

import math
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import polars as pl

from kfp_ratchet.components.gate.intervals import IntArray
from kfp_ratchet.components.gate.metrics import Array
from kfp_ratchet.components.gate.policy import Policy
from kfp_ratchet.components.gate.wording import count, number
from kfp_ratchet.components.shared.decision import Check
from kfp_ratchet.components.shared.evidence import (
    CLUSTER,
    ID,
    LABEL,
    SLICE_PREFIX,
    WEIGHT,
    Evidence,
    Facts,
    Model,
    score_columns,
)
from kfp_ratchet.components.shared.split import is_plain

_SANITY = {
    "finite": ("the scores are finite", "a score is missing, NaN or infinite"),
    "not_constant": ("the scores are not constant", "every row has the same score"),
    "repeatable": ("asked again, the same rows have the same scores", "asked again, the same rows have other scores"),
    "order_stable": (
        "a row's score goes by the row alone",
        "a row's score goes by the rows around it, or by their order",
    ),
    "probabilities": ("the scores lie in [0, 1]", "the scores are no probabilities"),
    "sum_to_one": ("the probabilities of a row sum to 1", "the probabilities of a row do not sum to 1"),
}

_SUM_TOLERANCE = 1e-3
"""Of a row's probabilities; what is left by 16-bit floats passes."""


@dataclass(frozen=True)
class Scored:
    """Rows that all models scored, in id order, as arrays; rows of weight 0 left out. Scores: (n,), or (n, classes) for multiclass."""

    label: Array
    weight: Array
    candidate: Array
    champion: Array
    """The trivial model's when there is no champion."""
    anchor: Array | None
    baseline: Array | None
    """The trivial model's; None when the evidence has no sound one."""
    cluster: IntArray | None
    """Codes 0..G-1; None when rows are independent."""
    slices: dict[str, pl.Series]
    digest: str
    """Of ids, labels and weights: what all models share, so that a pair and its swap see the same resamples."""

    @property
    def seed(self) -> int:
        """Seed of every draw."""
        return int(self.digest.removeprefix("sha256:")[:16], 16)

    @property
    def clusters(self) -> int:
        """How many clusters there are, 0 when rows are independent."""
        return 0 if self.cluster is None else int(self.cluster.max(initial=-1)) + 1


def examine(evidence: Evidence, policy: Policy) -> tuple[Scored | None, list[Check]]:
    """Turn rows into arrays, and say whether they can be judged on.

    Returns:
        The arrays (None when they cannot even be made) and the checks. Judge only when every check passes.
    """
    facts = evidence.facts
    problem = _why_not(evidence)
    if problem:
        return None, [_check("evidence", problem)]
    scored = _arrays(facts, evidence.rows)
    rows = count(len(scored.label), "row")
    drawn = f", evenly drawn from {count(evidence.sampled_from, 'row')}" if evidence.sampled_from else ""
    checks = [
        _check("scores", _wrong_values(facts, scored), "labels, weights and scores are finite and in range"),
        *_sanity(facts),
        _check(
            "rows",
            f"{rows} to judge on, fewer than policy.min_rows = {policy.min_rows:,}"
            if len(scored.label) < policy.min_rows
            else "",
            f"{rows}{drawn}; at least {policy.min_rows:,} are asked for",
        ),
    ]
    if scored.cluster is not None:
        days = _text(evidence.rows[CLUSTER]).str.contains(r"^\d{4}-\d\d-\d\d$").all()
        found = (
            f"{count(scored.clusters, 'cluster')} ({'days' if days else 'values'} of {facts.clustered_by or CLUSTER})"
        )
        checks.append(
            _check(
                "clusters",
                f"{found} to judge on, fewer than policy.min_clusters = {policy.min_clusters:,}"
                if scored.clusters < policy.min_clusters
                else "",
                f"{found}, at least {policy.min_clusters:,} are asked for",
            )
        )
    if facts.problem != "regression" and checks[0].outcome == "pass":
        checks.append(
            _check(
                "classes",
                _rare_class(facts, scored, policy.min_class_rows),
                f"every class has at least {count(policy.min_class_rows, 'row')}",
            )
        )
    return scored, checks


def _check(name: str, problem: str, fine: str = "") -> Check:
    return Check(name=name, outcome="unknown" if problem else "pass", reason=problem or fine)


def _why_not(evidence: Evidence) -> str:
    """What keeps rows from being turned into arrays, "" when nothing does."""
    facts, rows = evidence.facts, evidence.rows
    if not facts.candidate_digest:
        return "the evidence does not say which model the candidate is (candidate_digest is empty)"
    for model, version, digest in (
        ("champion", facts.champion_version, facts.champion_digest),
        ("anchor", facts.anchor_version, facts.anchor_digest),
    ):
        if version and not digest:
            return f"the evidence names {model} v{version} without its digest ({model}_digest is empty)"
    if facts.problem == "multiclass" and len(facts.classes) < 2:
        return f"the evidence names {len(facts.classes)} classes for a multiclass target"
    numeric = [LABEL, WEIGHT, *(name for model in facts.models for name in score_columns(model, facts))]
    plain = [ID, *([CLUSTER] if facts.clustered_by else []), *(SLICE_PREFIX + name for name in facts.slices)]
    missing = [name for name in (*plain, *numeric) if name not in rows.columns]
    if missing:
        return f"column {missing[0]!r} is missing from the evidence's rows (has: {', '.join(rows.columns)})"
    text = [name for name in numeric if not rows.schema[name].is_numeric()]
    if text:
        return f"column {text[0]!r} of the evidence's rows holds {rows.schema[text[0]]}, not numbers"
    strange = [name for name in plain if not is_plain(rows.schema[name])]
    if strange:
        return f"column {strange[0]!r} of the evidence's rows holds {rows.schema[strange[0]]}, which has no text"
    held = evidence.sampled_from or rows.height
    if held != facts.rows:
        return f"the evidence says {count(facts.rows, 'row')} and holds {held:,}"
    if rows.is_empty():
        return "the evidence has no rows"
    if rows[ID].null_count():
        return f"the evidence holds {count(rows[ID].null_count(), 'row')} with no id"
    if rows[ID].n_unique() != rows.height:
        return f"row ids of the evidence are not unique: {rows.height - rows[ID].n_unique():,} repeat"
    if not facts.champion_digest and (wrong := _wrong_baseline(facts)):
        return f"there is no champion, and {wrong}"
    return ""


def _wrong_baseline(facts: Facts) -> str:
    multiclass = facts.problem == "multiclass"
    found = facts.baseline.get("scores" if multiclass else "score")
    values = found if isinstance(found, list) else [found]
    wanted = len(facts.classes) if multiclass else 1
    numbers = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
    if len(numbers) != len(values) or len(values) != wanted or isinstance(found, list) != multiclass:
        return "the evidence has no sound trivial baseline"
    if facts.problem != "regression" and not all(0 <= value <= 1 for value in numbers):
        return "the evidence's trivial baseline is no probability"
    return ""


def _arrays(facts: Facts, rows: pl.DataFrame) -> Scored:
    rows = rows.filter(pl.col(WEIGHT).is_null() | (pl.col(WEIGHT) != 0)).sort(ID)

    def column(name: str) -> Array:
        return rows[name].cast(pl.Float64).to_numpy()

    def scores(model: Model) -> Array:
        columns = [column(name) for name in score_columns(model, facts)]
        return columns[0] if facts.problem != "multiclass" else np.column_stack(columns)

    candidate = scores("candidate")
    baseline = None
    if not _wrong_baseline(facts):
        trivial = facts.baseline["scores" if facts.problem == "multiclass" else "score"]
        baseline = np.broadcast_to(np.asarray(trivial, dtype=np.float64), candidate.shape).copy()
    champion = scores("champion") if facts.champion_digest else baseline
    assert champion is not None  # a first model without a baseline is refused before
    label, weight = column(LABEL), column(WEIGHT)
    shared = sha256((rows[ID].cast(pl.String).str.join("\n").item() or "").encode())
    shared.update(label.tobytes())
    shared.update(weight.tobytes())
    return Scored(
        label=label,
        weight=weight,
        candidate=candidate,
        champion=champion,
        anchor=scores("anchor") if facts.has_anchor else None,
        baseline=baseline,
        cluster=codes(_text(rows[CLUSTER])) if facts.clustered_by else None,
        slices={name: _text(rows[SLICE_PREFIX + name]) for name in facts.slices},
        digest=f"sha256:{shared.hexdigest()}",
    )


def _text(values: pl.Series) -> pl.Series:
    return values.cast(pl.String).fill_null("(missing)")


def codes(values: pl.Series) -> IntArray:
    """The place of each value among the sorted distinct ones, from 0."""
    found: IntArray = (values.rank("dense").cast(pl.Int64) - 1).to_numpy()
    return found


def _wrong_values(facts: Facts, scored: Scored) -> str:
    named = {"candidate's scores": scored.candidate, "champion's scores": scored.champion}
    if scored.anchor is not None:
        named["anchor's scores"] = scored.anchor
    for name, values in {"labels": scored.label, "weights": scored.weight, **named}.items():
        odd = int((~np.isfinite(values)).sum())
        if odd:
            return f"{odd:,} of the {name} are missing, NaN or infinite"
    if (scored.weight < 0).any():
        return "a weight is negative"
    if facts.problem == "regression":
        return ""
    classes = 2 if facts.problem == "binary" else len(facts.classes)
    strange = scored.label[~np.isin(scored.label, np.arange(classes))]
    if len(strange):
        return f"label {number(strange[0])} is none of the {classes} classes"
    for name, values in named.items():
        if (values < 0).any() or (values > 1).any():
            return f"the {name} are no probabilities: they run from {values.min():g} to {values.max():g}"
        if values.ndim == 2 and (off := np.abs(values.sum(axis=1) - 1)).max(initial=0.0) > _SUM_TOLERANCE:
            return f"the {name} are no probabilities: in {count(int((off > _SUM_TOLERANCE).sum()), 'row')} they do not sum to 1"
    return ""


def _sanity(facts: Facts) -> list[Check]:
    if not facts.sanity:
        return [_check("sanity", "the evidence has no sanity results")]
    checks = []
    for name, passed in facts.sanity.items():
        fine, wrong = _SANITY.get(name, (f"the scores pass {name}", f"the scores fail {name}"))
        checks.append(
            _check(f"sanity {name.replace('_', ' ')}", "" if passed else f"the candidate is not {name}: {wrong}", fine)
        )
    return checks


def _rare_class(facts: Facts, scored: Scored, least: int) -> str:
    """The first class with too few rows; a class without rows that the candidate does not know either is not asked for."""
    binary = facts.problem == "binary"
    for index in range(2 if binary else len(facts.classes)):
        held = int((scored.label == index).sum())
        known = binary or held > 0 or bool((scored.candidate[:, index] > 0).any())
        if known and held < least:
            name = facts.classes[index] if index < len(facts.classes) else str(index)
            return f"class {name!r} has {count(held, 'row')} to judge on, fewer than policy.min_class_rows = {least:,}"
    return ""

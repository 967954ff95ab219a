"""The report's figures, drawn from what the steps found; `gate.figures` has the decision's.

Each returns trusted HTML, "" when there is nothing to draw.
"""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

from kfp_ratchet.components.notify import wording
from kfp_ratchet.components.notify.details import Bin, Importance, Trial, each, numbers
from kfp_ratchet.components.notify.run_view import RunView, StepView
from kfp_ratchet.components.notify.timings import Timings, executed
from kfp_ratchet.components.shared.charts import Row, Series, Span, bars, lines, spans

_MOST_BARS = 20
_MOST_CURVES = 4
_MOST_POINTS = 300
_SERIES_NAMES = {"loss": "early-stopping rows", "train_loss": "training rows"}
_CALIBRATION = {
    "multiclass": ("How often the likeliest class is right", "its predicted probability", "share that is right"),
    "regression": ("Observed by predicted value", "predicted", "observed mean"),
}

Item = TypeVar("Item")


def curves(train: dict[str, Any]) -> list[str]:
    """Losses by epoch, then every other score by epoch."""
    curve = train.get("curve")
    points = [numbers(point) for point in curve] if isinstance(curve, list) else []
    points = [point for point in points if "epoch" in point]
    names = list(dict.fromkeys(name for point in points[:_MOST_POINTS] for name in point if name != "epoch"))
    losses = [name for name in names if "loss" in name][:3]
    wanted = [("Loss by epoch", "loss", losses)] if losses else []
    wanted += [(f"{name} by epoch", name, [name]) for name in names if "loss" not in name]
    kept = _kept(points, numbers(train.get("metrics")).get("loss")) if "loss" in losses else []
    points = _thinned(points)
    return [
        lines(
            title,
            [
                Series(
                    _SERIES_NAMES.get(name, name),
                    [(point["epoch"], point.get(name)) for point in points],
                    "dashed" if index else "line",
                )
                for index, name in enumerate(shown)
            ]
            + (kept if shown is losses else []),
            "epoch",
            unit,
        )
        for title, unit, shown in wanted[:_MOST_CURVES]
    ]


def _kept(points: Sequence[dict[str, float]], loss: float | None) -> list[Series]:
    """The epoch whose weights the model has, where its loss tells which."""
    if loss is None:
        return []
    found = [point for point in points if math.isclose(point.get("loss", math.nan), loss, rel_tol=1e-6)]
    return (
        [Series(f"kept: epoch {found[0]['epoch']:g}", [(found[0]["epoch"], found[0]["loss"])], "rings")]
        if found
        else []
    )


def history(trials: list[Trial]) -> str:
    """Each trial's loss, and the best so far; one alone is no history."""
    done = [trial for trial in trials if trial.value is not None and not trial.pruned]
    pruned = [trial for trial in trials if trial.value is not None and trial.pruned]
    if len(done) < 2:
        return ""
    best: list[tuple[float, float | None]] = []
    lowest = math.inf
    for trial in done:
        lowest = min(lowest, trial.value if trial.value is not None else math.inf)
        best.append((trial.number, lowest))
    series = [
        Series("best so far", [*_thinned(best[:-1]), best[-1]]),
        Series("finished trial", _thinned([(trial.number, trial.value) for trial in done]), "dots"),
    ]
    if pruned:
        series.append(Series("pruned trial", _thinned([(trial.number, trial.value) for trial in pruned]), "rings"))
    return lines("Loss by trial", series, "trial", "loss", "Lower is better.")


def parameter_importance(tune: dict[str, Any]) -> str:
    """Share of the loss's variation that each hyperparameter explains."""
    found = sorted(numbers(tune.get("importance")).items(), key=lambda item: -item[1])
    return bars(
        "Importance of hyperparameters",
        [Row(name, value) for name, value in found[:_MOST_BARS]],
        "Share of each in what made trials good (PED-ANOVA).",
    )


def explanation(evaluate: dict[str, Any]) -> str:
    """Features by how much the candidate loses without them."""
    found = sorted(each(Importance, evaluate.get("explanation")), key=lambda one: -one.importance)
    shown = found[:_MOST_BARS]
    lost = wording.shortened(evaluate.get("explanation_metric") or "the metric")
    return bars(
        "What the candidate goes by",
        [Row(one.feature, one.importance, one.low, one.high) for one in shown],
        caption=f"How much worse {lost} gets when a feature's values are shuffled: the mean of repeated shuffles and its 95 % t "
        "interval, which is about the chance of the shuffling, not of the rows"
        + (f"; the first {len(shown)} of {len(found)} features." if len(found) > len(shown) else "."),
    )


def calibration(evaluate: dict[str, Any], champion: str) -> str:
    """Observed over predicted, with intervals; a calibrated model lies on the diagonal."""
    found = {"candidate": bins(evaluate.get("calibration")), champion: bins(evaluate.get("champion_calibration"))}
    every = [one for held in found.values() for one in held]
    if not every:
        return ""
    ends = [end for one in every for end in (one.predicted, one.observed)]
    title, x_label, y_label = _CALIBRATION.get(
        str(evaluate.get("problem")), ("Share of positives by predicted probability", "predicted probability", "share")
    )
    series = [
        Series(
            name,
            [(one.predicted, one.observed) for one in held],
            "marked" if name == "candidate" else "ringed",
            [(one.predicted, one.low, one.high) for one in held],
        )
        for name, held in found.items()
        if held
    ]
    diagonal = Series("perfectly calibrated", [(min(ends), min(ends)), (max(ends), max(ends))], "faint")
    return lines(title, [*series, diagonal], x_label, y_label, "With 95 % intervals.")


def bins(found: Any) -> list[Bin]:
    """Bins of a calibration in the order of their predictions."""
    return sorted(each(Bin, found), key=lambda one: one.predicted)[:_MOST_BARS]


def timeline(run: RunView, timings: Timings) -> str:
    """When each step ran and for how long."""
    said = (
        f"{wording.duration(timings.wall_seconds)} in all, {wording.duration(timings.cpu_seconds)} of processor time; "
    )
    return spans(
        "Time by step",
        [_span(run, view, timings) for view in run.steps[:_MOST_BARS] if view.record is not None],
        said + f"at most {wording.memory(timings.peak_memory_mb)} in a step.",
    )


def _span(run: RunView, view: StepView, timings: Timings) -> Span:
    record = executed(run, view)
    if record is None:
        return Span(view.step, None, None, "from the cache")
    start, end = timings.spans.get(view.step, (None, None))
    odd = wording.state(run, view) if view.state in ("failed", "running") else ""
    return Span(view.step, start, end, wording.duration(record.seconds), odd)


def _thinned(points: Sequence[Item]) -> list[Item]:
    return list(points[:: max(1, math.ceil(len(points) / _MOST_POINTS))])

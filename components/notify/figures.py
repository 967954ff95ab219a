"""The report's figures, drawn from what the steps found; `gate.figures` has the decision's.

Each returns trusted HTML, "" when there is nothing to draw.
"""

from typing import Any

from kfp_ratchet.components.notify.details import Bin, Importance, Trial, each, numbers
from kfp_ratchet.components.shared.charts import Row, Series, bars, lines

_MOST_BARS = 20
_MOST_CURVES = 4
_MOST_POINTS = 400


def curves(train: dict[str, Any]) -> list[str]:
    """Losses by epoch, then every other score by epoch."""
    curve = train.get("curve")
    points = [numbers(point) for point in curve] if isinstance(curve, list) else []
    points = [point for point in points if "epoch" in point]
    points = points[:: max(1, len(points) // _MOST_POINTS)]
    names = [name for name in dict.fromkeys(name for point in points for name in point) if name != "epoch"]
    losses = [name for name in names if "loss" in name][:3]
    wanted = [("Loss by epoch", "loss", losses)] if losses else []
    wanted += [(f"{name} by epoch", name, [name]) for name in names if "loss" not in name]
    return [
        lines(
            title,
            [
                Series(_SERIES_NAMES.get(name, name), [(point["epoch"], point.get(name)) for point in points])
                for name in shown
            ],
            "epoch",
            unit,
        )
        for title, unit, shown in wanted[:_MOST_CURVES]
    ]


_SERIES_NAMES = {"loss": "early-stopping rows", "train_loss": "training rows"}


def history(trials: list[Trial]) -> str:
    """Each trial's loss, and the best so far."""
    done = [trial for trial in trials if trial.value is not None and trial.state.lower() != "pruned"]
    pruned = [trial for trial in trials if trial.value is not None and trial.state.lower() == "pruned"]
    if not done:
        return ""
    best: list[tuple[float, float | None]] = []
    for trial in done:
        value = trial.value if not best or best[-1][1] is None else min(trial.value or 0.0, best[-1][1])
        best.append((trial.number, value))
    series = [
        Series("best so far", best),
        Series("finished trial", [(trial.number, trial.value) for trial in done], "dots"),
    ]
    if pruned:
        series.append(Series("pruned trial", [(trial.number, trial.value) for trial in pruned], "dots"))
    return lines("Loss by trial", series, "trial", "loss")


def parameter_importance(tune: dict[str, Any]) -> str:
    """Share of the loss's variation that each hyperparameter explains."""
    found = sorted(numbers(tune.get("importance")).items(), key=lambda item: -item[1])
    return bars("Importance of hyperparameters", [Row(name, value) for name, value in found[:_MOST_BARS]])


def explanation(evaluate: dict[str, Any]) -> str:
    """Features by how much the candidate loses without them."""
    found = sorted(each(Importance, evaluate.get("explanation")), key=lambda one: -one.importance)
    shown = found[:_MOST_BARS]
    return bars(
        "What the candidate goes by",
        [Row(one.feature, one.importance, one.low, one.high) for one in shown],
        caption="How much worse it gets when a feature's values are shuffled: mean, least and most of the repeats"
        + (f"; the first {len(shown)} of {len(found)} features." if len(found) > len(shown) else "."),
    )


def calibration(evaluate: dict[str, Any]) -> str:
    """Observed share over predicted probability; a calibrated model lies on the diagonal."""
    found = sorted(each(Bin, evaluate.get("calibration")), key=lambda one: one.predicted)
    if not found:
        return ""
    ends = [one.predicted for one in found] + [one.observed for one in found]
    diagonal = [(min(ends), min(ends)), (max(ends), max(ends))]
    return lines(
        "Observed against predicted",
        [
            Series("candidate", [(one.predicted, one.observed) for one in found], "marked"),
            Series("perfectly calibrated", diagonal, "dashed"),
        ],
        "predicted probability",
        "observed share",
    )

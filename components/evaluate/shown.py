"""What the page of a run in Kubeflow draws: metrics of the models, the candidate's ROC curve and confusion matrix.

For people to look at while a run goes on; the gate judges by the evidence alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from kfp_ratchet.components.evaluate.contender import Array
from kfp_ratchet.components.gate.metrics import answer, score
from kfp_ratchet.components.shared.columns import Problem
from kfp_ratchet.components.shared.evidence import Model
from kfp_ratchet.components.shared.shown import Curves

METRICS: Mapping[Problem, tuple[str, ...]] = {
    "binary": ("roc_auc", "average_precision", "log_loss", "brier", "accuracy"),
    "multiclass": ("log_loss", "accuracy", "balanced_accuracy", "f1_macro"),
    "regression": ("rmse", "mae", "r2"),
}
_POINTS = 100
"""Of a curve: more cannot be told apart on a screen, and each run keeps them for ever."""
_MOST_CLASSES = 30
"""Of a confusion matrix, for the same reasons."""


def compared(problem: Problem, label: Array, scores: Mapping[Model, Array], weight: Array) -> dict[str, float]:
    """Metrics of candidate and champion on the same rows, as `candidate_roc_auc`; none of a model with a score that is not finite.

    Args:
        problem: Kind of problem.
        label: 0/1, the class's index, or the value; shape (n,).
        scores: By model, shape (n,), or (n, classes) for multiclass.
        weight: Shape (n,).
    """
    return {
        f"{model}_{metric}": score(metric, label, scores[model], weight)
        for model in ("candidate", "champion")
        if model in scores and len(label) and np.isfinite(scores[model]).all()
        for metric in METRICS[problem]
    }


def show_curves(
    curves: Curves, problem: Problem, classes: Sequence[str], label: Array, scores: Array, weight: Array
) -> None:
    """Log the ROC curve of a binary candidate, and the confusion matrix of one with classes; nothing of a regression.

    Args:
        curves: Where to.
        problem: Kind of problem.
        classes: Names in label order.
        label: 0/1 or the class's index; shape (n,).
        scores: Shape (n,), or (n, classes) for multiclass.
        weight: Shape (n,), of the curve; the matrix counts rows.
    """
    if problem == "regression" or not len(label) or not np.isfinite(scores).all():
        return
    if problem == "binary" and (points := roc(label, scores, weight)):
        fpr, tpr, threshold = (list(column) for column in zip(*points, strict=True))
        curves.log_roc_curve(fpr, tpr, threshold)
    if len(classes) <= _MOST_CLASSES:
        curves.log_confusion_matrix(list(classes), confusion(label, scores, len(classes)))


def roc(label: Array, scores: Array, weight: Array) -> list[tuple[float, float, float]]:
    """False and true positive rate by threshold, at most 100 points spread evenly along the curve; empty with one class only."""
    order = np.argsort(-scores, kind="stable")
    label, scores, weight = label[order], scores[order], weight[order]
    last_of_ties = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    true, false = (np.cumsum(weight * side)[last_of_ties] for side in (label, 1 - label))
    if not (true[-1] > 0 and false[-1] > 0):
        return []
    tpr, fpr = np.append(0.0, true / true[-1]), np.append(0.0, false / false[-1])
    # Above every score nothing is answered with class 1. scikit-learn says infinity there, which is no JSON.
    threshold = np.append(max(1.0, float(scores[0])), scores[last_of_ties])
    along = fpr + tpr
    kept = np.unique(
        np.append(np.searchsorted(along, np.linspace(0, 2, _POINTS - 1)), len(along) - 1).clip(max=len(along) - 1)
    )
    return [(float(fpr[i]), float(tpr[i]), float(threshold[i])) for i in kept]


def confusion(label: Array, scores: Array, classes: int) -> list[list[int]]:
    """Rows by class and by answer: the likeliest class, or class 1 above one half."""
    cells = label.astype(np.int64) * classes + answer(scores).astype(np.int64)
    return [[int(count) for count in row] for row in np.bincount(cells, minlength=classes**2).reshape(classes, classes)]

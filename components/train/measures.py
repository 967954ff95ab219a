"""A few measures of scores on the early-stopping tail, to follow a fit by, in the gate's own arithmetic."""

import math
from typing import Any

import numpy as np

from kfp_ratchet.components.gate import metrics
from kfp_ratchet.components.shared.columns import Problem

Array = np.ndarray[Any, np.dtype[Any]]


def auc(label: Array, score: Array) -> float | None:
    """Area under the ROC curve; None when only one class is there."""
    value = metrics.score("roc_auc", label, score, np.ones(label.size))
    return value if math.isfinite(value) else None


def loss(problem: Problem, label: Array, score: Array, weight: Array) -> float:
    """Weighted mean log loss, or mean squared error for regression."""
    if problem == "regression":
        return float(np.average((label - score) ** 2, weights=weight))
    return metrics.score("log_loss", label, score, weight)


def score(problem: Problem, label: Array, prediction: Array) -> dict[str, float]:
    """The number people know a problem by: auc, accuracy or rmse; empty when it is not defined."""
    if problem == "binary":
        value = auc(label, prediction)
        return {} if value is None else {"auc": value}
    if problem == "multiclass":
        return {"accuracy": float((prediction.argmax(axis=1) == label).mean())}
    return {"rmse": float(np.sqrt(np.mean((label - prediction) ** 2)))}

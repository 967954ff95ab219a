"""A few measures of scores on the early-stopping tail, to follow a fit by; the gate has its own."""

from typing import Any

import numpy as np

from kfp_ratchet.components.shared.columns import Problem

Array = np.ndarray[Any, np.dtype[Any]]


def auc(label: Array, score: Array) -> float | None:
    """Area under the ROC curve by average ranks (Mann-Whitney U); None when only one class is there."""
    positives = int((label == 1).sum())
    negatives = label.size - positives
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    above = ranks[label == 1].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def loss(problem: Problem, label: Array, score: Array, weight: Array) -> float:
    """Weighted mean log loss, or mean squared error for regression."""
    if problem == "regression":
        return float(np.average((label - score) ** 2, weights=weight))
    index = label.astype(int)
    chosen = np.where(index == 1, score, 1 - score) if problem == "binary" else score[np.arange(index.size), index]
    return float(np.average(-np.log(np.clip(chosen, 1e-15, 1.0)), weights=weight))


def score(problem: Problem, label: Array, prediction: Array) -> dict[str, float]:
    """The number people know a problem by: auc, accuracy or rmse; empty when it is not defined."""
    if problem == "binary":
        value = auc(label, prediction)
        return {} if value is None else {"auc": value}
    if problem == "multiclass":
        return {"accuracy": float((prediction.argmax(axis=1) == label).mean())}
    return {"rmse": float(np.sqrt(np.mean((label - prediction) ** 2)))}

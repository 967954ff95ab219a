"""What a run's page in Kubeflow draws: the numbers of scikit-learn, few points, and nothing that is no JSON."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from kfp import dsl
from sklearn.metrics import confusion_matrix, log_loss, mean_absolute_error, roc_auc_score, roc_curve

from kfp_ratchet.components.evaluate.shown import compared, confusion, roc, show_curves
from kfp_ratchet.components.shared.evidence import Evidence
from kfp_ratchet.components.shared.shown import show


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def metrics(tmp_path):
    return dsl.Metrics(uri=str(tmp_path / "shown" / "metrics"))


@pytest.fixture
def curves(tmp_path):
    return dsl.ClassificationMetrics(uri=str(tmp_path / "shown" / "curves"))


def said(artifact):
    """As the launcher gets it."""
    return json.loads(json.dumps(artifact.metadata, allow_nan=False))


def test_metrics_of_both_models_are_those_of_the_evidence(bench, metrics, curves):
    data, champion = bench.data(bench.rows()), bench.model("champion", {"z": 1.0})
    rows = Evidence.read(bench.evaluate(data, bench.model(), champion, scalars=metrics, curves=curves)).rows
    found = said(metrics)
    assert found["candidate_roc_auc"] == pytest.approx(roc_auc_score(rows["label"], rows["candidate"]))
    assert found["champion_log_loss"] == pytest.approx(log_loss(rows["label"], rows["champion"]))
    assert set(said(curves)) == {"confidenceMetrics", "confusionMatrix"}


def test_a_first_model_has_no_champions_metrics(bench, metrics):
    bench.evaluate(bench.data(bench.rows()), bench.model(), scalars=metrics)
    assert said(metrics) and not any(name.startswith("champion") for name in said(metrics))


def test_a_regression_has_metrics_and_no_curve(bench, metrics, curves):
    rows = Evidence.read(
        bench.evaluate(
            bench.data(bench.rows()),
            bench.model(problem="regression", target="minutes"),
            roles={"target": "minutes", "problem": "regression", "id": "key", "time": "at"},
            scalars=metrics,
            curves=curves,
        )
    ).rows
    assert said(metrics)["candidate_mae"] == pytest.approx(mean_absolute_error(rows["label"], rows["candidate"]))
    assert said(curves) == {}
    assert Path(metrics.path).read_text() and Path(curves.path).read_text() == "{}", "a local cache wants files"


@pytest.mark.parametrize("ties", [1000, 10, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_curve_is_scikit_learns_in_few_points(rng, ties, weighted):
    label = rng.integers(0, 2, 5000).astype(float)
    scores = np.round(np.clip(0.3 * label + 0.7 * rng.random(5000), 0, 1) * ties) / ties
    weight = rng.choice([0.5, 2.0], 5000) if weighted else np.ones(5000)
    points = roc(label, scores, weight)
    assert 3 <= len(points) <= 100
    assert points[0][:2] == (0, 0) and points[-1][:2] == (1, 1)
    fpr, tpr, thresholds = roc_curve(label, scores, sample_weight=weight, drop_intermediate=False)
    theirs = {float(t): (f, r) for f, r, t in zip(fpr, tpr, thresholds, strict=True)}
    for false, true, threshold in points[1:]:
        assert (false, true) == pytest.approx(theirs[threshold])
    area = np.trapezoid([point[1] for point in points], [point[0] for point in points])
    assert area == pytest.approx(roc_auc_score(label, scores, sample_weight=weight), abs=0.002)
    assert all(math.isfinite(number) for point in points for number in point)


@pytest.mark.parametrize("label", [np.zeros(5), np.ones(5)])
def test_one_class_has_no_curve(label):
    assert roc(label, np.linspace(0, 1, 5), np.ones(5)) == []


def test_the_matrix_is_scikit_learns(rng, curves):
    label, scores = rng.integers(0, 3, 200).astype(float), rng.dirichlet([1, 1, 1], 200)
    assert confusion(label, scores, 3) == confusion_matrix(label, scores.argmax(axis=1)).tolist()
    binary = rng.integers(0, 2, 200).astype(float)
    assert confusion(binary, scores[:, 0], 2) == confusion_matrix(binary, scores[:, 0] > 0.5).tolist()
    show_curves(curves, "multiclass", ["größer", "b", "c"], label, scores, np.ones(200))
    assert [one["displayName"] for one in said(curves)["confusionMatrix"]["annotationSpecs"]] == ["größer", "b", "c"]
    assert "confidenceMetrics" not in said(curves)


@pytest.mark.parametrize("problem", ["binary", "multiclass", "regression"])
def test_scores_that_are_not_finite_show_nothing(problem, curves):
    """A NaN in the metadata would fail the step on a server."""
    label = np.array([0.0, 1.0])
    scores = np.array([[0.5, np.nan], [0.5, 0.5]]) if problem == "multiclass" else np.array([np.nan, 0.5])
    assert compared(problem, label, {"candidate": scores}, np.ones(2)) == {}
    show_curves(curves, problem, ["a", "b"], label, scores, np.ones(2))
    assert curves.metadata == {}


def test_an_undefined_metric_is_left_out(metrics):
    show(metrics, compared("binary", np.ones(3), {"candidate": np.array([0.1, 0.5, 0.9])}, np.ones(3)))
    assert "candidate_roc_auc" not in said(metrics) and said(metrics)["candidate_accuracy"] == pytest.approx(1 / 3)


def test_hundreds_of_classes_make_no_matrix(rng, curves):
    label, scores = rng.integers(0, 200, 400).astype(float), rng.random((400, 200))
    show_curves(curves, "multiclass", [str(i) for i in range(200)], label, scores, np.ones(400))
    assert curves.metadata == {}

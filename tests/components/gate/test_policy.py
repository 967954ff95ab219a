import subprocess
import sys

import pytest

from kfp_ratchet.components.gate.metric_kinds import METRICS
from kfp_ratchet.components.gate.policy import Policy
from kfp_ratchet.components.shared.errors import InputError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('{"margn": 0.1}', ["margn", "margin"]),
        ('{"first_model": {"margins": 1}}', ["first_model.margins", "margin"]),
        ('{"slices": {"min_row": 1}}', ["slices.min_row", "min_rows"]),
        ('{"metric": "auc_roc"}', ["metric", "auc_roc", "'roc_auc'"]),
        ('{"floors": {"rocauc": 0.5}}', ["floors", "'roc_auc'"]),
        ('{"floors": {"roc_auc": 1.5}}', ["floors", "between 0 and 1"]),
        ('{"margin": -0.1}', ["margin", "greater than or equal to 0"]),
        ('{"confidence": 0.4}', ["confidence"]),
        ('{"budget": {"latency_p95_ms": 0}}', ["budget.latency_p95_ms"]),
        ('{"preset": "newest"}', ["preset", "strict", "fresh"]),
        ('{"preset": "fresh", "margin": 0.01}', ["margin is of the preset strict", "non_inferiority_margin"]),
        ('{"non_inferiority_margin": 0.01}', ["non_inferiority_margin is of the preset fresh", "preset: fresh"]),
        ('{"metric": "precision@top"}', ["precision@top", "precision@0.7"]),
        ('{"metric": "roc_auc@0.5"}', ["roc_auc", "no parameter"]),
        ('{"metric": "pinball"}', ["pinball@0.9"]),
        ('{"floors": {"calibration_error": 0}}', ["floors", "between 0 and 1"]),
        ('{"metric": "expected_cost"}', ["expected_cost needs cost_matrix"]),
        ('{"cost_matrix": [[0, 1], [5, 0]]}', ["cost_matrix is of the metric expected_cost"]),
        ('{"metric": "expected_cost", "cost_matrix": [[0, 1, 2], [5, 0]]}', ["cost_matrix", "as many columns as rows"]),
        (
            '{"metric": "expected_cost", "cost_matrix": [[1, 1], [5, 5]]}',
            ["cost_matrix", "every answer costs the same"],
        ),
        ('{"budget": {"latency_ms": 5}}', ["budget.latency_ms", "latency_p"]),
        ('{"score_range": [1, 0]}', ["score_range", "no score lies between"]),
        ('{"max_churn": 0}', ["max_churn"]),
        ('{"approval": "yes"}', ["approval", "required"]),
        ('{"on_inconclusive": "retry"}', ["on_inconclusive", "fail"]),
        ('{"margin": NaN}', ["policy", "NaN", "finite"]),
        ("margin: 1", ["policy", "JSON"]),
        ("[1]", ["policy"]),
    ],
)
def test_a_wrong_policy_names_the_key_and_the_nearest_right_one(text, names):
    with pytest.raises(InputError) as caught:
        Policy.parse(text)
    assert all(name in str(caught.value) for name in names), str(caught.value)


def test_an_empty_text_is_the_default_policy():
    assert Policy.parse("") == Policy.parse("{}") == Policy()


@pytest.mark.parametrize(
    ("problem", "metric"), [("binary", "roc_auc"), ("multiclass", "log_loss"), ("regression", "rmse")]
)
def test_the_default_metric_goes_by_the_problem(problem, metric):
    assert Policy().metric_for(problem) == metric


@pytest.mark.parametrize(
    ("policy", "names"),
    [
        (Policy(metric="rmse"), ["policy.metric", "rmse", "binary", "roc_auc"]),
        (Policy(floors={"r2": 0.1}), ["policy.floors.r2", "binary"]),
        (Policy(margin=1.0), ["policy.margin", "roc_auc"]),
        (Policy(preset="fresh", metric="log_loss"), ["policy.non_inferiority_margin", "no default for log_loss"]),
        (Policy(preset="fresh", non_inferiority_margin=1.0), ["policy.non_inferiority_margin", "roc_auc"]),
        (Policy(metric="calibration_error"), ["policy.metric", "floors.calibration_error"]),
        (Policy(metric="pinball@0.9"), ["policy.metric", "pinball@0.9", "binary"]),
        (Policy(score_range=(2, 3)), ["policy.score_range", "no probability"]),
        (
            Policy(metric="expected_cost", cost_matrix=((0, 1, 1), (1, 0, 1), (1, 1, 0))),
            ["policy.cost_matrix", "3 rows", "2 classes"],
        ),
        (Policy.parse('{"first_model": {"margin": 2}}'), ["policy.first_model.margin"]),
    ],
)
def test_a_policy_that_cannot_fit_the_problem_is_an_error_not_an_endless_rejection(policy, names):
    with pytest.raises(InputError) as caught:
        policy.metric_for("binary")
    assert all(name in str(caught.value) for name in names), str(caught.value)


def test_answers_of_a_regression_do_not_flip():
    with pytest.raises(InputError, match=r"policy\.max_churn"):
        Policy(max_churn=0.1).metric_for("regression")


def test_what_fresh_may_lose_has_a_default_only_between_0_and_1():
    fresh = Policy(preset="fresh")
    assert (fresh.question, fresh.loss_allowed("roc_auc")) == ("non_inferiority", 0.005)
    assert Policy(preset="fresh", non_inferiority_margin=2.0, metric="mae").metric_for("regression") == "mae"


def test_a_users_metric_is_not_imported_to_read_a_policy():
    assert Policy(metric="no.such.module:profit").metric_for("binary") == "no.such.module:profit"


def test_every_metric_serves_some_problem_and_every_key_is_described():
    assert all(kind.problems for kind in METRICS.values())
    assert all(field.description for field in Policy.model_fields.values())


def test_the_digest_tells_policies_apart_and_defaults_alike():
    assert Policy().digest() == Policy(margin=0.0).digest() != Policy(margin=0.1).digest()


def test_reading_a_policy_waits_for_no_heavy_library():
    heavy = "{'numpy', 'polars', 'sklearn', 'scipy', 'torch', 'mlflow', 'pandas'}"
    code = f"import sys; from kfp_ratchet.components.gate import Policy; Policy.parse('{{}}'); print({heavy} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"

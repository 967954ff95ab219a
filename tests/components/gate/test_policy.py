import subprocess
import sys

import pytest

from kfp_ratchet.components.gate.policy import METRICS, Policy
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
        ('{"max_latency_ms": 0}', ["max_latency_ms"]),
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
        (Policy.parse('{"first_model": {"margin": 2}}'), ["policy.first_model.margin"]),
    ],
)
def test_a_policy_that_cannot_fit_the_problem_is_an_error_not_an_endless_rejection(policy, names):
    with pytest.raises(InputError) as caught:
        policy.metric_for("binary")
    assert all(name in str(caught.value) for name in names), str(caught.value)


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

import subprocess
import sys

import pytest

from kfp_ratchet.components.gate.metric_kinds import METRICS, Metric, fitting, kind, parse


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("roc_auc", Metric("roc_auc")),
        ("f1", Metric("f1", level=0.5)),
        ("precision@0.7", Metric("precision", level=0.7)),
        ("recall@top100", Metric("recall", top=100)),
        ("recall@top0.05", Metric("recall", top=0.05)),
        ("pinball@0.9", Metric("pinball", level=0.9)),
        ("my.package:gini", Metric("", function="my.package:gini")),
    ],
)
def test_a_name_says_metric_and_parameter(name, read):
    assert parse(name) == read


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("roc_acu", "did you mean 'roc_auc'?"),
        ("precison@0.7", "did you mean 'precision@0.7'?"),
        ("roc_auc@0.5", "roc_auc takes no parameter"),
        ("pinball", "write e.g. 'pinball@0.9'"),
        ("precision@", "'' is no parameter of precision"),
        ("precision@top", "'top' is no parameter"),
        ("precision@1.5", "'1.5' is no parameter"),
        ("precision@top1.5", "'top1.5' is no parameter"),
        ("precision@top0", "'top0' is no parameter"),
        ("precision@top-3", "'top-3' is no parameter"),
        ("precision@nan", "'nan' is no parameter"),
        ("precision@topinf", "'topinf' is no parameter"),
        ("f1@top10", "'top10' is no parameter"),
        ("pinball@top10", "'top10' is no parameter"),
        ("pinball@1", "'1' is no parameter"),
        ("os.path:", "is no function's name"),
        ("a b:c", "is no function's name"),
        ("a:b:c", "is no function's name"),
        ("", "there is no metric ''"),
    ],
)
def test_a_name_that_means_nothing_is_refused_with_the_nearest_right_one(name, says):
    with pytest.raises(ValueError, match="(?s)" + says.replace("?", r"\?")):
        parse(name)


def test_direction_and_problems_are_those_of_the_metric_whatever_its_parameter():
    assert kind("precision@top10") is METRICS["precision"]
    assert (kind("pinball@0.1").sign, kind("f1@0.2").sign) == (-1, 1)
    assert "pinball" in fitting("regression")
    assert "pinball" not in fitting("binary")


def test_reading_a_name_imports_neither_numpy_nor_the_users_module():
    code = (
        "import sys; from kfp_ratchet.components.gate.metric_kinds import parse; parse('antigravity:fly');"
        "print([name for name in ('numpy', 'scipy', 'polars', 'antigravity') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"

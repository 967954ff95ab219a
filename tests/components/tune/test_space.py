import json
import subprocess
import sys

import pytest

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.tune.space import defaults, parse_space


def test_a_space_is_read():
    text = {
        "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True, "default": 1e-3},
        "hidden": {"type": "int", "low": 32, "high": 256, "step": 32},
        "activation": {"type": "categorical", "choices": ["relu", "gelu"]},
    }
    space = parse_space(json.dumps(text))
    assert list(space) == list(text) and defaults(space) == {"learning_rate": 1e-3}
    assert parse_space("") == {} == parse_space("{}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "search_space is not JSON"),
        ("[]", "search_space"),
        ('{"a":{"type":"float","low":1}}', r"search_space\.a\.float\.high"),
        ('{"a":{"type":"float","low":2,"high":1}}', "low 2 is above high 1"),
        ('{"a":{"type":"float","low":0,"high":1,"log":true}}', "low must be above 0"),
        ('{"a":{"type":"float","low":1,"high":2,"log":true,"step":1}}', "log and step exclude each other"),
        ('{"a":{"type":"int","low":1,"high":2,"default":3}}', r"default 3 is outside \[1, 2\]"),
        ('{"a":{"type":"int","low":1,"high":2,"lg":true}}', r"search_space\.a\.int\.lg"),
        ('{"a":{"type":"categorical","choices":[]}}', r"search_space\.a\.categorical\.choices"),
        ('{"a":{"type":"categorical","choices":["x"],"default":"y"}}', "'y' is not one of the choices"),
        ('{"a":{"type":"loat","low":1,"high":2}}', r"search_space\.a"),
    ],
)
def test_what_is_wrong_with_a_space_is_named(text, message):
    with pytest.raises(InputError, match=message):
        parse_space(text)


def test_reading_a_space_and_tuning_nothing_import_nothing_heavy(tmp_path):
    code = (
        "import sys; from kfp_ratchet.components.tune.search import tune_workload\n"
        "import kfp_ratchet.components.tune.space\n"
        f"print(tune_workload('', '', 'tabular', '', '', '{{\"epochs\":2}}', '', 0, 0, 'auto', '', r'{tmp_path / 's'}', "
        f"'run/tune/study', r'{tmp_path / 'r'}'))\n"
        "print([name for name in ('torch', 'optuna', 'polars', 'mlflow', 'sklearn') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n")[:2] == ['{"epochs":2}', "[]"]

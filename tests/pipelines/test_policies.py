"""A policy is read from whatever someone has at hand, and a wrong one names the key."""

import pytest

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.policies import read_policy

WHOLE = "name: mine\nsource: data.csv\nschema: s.yaml\ncolumns: {target: y}\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("policy.yaml", "margin: 0.005\n"),
        ("policy.json", '{"margin": 0.005}'),
        ("ratchet.yaml", f"{WHOLE}policy:\n  margin: 0.005\n"),
    ],
)
def test_a_file_is_read(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_policy(str(tmp_path / name)).margin == 0.005


def test_json_text_is_read():
    assert read_policy(' {"margin": 0.005}').margin == 0.005


@pytest.mark.parametrize("section", ["", "policy:\n"])
def test_a_configuration_without_the_section_has_the_defaults(tmp_path, section):
    (tmp_path / "ratchet.yaml").write_text(WHOLE + section)
    assert read_policy(str(tmp_path / "ratchet.yaml")) == read_policy("{}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("margn: 0.005", r"policy.yaml: policy.margn is not a setting \(did you mean margin\?\)"),
        ("margin: 0.1\nmargin: 0.2", "policy.yaml:2: margin: given twice"),
        ("margin: .nan", "policy.yaml:1: margin: .nan is not a number"),
        ("- margin", "holds a list, not settings"),
        ("margin: -1", r"policy.yaml: policy.margin: .*greater than or equal to 0"),
    ],
)
def test_a_wrong_file_names_the_key(tmp_path, text, told):
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(InputError, match=told):
        read_policy(str(tmp_path / "policy.yaml"))


@pytest.mark.parametrize("given", ["", "nowhere.yaml", "margin=0.1"])
def test_what_is_no_file_and_no_json_is_said(given):
    with pytest.raises(InputError, match="there is no policy file"):
        read_policy(given)


def test_broken_json_is_said():
    with pytest.raises(InputError, match="policy is not JSON"):
        read_policy('{"margin": ')

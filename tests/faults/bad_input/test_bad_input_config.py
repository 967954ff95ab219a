"""Settings that are wrong, contradict each other, or are no settings at all."""

import pytest

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.parameters import parse_parameter
from kfp_ratchet.components.shared.window import Window
from kfp_ratchet.components.validate.settings import Checks
from kfp_ratchet.pipelines.config import load
from kfp_ratchet.pipelines.config_parameters import check_parameters

GOOD = """\
name: flights
source: data
schema: rows:Rows
columns:
  target: late
  id: flight
  time: when
"""


def fails(act):
    """The error's whole text; it must have a remedy."""
    with pytest.raises(InputError) as caught:
        act()
    assert caught.value.remedy
    return str(caught.value)


@pytest.fixture
def write(tmp_path):
    def file(text):
        path = tmp_path / "ratchet.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return file


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD + "  slices: [late]\n", "4: columns: slices names 'late', the target or id"),
        (GOOD + "  cluster: flight\n", "4: columns: cluster names 'flight', the target or id"),
        (GOOD + "  slices: [flight]\n", "4: columns: slices names 'flight', the target or id"),
        (GOOD.replace("id: flight", "id: late"), "4: columns: column 'late' has two roles"),
        (GOOD + "  ignore: [late]\n", "4: columns: column 'late' has two roles"),
        (GOOD + "  problem: regression\n  positive: 1\n", "4: columns: positive is of binary problems"),
        (GOOD.replace("target: late", "target: ''"), "4: columns: target is missing"),
        (GOOD + "window: {evaluate: 99999d}\n", "8: window.evaluate: '99999d' does not fit"),
        (GOOD + "window: {train: 12345w}\n", "8: window.train: '12345w' does not fit"),
        (GOOD + "window: {end: 9999-12}\n", "8: window.end: '9999-12' is too far from today"),
        (GOOD + "window: {end: 9999-12-31}\n", "8: window.end: '9999-12-31' is too far from today"),
        (GOOD + "window: {share: 0.3}\n", "8: window.share: rows are split by columns.time"),
        (GOOD.replace("  time: when\n", "") + "window: {train: 9d}\n", "7: window.train: columns.time names no column"),
        (GOOD.replace("  time: when\n", "") + "window: {end: 2024}\n", "7: window.end: "),
        (GOOD.replace("  time: when\n", "") + "checks: {max_age: 2d}\n", "7: checks.max_age: columns.time names no"),
        (
            GOOD + "checks: {max_quarantine_share: 0.5}\n",
            "8: checks: max_quarantine_share does nothing while on_failure",
        ),
        (GOOD + "checks: {rows_ratio: [2, 1]}\n", "8: checks: rows_ratio [2.0, 1.0] is not [least, most]"),
        (GOOD + "policy: {metric: rmse}\n", "8: policy.metric: rmse does not fit a binary target"),
        (GOOD + "policy: {floors: {rmse: 1}}\n", "8: policy.floors.rmse: rmse does not fit a binary target"),
        (GOOD + "policy: {floors: {roc: 1}}\n", "8: policy.floors: there is no metric 'roc'; did you mean 'roc_auc'?"),
        (GOOD + "policy: {floors: {roc_auc: 2}}\n", "8: policy.floors: no model can be shown to keep roc_auc = 2"),
        (GOOD + "policy: {margin: 5}\n", "8: policy.margin: roc_auc lies between 0 and 1"),
        (GOOD + "polcy: {}\n", "8: polcy: unknown key, did you mean 'policy'?"),
        (GOOD.replace("data", "''"), "2: source: must not be empty"),
        (GOOD.replace("data", "'  '"), "2: source: must not be blank"),
        (GOOD.replace("data", "{}"), "2: source: names no table"),
        (GOOD.replace("data", "[a]"), "2: source: must be text or a mapping"),
        (GOOD + 'store: "a\\0b"\n', "8: store: must not be blank, nor hold a null character"),
        (GOOD.replace("rows:Rows", "{rows: 'a:B', wether: 'a:B'}"), "3: schema: source has no table 'wether'"),
        (GOOD.replace("rows:Rows", "x" * 5000), "3: schema: the file 'xxx"),
        (GOOD.replace("rows:Rows", "."), "3: schema: the file '.' does not exist"),
        (GOOD.replace("late", '"\\ud800"'), "5: half a character"),
        (GOOD + "parameters: {rate: .nan}\n", "8: parameters.rate: .nan is not a number one can compare with"),
        (GOOD + "seed: " + "9" * 5000 + "\n", "8: Exceeds the limit"),
    ],
)
def test_a_setting_that_cannot_be_names_its_line(write, text, told):
    assert f"ratchet.yaml:{told}" in fails(lambda: load(write(text)))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD.encode() + "# Zürich".encode("latin-1"), "ratchet.yaml:8: the text is not UTF-8"),
        (GOOD.encode("utf-16"), "ratchet.yaml:1: the text is not UTF-8"),
        (GOOD.replace("  target", "\ttarget"), "ratchet.yaml:5: a tab in the indentation"),
        (GOOD + "name: other\n", "ratchet.yaml:8: name: given twice, first in line 1"),
        ("- a\n- b\n", "ratchet.yaml holds a list, not settings"),
        ("flights", "ratchet.yaml holds a str, not settings"),
        ("", "ratchet.yaml is empty"),
        (GOOD + "---\n" + GOOD, "ratchet.yaml:8: but found another document"),
        (GOOD + "# " + "x" * 10_000_000, "has 10,000,097 bytes, too many for a configuration"),
        (GOOD + "  ignore: [" + "a," * 5_000_000 + "]", "too many for a configuration"),
        (GOOD + "parameters: " + "[" * 5000, "ratchet.yaml is nested too deeply"),
        (GOOD + "parameters: " + "{a: " * 5000, "ratchet.yaml is nested too deeply"),
        ("a: &a [1,1]\n" + "".join(f"{x}: &{x} [*{y},*{y},*{y},*{y},*{y},*{y}]\n" for y, x in zip("abcdefgh", "bcdefghi", strict=True)),
         "too deep or too long for a configuration"),
        (GOOD + "x: !!python/object/apply:os.system [false]\n", "ratchet.yaml:8: the tag "),
        (GOOD + "store: a\0b\n", "special characters are not allowed"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_configuration_is_told_soon(write, text, told):
    assert told in fails(lambda: load(write(text)))


def test_a_link_to_itself_is_told(tmp_path):
    (tmp_path / "ratchet.yaml").symlink_to("ratchet.yaml")
    assert "cannot be read: Too many levels of symbolic links" in fails(lambda: load(tmp_path / "ratchet.yaml"))


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"columns": '{"target":"late","slices":["late"]}'}, "columns: slices names 'late', the target or id"),
        ({"window": '{"end":"9999-12-31"}'}, "window.end: '9999-12-31' is too far from today"),
        ({"window": '{"share":NaN}'}, "window is not JSON: NaN is not a finite number"),
        ({"as_of": "9999-12"}, "as_of: '9999-12' is too far from today"),
        ({"columns": "[" * 100_000}, "columns is not JSON: nested too deeply"),
        ({"source": " "}, "source: must not be blank"),
        (
            {"columns": '{"target":"late"}', "policy": "{}", "window": '{"train":"9d"}'},
            "window.train: columns.time names",
        ),
    ],
)
def test_a_parameter_that_cannot_be_is_told_before_a_step(parameters, told):
    assert told in fails(lambda: check_parameters(parameters))


@pytest.mark.parametrize(
    ("model", "text", "told"),
    [
        (
            Window,
            '{"evaluate": "99999d"}',
            "p.evaluate: '99999d' does not fit: Length, of up to four digits, of the evaluation window",
        ),
        (Columns, "[" * 100_000, "p is not JSON: nested too deeply"),
        (Columns, '{"target": "a", "weight": "a"}', "column 'a' has two roles"),
        (Columns, "[]", "p: Input should be a valid dictionary"),
        (Checks, '{"leakage": Infinity}', "p is not JSON: Infinity is not a finite number"),
    ],
)
def test_a_step_used_alone_tells_what_is_wrong_with_its_parameter(model, text, told):
    assert told in fails(lambda: parse_parameter(model, text, "p"))


def test_a_schema_in_a_folder_of_odd_names_is_found(tmp_path):
    folder = tmp_path / "my [project] *ü"
    folder.mkdir()
    (folder / "schema [1].yaml").write_text("columns: {late: {dtype: Int64}}")
    (folder / "ratchet.yaml").write_text(GOOD.replace("rows:Rows", '"schema [1].yaml"'))
    assert "Int64" in str(load(folder / "ratchet.yaml").parameters()["schema"])

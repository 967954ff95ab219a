"""Reading `ratchet.yaml`: what is accepted, what is refused, and what becomes of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.window import Window
from kfp_ratchet.pipelines.config import PARAMETERS, Config, load
from kfp_ratchet.pipelines.config_parameters import check_parameters
from kfp_ratchet.pipelines.config_yaml import read_yaml

SMALLEST = "name: flights\nsource: data\nschema: rows:Rows\ncolumns:\n  target: late\n"


@pytest.fixture
def write(tmp_path: Path):
    def write_file(text: str, name: str = "ratchet.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def problems(path: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        load(path)
    return [line.removeprefix(f"{path}:") for line in caught.value.message.splitlines()]


def test_the_smallest_file_gives_exactly_the_pipelines_parameters(write):
    from kfp_ratchet.pipelines.continuous_training import DEFAULTS

    parameters = load(write(SMALLEST)).parameters()
    assert set(parameters) == set(DEFAULTS) == set(PARAMETERS)
    assert {name: type(value) for name, value in DEFAULTS.items()} == PARAMETERS
    assert {name: type(value) for name, value in parameters.items()} == PARAMETERS


def test_only_what_the_file_sets_travels_so_that_defaults_stay_the_packages(write):
    parameters = load(write(SMALLEST + "  time: at\nwindow:\n  train: 90d\npolicy:\n")).parameters()
    assert parameters["window"] == '{"train":"90d"}'
    assert parameters["policy"] == "{}"
    assert parameters["columns"] == '{"target":"late","time":"at"}'


def test_parameters_hold_no_path_of_this_machine(write, tmp_path):
    write("columns: {}\n", "schema.yaml")
    config = load(write(SMALLEST.replace("rows:Rows", "schema.yaml") + "store: .ratchet/store\n"))
    assert str(tmp_path) not in json.dumps(config.parameters()) + config.recipe()


def test_order_of_tables_survives_as_the_first_is_the_main_one(write):
    text = "name: a\nsource: {zebra: z.csv, ant: a.csv}\nschema: 'a:B'\ncolumns: {target: t}\n"
    assert list(json.loads(load(write(text)).parameters()["source"])) == ["zebra", "ant"]


def test_schema_and_sql_files_are_embedded_as_text(write):
    write("columns:\n  ä: 1\n", "schema.yaml")
    write("SELECT * FROM flights", "rows.sql")
    config = load(
        write(
            "name: a\nsource: {flights: f, weather: w}\ncolumns: {target: t}\n"
            "schema: {flights: schema.yaml, weather: 'my.schemas:Weather'}\nprepare: {sql: rows.sql}\nworkload: mine:Model\n"
        )
    )
    assert json.loads(config.parameters()["schema"]) == {
        "flights": "columns:\n  ä: 1\n",
        "weather": "my.schemas:Weather",
    }
    assert json.loads(config.recipe()) == {"sql": "SELECT * FROM flights"}
    assert config.modules() == ["mine", "my.schemas"]


def test_sql_in_the_file_itself_is_taken_as_it_is(write):
    assert json.loads(load(write(SMALLEST + "prepare:\n  sql: SELECT 1 AS a\n")).recipe()) == {"sql": "SELECT 1 AS a"}
    assert load(write(SMALLEST)).recipe() == ""


def test_on_and_no_are_keys_and_dates_are_text(write):
    path = write(
        SMALLEST
        + "  time: at\nnotifications:\n  on: [rejected]\nwindow:\n  end: 2013-06-30\nparameters: {lr: 1e-3, layers: 010, no: no}\n"
    )
    config = load(path)
    assert config.notifications.on == ("rejected",)
    assert config.window.end == "2013-06-30"
    assert config.hyperparameters == {"lr": 0.001, "layers": 10, "no": "no"}


def test_every_problem_is_told_at_once_with_its_line(write):
    path = write(
        "name: Flights 2013\nsource: data\nschema: a:B\ntargets: late\ncolumns:\n  target: late\npolicy:\n  margn: 0.1\n"
        "window:\n  train: 3 months\ntrials: '3'\nseed: true\n"
    )
    found = problems(path)
    assert [line.split(":")[0] for line in found] == ["1", "4", "8", "10", "11", "12"]
    assert found[2] == "8: policy.margn: unknown key, did you mean 'margin'?"
    assert "lower case letters" in found[0]
    assert "trials: must be a whole number" in found[4]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\nname: b\n", "2: name: given twice, first in line 1"),
        (SMALLEST + "target: late\n", "6: target: unknown key, did you mean 'columns.target'?"),
        ("source: data\ncolumns: {target: t}\n", "1: name: is missing; name of the model"),
        ("name: a\nsource: data\ncolumns: {id: t}\n", "3: columns: target is missing"),
        ("name: a\nsource: 3\ncolumns: {target: t}\n", "2: source: must be text or a mapping"),
        ("name: a\nsource: {}\ncolumns: {target: t}\n", "2: source: names no table"),
        ("name: a\nsource: {a: 3}\ncolumns: {target: t}\n", "2: source.a: must be text"),
        (SMALLEST + "policy: {margin: .nan}\n", "6: policy.margin: .nan is not a number"),
        (SMALLEST + "policy: {margin: -.inf}\n", "6: policy.margin: -.inf is not a number"),
        (SMALLEST + "policy: {margin: 1e999}\n", "6: policy.margin: 1e999 is not a number"),
        (SMALLEST + "policy: {margin: nan}\n", "6: policy.margin: must be a number"),
        (SMALLEST + "policy: {metric: rmse}\n", "6: policy.metric: rmse does not fit a binary target"),
        (SMALLEST.replace("rows:Rows", "schma.yaml"), "3: schema: the file 'schma.yaml' does not exist"),
        (SMALLEST.replace("rows:Rows", "{rows: 'a:B', weather: 'a:B'}"), "3: schema: source has no table 'weather'"),
        (SMALLEST + "prepare: {sql: a b, function: 'a:b'}\n", "6: prepare: give either sql or function"),
        (SMALLEST + "prepare: {sql: rows.sql}\n", "6: prepare: the file 'rows.sql' does not exist"),
        (SMALLEST + "workload: tabluar\n", "did you mean 'tabular'?"),
        (SMALLEST + "device: gpu\n", "6: device: 'gpu' does not fit; auto, cpu, cuda or cuda:N."),
        (SMALLEST.replace("schema: rows:Rows\n", ""), "1: schema: is missing; what rows must look like"),
        (
            SMALLEST.replace("schema: rows:Rows\n", ""),
            "Run `ratchet data draft-schema`, review what it writes, and set it",
        ),
        (SMALLEST.replace("rows:Rows", "''"), "3: schema: the file '' does not exist"),
        (
            SMALLEST.replace("rows:Rows", "{}"),
            "3: schema: the main table 'rows' has none; run `ratchet data draft-schema`",
        ),
        (SMALLEST + "checks: {rows_ratio: [2.0]}\n", "6: checks.rows_ratio[1]: is missing; least and most rows, as"),
        (SMALLEST + "window: {evaluate: 14 days}\n", "end of the data, e.g. 14d"),
        (SMALLEST + "store: ''\n", "6: store: must not be empty"),
        (SMALLEST + "policy: {slices: {margin: 0.1}}\n", "6: policy.slices: columns.slices names no column"),
        (SMALLEST + "policy: {min_clusters: 20}\n", "6: policy.min_clusters: columns.cluster names no column"),
        (SMALLEST + "policy: {preset: fresh, margin: 0.1}\n", "6: policy: margin is of the preset strict"),
        (SMALLEST + "columns2: 1\n", "did you mean 'columns'?"),
        (SMALLEST + "window:\n  end: tomorrow\n", "7: window.end"),
        (
            SMALLEST + "search_space: {lr: {type: floot}}\n",
            "6: search_space.lr: type is 'floot'; it must be one of 'float'",
        ),
        (SMALLEST + "search_space: {lr: {low: 1}}\n", "6: search_space.lr: type is missing"),
        (SMALLEST + "checks: {rows_ratio: [1, 2, 3]}\n", "6: checks.rows_ratio: must have at most 2 items"),
        ("name: a\n\tsource: b\n", "2: a tab in the indentation; indent with spaces"),
        ("a: &x [*x]\n", "1: too deep"),
        (
            "a: !!python/object/apply:os.system [ls]\n",
            "1: the tag 'tag:yaml.org,2002:python/object/apply:os.system' means nothing",
        ),
        ("name: a\n---\nname: b\n", "another document"),
    ],
)
def test_a_mistake_names_its_line_and_the_way_out(write, text, expected):
    assert expected in "\n".join(problems(write(text)))


def test_one_mistake_inside_a_choice_of_forms_is_one_problem(write):
    text = "name: a\nsource: {a: 3}\nschema: a:B\ncolumns: {target: t}\nsearch_space: {lr: {type: float, low: 0, hihg: 1}}\n"
    found = problems(write(text))
    assert [line.split(": ")[1] for line in found] == ["source.a", "search_space.lr.high", "search_space.lr.hihg"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"# nothing\n", "is empty"),
        (b"- a\n", "holds a list"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"a: \x01", "special characters"),
    ],
)
def test_a_file_that_is_no_configuration_is_an_input_error(tmp_path, content, expected):
    path = tmp_path / "ratchet.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=expected):
        load(path)


def test_a_missing_file_tells_how_to_make_one(tmp_path):
    with pytest.raises(InputError, match="ratchet init"):
        load(tmp_path / "ratchet.yaml")


@pytest.mark.parametrize(
    "line",
    [
        "tracking_uri: postgresql://me:hunter2@db/mlflow",
        "store: s3://bucket?secret_key=hunter2",
        "source: https://hunter2@host/a.csv",
    ],
)
def test_a_uri_with_credentials_is_refused_and_not_repeated(write, line):
    text = (
        SMALLEST.replace("source: data\n", "") + ("" if line.startswith("source") else "source: data\n") + line + "\n"
    )
    (problem,) = problems(write(text))
    assert "environment" in problem
    assert "hunter2" not in problem


def test_an_alias_bomb_ends(write):
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    assert "too long" in problems(write("a0: &a0 [x]\n" + levels))[0]


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(codec="ascii", min_codepoint=32)),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcno", min_size=1), inner, max_size=3),
        max_leaves=8,
    )
)
def test_what_json_writes_yaml_reads_back(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("yaml") / "a.yaml"
    path.write_text(json.dumps({"value": value}))
    assert read_yaml(path).value == {"value": value}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"policy": '{"margn": 1}'}, "policy.margn: unknown key, did you mean 'margin'?"),
        ({"policy": "margin: 1"}, "policy is not JSON"),
        ({"policy": "[1]"}, "policy: must be a mapping"),
        ({"columns": "{}"}, "columns: target is missing"),
        ({"columns": '{"target": "y", "problm": "binary"}'}, "columns.problm: unknown key, did you mean 'problem'?"),
        ({"window": '{"evaluate": "14 days"}'}, "window.evaluate: '14 days' does not fit; length, of .* e.g. 14d"),
        ({"checks": '{"rows_ratio": [2.0]}'}, r"checks.rows_ratio\[1\]: is missing; least and most"),
        ({"search_space": '{"lr": {"type": "floot"}}'}, "search_space.lr: type is 'floot'"),
        (
            {"search_space": '{"lr": {"type": "float", "low": 0, "hihg": 1}}'},
            "lr.hihg: unknown key, did you mean 'high'",
        ),
        ({"parameters": "[1]"}, "parameters: must be a mapping"),
        ({"serving": '{"prt": 1}'}, "serving.prt: unknown key, did you mean 'port'?"),
        ({"notifications": '{"on": ["rejectd"]}'}, r"notifications.on\[0\]: must be .*'rejected'"),
        ({"as_of": "tomorrow"}, "as_of: 'tomorrow' is not an ISO month, date or time"),
        ({"trials": -1}, "trials: must be greater"),
        ({"seed": 2**32}, "seed: must be less"),
        ({"seed": -1}, "seed: must be greater"),
        ({"device": "gpu"}, "device: 'gpu' does not fit; auto, cpu"),
        ({"workload": "tabluar"}, "workload: .* did you mean 'tabular'?"),
        ({"model_name": "My Model"}, "model_name: .* lower case"),
        ({"source": ""}, "source: must not be empty"),
        ({"source": '{"a": "a.csv", "b": 3}'}, "source.b: must be text"),
        ({"source": "https://hunter2@host/a.csv"}, "source: the URI holds a user or token"),
        ({"source": '{"a": "s3://bucket?secret_key=hunter2"}'}, "source: the URI holds a secret"),
        ({"store": "s3://bucket?token=hunter2"}, "store: the URI holds a secret"),
        ({"tracking_uri": "postgresql://me:hunter2@db/mlflow"}, "tracking_uri: the URI holds a password"),
        ({"polcy": "{}"}, "polcy: unknown key, did you mean 'policy'?"),
        ({"columns": '{"target": "y"}', "policy": '{"metric": "rmse"}'}, "policy.metric: rmse does not fit a binary"),
        ({"trials": -1, "policy": '{"margn": 1}'}, "policy.margn: unknown.*\n.*trials: must be|trials.*\npolicy.margn"),
    ],
)
def test_a_parameter_given_at_the_start_of_a_run_is_held_to_the_files_rules(given, expected):
    with pytest.raises(InputError, match=expected) as caught:
        check_parameters(given)
    assert "hunter2" not in str(caught.value)


def test_parameters_that_a_run_can_start_with_pass(write):
    from kfp_ratchet.pipelines.continuous_training import DEFAULTS

    config = load(
        write(
            SMALLEST.replace("late", "late\n  slices: [a]") + "search_space: {a: {type: categorical, choices: [1]}}\n"
        )
    )
    check_parameters(config.parameters())
    check_parameters(
        {"source": '{"a": "a.csv"}', "as_of": "2013-06", "device": "cuda:1", "policy": "", "seed": 2**32 - 1}
    )
    check_parameters(
        {name: DEFAULTS[name] for name in ("as_of", "window", "checks", "policy", "search_space", "trials")}
    )


def test_examples_in_the_reference_are_valid(write):
    write("columns: {}\n", "schema.yaml")
    write("SELECT 1", "rows.sql")
    examples = {
        field.alias or name: example
        for name, field in Config.model_fields.items()
        for example in (field.examples or [])[:1]
    }
    assert set(examples) == {field.alias or name for name, field in Config.model_fields.items()}
    assert load(write(yaml.safe_dump(examples, sort_keys=False))).window == Window(train="90d", evaluate="14d")


def test_generated_pages_are_fresh():
    from kfp_ratchet.pipelines.component_docs import stale

    root = Path(__file__).resolve().parents[2]
    assert stale(root) == [], "run `make docs`"


def test_every_key_is_described_in_the_reference():
    from kfp_ratchet.pipelines.config_docs import document

    rows = [line for line in document(Config).splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    assert [row for row in rows if row.endswith("|  |")] == []


def test_reading_a_configuration_imports_nothing_heavy():
    heavy = ["kfp", "polars", "pandera", "pandas", "torch", "mlflow", "sklearn", "scipy", "optuna", "apprise", "numpy"]
    code = f"import sys, kfp_ratchet.pipelines.config; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_parameter_holds_a_line_break(write):
    """KFP writes defaults into the comments on top of the YAML, which a line break ends: the YAML cannot be read."""
    write("# a comment\ncolumns:\n  y:\n    dtype: Int64\n", "schema.yaml")
    config = load(write(SMALLEST.replace("rows:Rows", "schema.yaml") + ""))
    assert not [name for name, value in config.parameters().items() if "\n" in str(value)]

"""Validation as a step: who passes, who does not, and what is said about it."""

import json
from datetime import datetime, timedelta

import polars as pl
import pytest

from kfp_ratchet.components.shared.dataset import Dataset, read_main, scan_table, write_table
from kfp_ratchet.components.shared.errors import BlockedError, InputError, RatchetError
from kfp_ratchet.components.shared.journal import read_run
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.components.validate.validation import validate_dataset

SCHEMA = {
    "columns": {
        "id": {"dtype": "Int64"},
        "n": {"dtype": "Int64", "ge": 0},
        "s": {"dtype": "String", "isin": ["a", "b"]},
    }
}
ROLES = {"id": "id"}


def rows(count=200, **changes):
    columns = {"id": list(range(count)), "n": [5] * count, "s": ["a"] * count}
    return pl.DataFrame(columns).with_columns(**{name: pl.Series(values) for name, values in changes.items()})


def replace(values, at, value):
    return [value if index in at else old for index, old in enumerate(values)]


class Step:
    def __init__(self, root):
        self.root = root
        self.store = Store(str(root / "store"))

    def __call__(self, tables, schema=SCHEMA, checks=None, columns=ROLES, window=None, baseline_rows=0):
        tables = tables if isinstance(tables, dict) else {"rows": tables}
        raw, step = self.root / "run-1" / "ingest" / "dataset", self.root / "run-1" / "validate"
        step.mkdir(parents=True, exist_ok=True)
        written = {name: write_table(table, raw, name) for name, table in tables.items()}
        Dataset(revision="sha256:1", source="x", tables=written).write(raw)
        accepted = step / "accepted"
        validate_dataset(
            str(raw), str(raw), schema if isinstance(schema, str) else json.dumps(schema), json.dumps(checks or {}),
            json.dumps(columns), json.dumps(window or {}), baseline_rows, str(self.root / "store"),
            str(accepted), str(accepted), str(step / "report.html"),
        )  # fmt: skip
        return read_main(accepted)

    @property
    def details(self):
        return read_run(self.store, "run-1")["validate"].details

    @property
    def report(self):
        return (self.root / "run-1" / "validate" / "report.html").read_text()

    def blocked(self, *arguments, **parameters):
        with pytest.raises(BlockedError) as caught:
            self(*arguments, **parameters)
        return str(caught.value)


@pytest.fixture
def step(tmp_path):
    return Step(tmp_path)


def outcome(step, name):
    return next(check["outcome"] for check in step.details["checks"] if check["name"] == name)


def test_good_rows_pass_as_they_are(step):
    assert step(rows()).equals(rows())
    assert step.details["tables"] == {"rows": {"rows": 200, "accepted": 200, "quarantined": 0}}
    assert read_run(step.store, "run-1")["validate"].inputs["dataset"].step == "ingest"


def test_an_environment_cannot_switch_validation_off(step, monkeypatch):
    import pandera.config

    monkeypatch.setattr(pandera.config.CONFIG, "validation_enabled", False)
    monkeypatch.setattr(pandera.config.CONFIG, "validation_depth", pandera.config.ValidationDepth.SCHEMA_ONLY)
    assert "greater_than_or_equal_to(0) fails for 1 row" in step.blocked(rows(n=replace([5] * 200, {3}, -1)))


def test_all_failures_are_found_at_once_and_blocking_keeps_them(step):
    bad = rows(
        n=replace([5] * 200, {3, 4}, -1), s=replace(["a"] * 200, {3}, "z"), id=replace(list(range(200)), {9}, None)
    )
    message = step.blocked(bad)
    assert "column 'n' of 'rows': greater_than_or_equal_to(0) fails for 2 rows (1.00%), e.g. -1" in message
    found = {(failure["column"], failure["check"]): failure for failure in step.details["failures"]}
    assert {key: failure["count"] for key, failure in found.items()} == {
        ("n", "greater_than_or_equal_to(0)"): 2,
        ("s", "isin(['a', 'b'])"): 1,
        ("id", "not_nullable"): 1,
    }
    assert found["n", "greater_than_or_equal_to(0)"]["examples"][0] == {"id": 3, "n": -1, "s": "z"}
    assert step.details["tables"]["rows"]["accepted"] == 0
    record = read_run(step.store, "run-1")["validate"]
    assert (record.state, record.error.kind) == ("failed", "blocked")


def test_quarantined_rows_are_left_out_counted_and_told(step):
    accepted = step(rows(n=replace([5] * 200, {3, 4}, -1)), checks={"on_failure": "quarantine"})
    assert accepted["id"].to_list() == [key for key in range(200) if key not in (3, 4)]
    assert step.details["tables"]["rows"] == {"rows": 200, "accepted": 198, "quarantined": 2}
    assert step.details["failures"][0]["count"] == 2


def test_more_rows_than_allowed_are_never_quarantined(step):
    message = step.blocked(rows(n=replace([5] * 200, {1, 2, 3}, -1)), checks={"on_failure": "quarantine"})
    assert "fails for 3 rows (1.50%)" in message
    assert "at most 1.00%" in step.report


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (rows().drop("n"), "column 'n' of 'rows': it is missing (has: id, s)"),
        (rows(n=["x"] * 200), "column 'n' of 'rows': its type should be Int64, and is String"),
        (rows().head(0), "table 'rows' has no rows"),
    ],
)
def test_a_broken_table_blocks_even_when_rows_would_be_quarantined(step, table, told):
    assert told in step.blocked(table, checks={"on_failure": "quarantine", "max_quarantine_share": 0.9})


def test_a_broken_column_does_not_hide_what_is_wrong_with_another(step):
    message = step.blocked(rows(n=["x"] * 200, s=["z"] * 200))
    assert "its type should be Int64" in message
    assert "isin(['a', 'b']) fails for 200 rows" in message


def test_a_check_of_the_whole_table_beside_one_of_rows_does_not_crash(step, tmp_path, monkeypatch):
    (tmp_path / "wide_schema.py").write_text(
        "import pandera.polars as pa, polars as pl\n"
        "def enough(data): return data.lazyframe.select(pl.len()).collect().item() > 1000\n"
        "def raises(data): raise KeyError('oh')\n"
        "def ordered(data): return data.lazyframe.select(pl.col('n') >= pl.col('id'))\n"
        "S = pa.DataFrameSchema({'n': pa.Column(pl.Int64, [pa.Check(enough, name='enough'), pa.Check.ge(0)]),\n"
        "  's': pa.Column(pl.String, pa.Check.isin(['a']))}, checks=[])\n"
        "T = pa.DataFrameSchema({'n': pa.Column(pl.Int64)}, checks=[pa.Check(raises, name='raises'), pa.Check(ordered, name='ordered')])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    step.blocked(rows(s=["z"] * 200, n=replace([5] * 200, {3}, -1)), schema="wide_schema:S")
    assert {(f["column"], f["check"], f["count"]) for f in step.details["failures"]} == {
        ("n", "enough", 0), ("n", "greater_than_or_equal_to(0)", 1), ("s", "isin(['a'])", 200),
    }  # fmt: skip
    step.blocked(rows(), schema="wide_schema:T")
    assert [(f["check"], f["count"]) for f in step.details["failures"]] == [("raises", 0), ("ordered", 194)]


def test_unique_together_is_about_rows(step):
    schema = {**SCHEMA, "unique": ["id", "s"]}
    step.blocked(rows(id=replace(list(range(200)), {0}, 7)), schema=schema, columns={})
    (failure,) = step.details["failures"]
    assert (failure["column"], failure["check"], failure["count"]) == ("id, s", "unique", 2)


def test_a_missing_unique_column_is_not_passed_over(step):
    assert "column 'k' of 'rows': it should be unique, and is missing" in step.blocked(
        rows(), schema={**SCHEMA, "unique": "k"}
    )


def test_repeated_ids_fail_without_being_asked_for(step):
    twice = rows(id=replace(list(range(200)), {0}, 7))
    assert "column 'id' of 'rows': unique fails for 2 rows (1.00%), e.g. 7" in step.blocked(twice)
    assert step(twice, checks={"unique": []}, columns={}).height == 200
    assert "lacks" in step.blocked(rows(), checks={"unique": ["nope"]})


def test_coercion_changes_what_passes_and_a_value_it_cannot_change_blocks(step):
    schema = {"columns": {"n": {"dtype": "Int64", "coerce": True, "ge": 0}, "id": {"dtype": "Float64", "coerce": True}}}
    assert step(rows(n=["5"] * 200), schema=schema).schema["n"] == pl.Int64
    message = step.blocked(rows(n=replace(["5"] * 200, {3}, "x")), schema=schema, checks={"on_failure": "quarantine"})
    assert "column 'n' of 'rows': 1 value cannot be coerced, e.g. 'x'" in message
    assert len(step.details["failures"]) == 1


def test_a_side_table_is_held_to_its_own_schema_or_copied(step):
    tables = {"rows": rows(), "side": pl.DataFrame({"k": [1, -1]})}
    step(tables)
    assert scan_table(step.root / "run-1" / "validate" / "accepted", "side").collect().equals(tables["side"])
    schema = {"rows": SCHEMA, "side": {"columns": {"k": {"dtype": "Int64", "ge": 0}}}}
    assert "column 'k' of 'side'" in step.blocked(tables, schema=schema)


def test_a_text_that_is_no_time_fails(step):
    at = replace(["2013-01-01"] * 200, {3}, "noon")
    message = step.blocked(rows(at=at), columns={"id": "id", "time": "at"})
    assert "column 'at' of 'rows': is an ISO date or time fails for 1 row (0.50%), e.g. noon" in message


def test_a_feature_that_knows_the_answer_blocks(step):
    late = [key % 3 == 0 for key in range(200)]
    table = rows(late=late, arrived=[20.0 + key if bad else key / 100 for key, bad in enumerate(late)])
    roles = {"id": "id", "target": "late"}
    assert "'arrived' alone has AUC 1.0000 for 'late'" in step.blocked(table, columns=roles)
    step(table, columns={**roles, "ignore": ["arrived"]})
    step(table, columns=roles, checks={"leakage": None})


def test_too_few_or_too_many_rows_block(step):
    checks = {"rows_ratio": [0.5, 2.0]}
    step(rows(), checks=checks, baseline_rows=0)
    assert outcome(step, "rows ratio") == "unknown"
    step(rows(), checks=checks, baseline_rows=400)
    assert outcome(step, "rows ratio") == "pass"
    assert "200 rows after 401 in the last" in step.blocked(rows(), checks=checks, baseline_rows=401)
    assert "50 to 198 are allowed" in step.blocked(rows(), checks=checks, baseline_rows=99)


def test_old_data_blocks(step):
    table = rows(at=[datetime(2013, 1, 1) + timedelta(hours=hour) for hour in range(200)])
    roles = {"id": "id", "time": "at"}
    step(table, columns=roles, checks={"max_age": "2d"}, window={"end": "2013-01-10"})
    assert "the newest row is of 2013-01-09" in step.blocked(
        table, columns=roles, checks={"max_age": "2d"}, window={"end": "2013-01-11"}
    )
    assert "set as_of" in step.blocked(table, columns=roles, checks={"max_age": "2d"})


def test_the_same_id_in_training_and_evaluation_blocks(step):
    table = rows(
        id=[key % 100 for key in range(200)], at=[datetime(2013, 1, 1) + timedelta(days=day) for day in range(200)]
    )
    message = step.blocked(table, columns={"id": "id", "time": "at"}, checks={"unique": []}, window={"evaluate": "30d"})
    assert "id overlap: training and evaluation rows share 30 values of 'id', e.g. " in message


@pytest.mark.parametrize(
    ("checks", "told"),
    [
        ({"on_fail": "block"}, "checks.on_fail is not a setting"),
        ({"on_failure": "ignore"}, "checks.on_failure"),
        ({"rows_ratio": [2, 1]}, "is not [least, most]"),
        ({"max_age": "soon"}, "checks.max_age"),
    ],
)
def test_checks_that_cannot_be_read_are_bad_input(step, checks, told):
    with pytest.raises(InputError) as caught:
        step(rows(), checks=checks)
    assert told in str(caught.value)


def test_no_schema_is_never_guessed(step):
    with pytest.raises(InputError, match="ratchet data draft-schema"):
        step(rows(), schema="")


def test_odd_values_are_shown_and_nothing_in_them_becomes_html(step):
    evil = "<script>alert(1)</script>"
    table = rows(s=replace(["a"] * 200, {3}, evil), f=replace([0.5] * 200, {3}, float("nan")), b=[b"\xff"] * 200)
    step.blocked(table)
    assert evil not in step.report
    assert "&lt;script&gt;" in step.report
    assert step.details["failures"][0]["examples"][0]["f"] == "nan"


def test_examples_stay_small(step):
    wide = rows(s=["z" * 10_000] * 200, **{f"x{index}": [0] * 200 for index in range(100)})
    step.blocked(wide, checks={"examples": 2})
    (failure,) = step.details["failures"]
    assert failure["count"] == 200
    assert len(failure["examples"]) == 2
    assert len(json.dumps(failure)) < 2000


def test_a_row_in_the_future_is_named_instead_of_moving_the_window(tmp_path):
    """CSV has no footer that pin could check: one mistyped year and no real row was left to judge on."""
    step, roles = Step(tmp_path), {"id": "id", "time": "at"}
    at = replace([datetime(2013, 1, 1)] * 200, {0}, datetime(2113, 1, 1))
    with pytest.raises(BlockedError, match="is not in the future"):
        step(rows(at=at), columns=roles)
    assert step(rows(at=at), columns=roles, window={"end": "2020-01-01"}).height == 200


TARGET = {"id": "id", "target": "late"}
LATE = [key % 3 == 0 for key in range(200)]


def test_a_row_without_a_label_fails_like_any_other_unless_the_schema_allows_it(step):
    """Evaluation refused it, after tuning and training; but a recipe may leave such rows out."""
    allowed = {"columns": {**SCHEMA["columns"], "late": {"dtype": "Boolean", "nullable": True}}}
    schema = {"columns": {**SCHEMA["columns"], "late": {"dtype": "Boolean"}}}
    table = rows(late=replace(LATE, {5, 7}, None))
    message = step.blocked(table, schema=schema, columns=TARGET)
    assert "column 'late' of 'rows': has a label fails for 2 rows (1.00%)" in message
    assert "leave rows whose outcome is not known yet out of the source" in message
    assert [failure["check"] for failure in step.details["failures"]] == ["has a label"]
    accepted = step(table, schema=schema, columns=TARGET, checks={"on_failure": "quarantine"})
    assert accepted.height == 198
    assert step(table, schema=allowed, columns=TARGET).height == 200


@pytest.mark.parametrize("missing", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_no_label(step, missing):
    table = rows(late=replace([float(key) for key in range(200)], {5}, missing))
    roles = {**TARGET, "problem": "regression", "ignore": ["n"]}
    assert "has a label fails for 1 row (0.50%)" in step.blocked(table, columns=roles)


@pytest.mark.parametrize(
    ("late", "problem", "told"),
    [
        ([True] * 200, "binary", "holds only 'true' in 200 rows; a classifier needs two classes"),
        (["x"] * 200, "multiclass", "holds only 'x' in 200 rows"),
        (["x", "y", "z", "z"] * 50, "binary", "holds 3 values (x, y, z), but columns.problem is binary"),
        (["x", "y"] * 100, "regression", "holds 'x', which is not a number; set columns.problem to binary"),
    ],
)
def test_labels_that_are_not_those_of_the_problem_block(step, late, problem, told):
    message = step.blocked(rows(late=late), columns={**TARGET, "problem": problem}, checks={"on_failure": "quarantine"})
    assert f"target column 'late' {told}" in message
    assert "search_space" not in message


def test_a_positive_class_that_is_none_is_bad_input(step):
    with pytest.raises(InputError, match=r"columns\.positive is 'yes'"):
        step(rows(late=LATE), columns={**TARGET, "positive": "yes"})


def test_columns_that_prepare_may_make_are_not_missed(step):
    roles = {"id": "key", "target": "late", "time": "at", "weight": "worth", "slices": ["port"]}
    assert step(rows(), columns=roles).height == 200
    table = rows(at=[datetime(2013, 1, 1) + timedelta(days=day) for day in range(200)])
    step(table, columns={**roles, "id": "id"})
    assert outcome(step, "overlap") == "pass"


def test_a_single_row_is_told_in_the_singular(step):
    step(rows(n=replace([5] * 200, {3}, -1)), checks={"on_failure": "quarantine"})
    reason = next(check["reason"] for check in step.details["checks"] if check["name"] == "schema of rows")
    assert reason == "199 rows keep it, 1 is quarantined"
    step.blocked(rows(n=replace([5] * 200, {3}, -1)))
    reason = next(check["reason"] for check in step.details["checks"] if check["name"] == "schema of rows")
    assert reason == "1 row fails, and checks.on_failure is block"


def test_a_schema_module_that_exits_does_not_pass_for_a_success(step, tmp_path, monkeypatch):
    (tmp_path / "exiting_schema.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RatchetError, match=r"exiting_schema\.py, line 2, called sys\.exit\(0\)"):
        step(rows(), schema="exiting_schema:S")

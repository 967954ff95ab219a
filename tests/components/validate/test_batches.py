"""A table read in many small batches is judged as one that is read whole."""

import json
import sys
from contextlib import contextmanager
from types import ModuleType

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandera.backends.polars import builtin_checks

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.dataset import Dataset, scan_table, write_table
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.journal import read_run
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.components.validate import batches, duplicates, leakage, parts
from kfp_ratchet.components.validate.duplicates import duplicated
from kfp_ratchet.components.validate.parts import _BY_ROW, take_apart
from kfp_ratchet.components.validate.validation import validate_dataset

COLUMNS = {
    "id": (pl.Int64, st.none() | st.integers(0, 12)),
    "n": (pl.String, st.sampled_from(["1", "2", "3", "03", "-4", None, "x"])),
    "x": (pl.Float64, st.none() | st.sampled_from([0.0, -0.0, 1.5, 7.0, float("nan"), float("inf")])),
    "s": (pl.String, st.sampled_from(["a", "b", "c", None])),
    "y": (pl.Int64, st.sampled_from([0, 1, 1, 0, 2, None])),
    "at": (pl.String, st.sampled_from(["2013-01-01", "2013-01-09", "2013-01-20T05:00", "noon", "2999-01-01", None])),
}
TAME = {"n": "1", "x": 1.5, "s": "a", "at": "2013-01-01"}
OPTIONS = st.fixed_dictionaries(
    {
        "coerce": st.booleans(),
        "nullable": st.booleans(),
        "unique": st.sampled_from([None, "id", ["id", "s"]]),
        "alone": st.booleans(),
        "strict": st.sampled_from([False, True, "filter"]),
        "whole": st.booleans(),
        "of_table": st.booleans(),
        "absent": st.sampled_from([False, False, False, False, True]),
    }
)
POLICY = st.fixed_dictionaries(
    {
        "on_failure": st.sampled_from(["block", "quarantine", "quarantine", "quarantine"]),
        "unique": st.sampled_from([None, [], ["id"], ["s", "y"]]),
        "examples": st.integers(1, 3),
    }
)


@st.composite
def tables(draw):
    """Up to 15 rows; most columns hold nothing strange, so that rows get through to the later checks."""
    height = draw(st.integers(1, 15))
    wild = draw(st.sets(st.sampled_from(sorted(COLUMNS)), max_size=3))
    columns = {}
    for name, (dtype, values) in COLUMNS.items():
        if name in wild:
            cells = draw(st.lists(values, min_size=height, max_size=height))
        else:
            cells = [TAME.get(name, row % 2 if name == "y" else row) for row in range(height)]
        columns[name] = pl.Series(cells, dtype=dtype)
    return pl.DataFrame(columns)


def not_mostly_large(data):
    return data.lazyframe.select(pl.col(data.key).mean() < 5)


def no_less_than_before(data):
    return data.lazyframe.select((pl.col("id") >= pl.col("id").shift(1)).fill_null(True))


def schema_of(options):
    null = options["nullable"]
    columns = {
        "id": pa.Column(pl.Int64, pa.Check.le(11), nullable=null, unique=options["alone"]),
        "n": pa.Column(pl.Int64 if options["coerce"] else pl.String, coerce=options["coerce"], nullable=null),
        "x": pa.Column(pl.Float64, [pa.Check.ge(0), pa.Check.lt(7)], nullable=null),
        "s": pa.Column(pl.String, [pa.Check.isin(["a", "b"]), pa.Check(lambda s: s != "b", element_wise=True)], nullable=null),
        "y": pa.Column(pl.Int64, nullable=null),
    }  # fmt: skip
    if options["absent"]:
        columns["gone"] = pa.Column(pl.Int64)
    if options["strict"] != "filter":
        columns["at"] = pa.Column(pl.String, nullable=True)
    if options["whole"]:
        columns["s"].checks.append(pa.Check.unique_values_eq({"a"}))
        columns["x"].checks.append(pa.Check(not_mostly_large, name="not mostly large"))
    checks = [pa.Check(no_less_than_before, name="no less than before")] if options["of_table"] else []
    return pa.DataFrameSchema(columns, checks=checks, unique=options["unique"], strict=options["strict"])


@contextmanager
def batches_of(cells, suspects):
    """Everything that is done bit by bit is done in tiny bits."""
    before = batches.CELLS, duplicates._SUSPECTS, parts._PIECE
    batches.CELLS, duplicates._SUSPECTS, parts._PIECE = cells, suspects, 2
    try:
        yield
    finally:
        batches.CELLS, duplicates._SUSPECTS, parts._PIECE = before


def validated(root, table, schema, checks, roles, window):
    """Everything that can be seen of a validation: error, journal, report and accepted rows."""
    sys.modules["schema_of_test"] = ModuleType("schema_of_test")
    sys.modules["schema_of_test"].S = schema
    raw, step = root / "run-1" / "ingest" / "dataset", root / "run-1" / "validate"
    step.mkdir(parents=True)
    Dataset(revision="sha256:1", source="x", tables={"rows": write_table(table, raw, "rows")}).write(raw)
    accepted, error, rows = step / "accepted", "", None
    try:
        validate_dataset(
            str(raw), "raw", "schema_of_test:S", json.dumps(checks), json.dumps(roles), json.dumps(window), 0,
            str(root / "store"), str(accepted), str(accepted), str(step / "report.html"),
        )  # fmt: skip
        rows = scan_table(accepted, "rows").collect()
    except RatchetError as caught:
        error = f"{type(caught).__name__} {caught}"
    record = read_run(Store(str(root / "store")), "run-1")["validate"]
    report = step / "report.html"
    return error, record.details, report.exists() and report.read_text(), rows


def seen(what):
    error, details, report, rows = what
    return error, json.dumps(details, sort_keys=True), report, rows is not None and (rows.schema, rows.rows())


@pytest.fixture
def fresh(tmp_path):
    numbers = iter(range(10**6))
    return lambda: tmp_path / f"try-{next(numbers)}"


@pytest.mark.slow
@given(tables(), OPTIONS, POLICY, st.sampled_from([1, 7, 13, 50]), st.sampled_from(["", "2013-01-25"]), st.booleans())
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_found_does_not_depend_on_the_batches(fresh, table, options, policy, cells, end, timed):
    roles = {"id": "id", "target": "y"} | ({"time": "at"} if timed else {})
    policy |= {"max_quarantine_share": 0.9} if policy["on_failure"] == "quarantine" else {}
    arguments = table, schema_of(options), policy, roles, {"evaluate": "5d", "end": end}
    whole = validated(fresh(), *arguments)
    with batches_of(cells, suspects=2):
        many = validated(fresh(), *arguments)
    assert repr(seen(many)) == repr(seen(whole))


def test_a_missing_value_is_not_one_that_cannot_be_coerced(fresh):
    table = pl.DataFrame({"n": ["1", None, "x", None]})
    arguments = table, pa.DataFrameSchema({"n": pa.Column(pl.Int64, coerce=True, nullable=True)}), {}, {}, {}
    whole = validated(fresh(), *arguments)
    assert "column 'n' of 'rows': 1 value cannot be coerced, e.g. 'x'" in whole[0]
    with batches_of(cells=1, suspects=2):
        assert seen(validated(fresh(), *arguments)) == seen(whole)


def test_each_of_many_columns_is_held_against_its_schema(fresh):
    names = [f"c{number}" for number in range(250)]
    schema = pa.DataFrameSchema({name: pa.Column(pl.Int64, pa.Check.ge(0)) for name in names})
    table = pl.DataFrame({name: [1, 2] for name in names})
    assert validated(fresh(), table, schema, {}, {}, {})[0] == ""
    broken = table.with_columns(c0=pl.Series([1, None]), c101=pl.lit("x"), c120=pl.lit(-1, pl.Int64)).drop("c249")
    details = validated(fresh(), broken, schema, {}, {}, {})[1]
    assert {(failure["column"], failure["count"]) for failure in details["failures"]} == {
        ("c0", 1), ("c101", 0), ("c120", 2), ("c249", 0),
    }  # fmt: skip


@pytest.mark.parametrize("cells", [1, 10])
@pytest.mark.parametrize(
    ("column", "schema"),
    [
        ([{"a": "1"}, {"a": "x"}], pa.DataFrameSchema({"c": pa.Column(pl.Struct({"a": pl.Int64}), coerce=True)})),
        (["1", "x"], pa.DataFrameSchema({"c": pa.Column(coerce=True)}, dtype=pl.Int64)),
    ],
)
def test_what_cannot_be_coerced_never_passes(fresh, column, schema, cells):
    with batches_of(cells, suspects=2):
        assert "cannot be coerced" in validated(fresh(), pl.DataFrame({"c": column}), schema, {}, {}, {})[0]


def test_pandera_checks_of_single_values_need_no_more_than_a_batch():
    checks = [
        pa.Check.eq(1), pa.Check.ne(1), pa.Check.gt(1), pa.Check.ge(1), pa.Check.lt(1), pa.Check.le(1, name="small"),
        pa.Check.in_range(1, 2), pa.Check.isin([1]), pa.Check.notin([1]), pa.Check.str_matches("a"), pa.Check.str_contains("a"),
        pa.Check.str_startswith("a"), pa.Check.str_endswith("a"), pa.Check.str_length(1, 2), pa.Check(bool, element_wise=True),
    ]  # fmt: skip
    whole = [pa.Check.unique_values_eq([1]), pa.Check(not_mostly_large), pa.Check(not_mostly_large, name="isin")]
    taken = take_apart(pa.DataFrameSchema({"x": pa.Column(checks=checks + whole)}))
    assert len(taken.by_row) == len(checks)
    assert [part.distinct for part in taken.of_columns] == [True, False, False]
    shipped = {name for name, check in vars(builtin_checks).items() if check_is_of(builtin_checks, check)}
    assert shipped == {*_BY_ROW, "unique_values_eq"}, "pandera's checks have changed"


def check_is_of(module, function):
    return callable(function) and getattr(function, "__module__", "") == module.__name__


KEYS = pl.DataFrame(
    {
        "number": [0.0, -0.0, float("nan"), float("nan"), None, None, 1.0, 2.0],
        "text": ["a", "b", "a", "a", None, None, "", "a"],
        "kind": pl.Series(["a", "b", "a", "c", None, "b", "d", "d"], dtype=pl.Categorical()),
        "list": [[1], [1], [2], [], None, None, [1, 2], [2, 1]],
        "none": [None] * 8,
    }
)


@pytest.mark.parametrize(
    "keys", [["number"], ["text"], ["kind"], ["list"], ["none"], ["text", "number"], [*KEYS.columns]]
)
def test_repeated_keys_are_those_that_polars_calls_duplicated(keys):
    expected = KEYS.select(keys).is_duplicated().to_list()
    assert duplicated(KEYS.lazy(), keys).to_list() == expected
    with batches_of(cells=3, suspects=1):
        assert duplicated(KEYS.lazy(), keys).to_list() == expected


def test_two_keys_of_one_hash_are_two_keys(monkeypatch):
    rows = pl.DataFrame({"k": [1, 2, 3, 1]}).lazy()
    monkeypatch.setattr(pl.Expr, "hash", lambda self, *_: self.struct.field("k") * 0)
    assert duplicated(rows, ["k"]).to_list() == [True, False, False, True]


def test_a_leak_in_more_rows_than_are_looked_at_is_found(monkeypatch):
    monkeypatch.setattr(leakage, "_MOST_ROWS", 500)
    # Every tenth row is of the same class: a step of ten would see one class only.
    table = pl.DataFrame({"y": [row % 10 == 0 for row in range(50_000)]}).with_columns(
        x=pl.col("y") * 1.0, z=pl.int_range(pl.len())
    )
    found = leakage.associations(table, Columns(target="y"))
    assert (found[0].feature, found[0].value) == ("x", 1.0)
    assert found == leakage.associations(table.lazy(), Columns(target="y"))

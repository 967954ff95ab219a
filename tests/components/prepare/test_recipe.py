"""Prepare: the user's joins and features, and what their result must keep."""

import json
from datetime import datetime, timedelta

import polars as pl
import pytest

from kfp_ratchet.components.prepare.recipe import prepare_rows
from kfp_ratchet.components.shared.dataset import MAIN, Dataset, read_main, write_table
from kfp_ratchet.components.shared.errors import BlockedError, InputError, RatchetError
from kfp_ratchet.components.shared.journal import read_run
from kfp_ratchet.components.shared.store import Store

COUNT = 60
FLIGHTS = pl.DataFrame(
    {
        "id": range(COUNT),
        "origin": ["EWR", "JFK"] * (COUNT // 2),
        "at": [datetime(2013, 3, 1) - timedelta(hours=hour) for hour in range(COUNT)],
        "delay": [float(key * 37 % 60) for key in range(COUNT)],
    }
)
AIRPORTS = pl.DataFrame({"origin": ["EWR", "JFK"], "height": [18.0, 13.0]})
ROLES = {"id": "id", "time": "at", "target": "late", "ignore": ["delay"]}
SQL = "SELECT f.*, a.height, delay >= 30 AS late FROM flights f JOIN airports a ON f.origin = a.origin"


@pytest.fixture
def prepare(tmp_path):
    def run(recipe, columns=ROLES, airports=AIRPORTS, checks="{}"):
        raw, out = (str(tmp_path / "run-1" / step) for step in ("validate/accepted", "prepare/rows"))
        tables = {name: write_table(table, raw, name) for name, table in (("flights", FLIGHTS), ("airports", airports))}
        Dataset(revision="sha256:1", source="x", window="{}", tables=tables).write(raw)
        prepare_rows(raw, raw, json.dumps(recipe), checks, json.dumps(columns), str(tmp_path / "store"), out, out)
        return Dataset.read(out), read_main(out)

    return run


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A module of the user's with the given function body; returns its name."""

    def write(body, name):
        (tmp_path / f"{name}.py").write_text(f"import polars as pl\n\ndef make(tables):\n    {body}\n")
        monkeypatch.syspath_prepend(tmp_path)
        return {"function": f"{name}:make"}

    return write


def test_sql_joins_tables_into_one_sorted_by_time(prepare, tmp_path):
    dataset, rows = prepare({"sql": SQL})
    assert list(dataset.tables) == [MAIN]
    assert rows["id"].to_list() == list(reversed(range(COUNT)))
    assert set(rows["height"]) == {18.0, 13.0}
    source = json.loads(dataset.source)
    record = read_run(Store(str(tmp_path / "store")), "run-1")["prepare"]
    assert source == {"source": "x", "recipe": record.details["recipe"]["digest"]}


def test_a_function_gets_the_tables_by_name(prepare, theirs):
    body = "return tables['flights'].join(tables['airports'], on='origin').with_columns(late=pl.col('delay') >= 30)"
    _, rows = prepare(theirs(body, "their_recipe"))
    _, by_sql = prepare({"sql": SQL})
    assert rows.select(sorted(rows.columns)).equals(by_sql.select(sorted(rows.columns)))


def test_another_recipe_is_another_digest(prepare):
    first, _ = prepare({"sql": SQL})
    second, _ = prepare({"sql": SQL + " WHERE delay < 59"})
    assert first.source != second.source


def test_a_join_that_multiplies_rows_is_refused(prepare):
    doubled = pl.concat([AIRPORTS, AIRPORTS.head(1)])
    with pytest.raises(RatchetError, match=r"repeats ids: 60 rows share their 'id' with another, e\.g\. 0 2 times"):
        prepare({"sql": SQL}, airports=doubled)


@pytest.mark.parametrize("role", ["target", "id", "time", "weight", "slices"])
def test_a_role_without_a_column_is_named(prepare, role):
    columns = {**ROLES, role: ["nope"] if role == "slices" else "nope"}
    with pytest.raises(InputError, match=rf"columns\.{role} 'nope' is missing from .* \(has: id, origin,"):
        prepare({"sql": SQL}, columns=columns)


def test_a_result_without_rows_is_refused(prepare):
    with pytest.raises(RatchetError, match="gives no rows"):
        prepare({"sql": SQL + " WHERE delay > 1000"})


def test_a_feature_that_knows_the_answer_blocks(prepare):
    with pytest.raises(BlockedError, match=r"'delay' alone has AUC 1\.0000 for 'late'"):
        prepare({"sql": SQL}, columns={**ROLES, "ignore": []})


def test_a_function_that_raises_is_named_and_its_error_kept(prepare, theirs):
    with pytest.raises(RatchetError, match="'raising_recipe:make' failed: KeyError: 'planes'") as caught:
        prepare(theirs("return tables['planes']", "raising_recipe"))
    assert isinstance(caught.value.__cause__, KeyError)
    assert "flights(id, origin, at, delay)" in caught.value.remedy


def test_an_error_in_a_lazy_result_is_the_functions_too(prepare, theirs):
    with pytest.raises(RatchetError, match="'lazy_recipe:make' failed: ColumnNotFoundError"):
        prepare(theirs("return tables['flights'].select('nope')", "lazy_recipe"))


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({"sql": "SELEC * FROM flights"}, "SQL failed"),
        ({"sql": "SELECT nope FROM flights"}, "SQL failed"),
        ({"sql": "SELECT * FROM read_csv('/etc/passwd')"}, "only the Dataset's tables"),
        ({"sql": "SELECT * FROM flights", "function": "a:b"}, "either `sql` or `function`"),
        ({}, "either `sql` or `function`"),
        ({"query": "x"}, "recipe.query is not a setting"),
        ({"function": "no_such_module:make"}, "cannot be imported"),
        ({"function": "json"}, "cannot be imported"),
        ({"function": "json:nope"}, "cannot be imported"),
    ],
)
def test_a_recipe_that_cannot_be_one_is_bad_input(prepare, recipe, told):
    with pytest.raises(InputError) as caught:
        prepare(recipe)
    assert told in str(caught.value)


def test_a_function_that_returns_no_frame_is_told(prepare, theirs):
    with pytest.raises(RatchetError, match="returned int"):
        prepare(theirs("return 3", "number_recipe"))


def test_the_result_is_the_same_bytes_every_time(prepare, theirs):
    recipe = theirs(
        "return tables['flights'].with_columns(late=pl.col('delay') >= 30, at=pl.lit('2013-01-01'))"
        ".collect().sample(fraction=1, shuffle=True).lazy()",
        "shuffling_recipe",
    )
    columns = {"time": "at", "target": "late", "ignore": ["delay"]}
    assert prepare(recipe, columns=columns)[1].equals(prepare(recipe, columns=columns)[1])


def test_the_bound_of_leakage_is_the_users(prepare):
    """The step once took its own: `leakage: null` in ratchet.yaml did not switch the check off."""
    telling = {"sql": SQL.replace("f.*", "f.*, f.delay AS known")}
    with pytest.raises(BlockedError, match="known"):
        prepare(telling)
    prepare(telling, checks='{"leakage": null}')


def test_a_function_that_exits_does_not_pass_for_a_success(prepare, theirs):
    with pytest.raises(RatchetError, match=r"make in .*exiting_recipe\.py, line 4, called sys\.exit\(0\)"):
        prepare(theirs("import sys; sys.exit(0)", "exiting_recipe"))


def test_rows_that_prepare_leaves_without_a_label_block_or_are_quarantined(prepare):
    some = {"sql": SQL.replace("delay >= 30", "CASE WHEN delay > 0 THEN delay >= 30 END")}
    told = r"1 model row lacks a label \(1\.67%\): the recipe's SQL gives null or NaN for 'late'; "
    with pytest.raises(BlockedError, match=told + "leave rows whose outcome is not known out"):
        prepare(some)
    with pytest.raises(BlockedError, match=told + r"at most 1\.00% may be quarantined"):
        prepare(some, checks='{"on_failure": "quarantine"}')
    _, rows = prepare(some, checks='{"on_failure": "quarantine", "max_quarantine_share": 0.02}')
    assert (rows.height, rows["late"].null_count()) == (COUNT - 1, 0)


def test_one_class_that_prepare_makes_blocks(prepare):
    with pytest.raises(BlockedError, match="'late' holds only 'false' in 60 rows; a classifier needs two classes"):
        prepare({"sql": SQL.replace("delay >= 30", "delay >= 300")})

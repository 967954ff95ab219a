"""Small random tables and settings through every step up to what a network gets: a clear error or none, never another exception.

`FUZZ_EXAMPLES=5000 pytest tests/faults/bad_input/test_fuzz.py --hypothesis-seed=1` searches longer, and elsewhere for each seed.
"""

import copy
import json
import os
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.validate.draft import draft_schema
from kfp_ratchet.pipelines.config import load
from kfp_ratchet.pipelines.config_parameters import check_parameters
from kfp_ratchet.pipelines.init import init

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", 0))


def fuzz(examples):
    """The same examples each time, unless more are asked for."""
    return settings(
        max_examples=EXAMPLES or examples,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def documented(act):
    """Run; True when it went well, False after an error that says what is wrong and what to do."""
    try:
        act()
    except RatchetError as error:
        assert error.message.strip() and error.remedy.strip(), repr(error)
        assert len(str(error)) < 4000, str(error)[:500]
        return False
    return True


odd_names = st.sampled_from(
    [
        "index",
        "with space",
        "a\nb",
        "ü",
        "row",
        "count",
        "len",
        "label",
        "value",
        "__when",
        "x" * 300,
        "'",
        "failure_case",
    ]
)
names = (
    odd_names
    | st.text(min_size=1, max_size=6)
    | st.sampled_from(["flight", "when", "distance", "seats", "origin", "late"])
)
floats = st.floats() | st.sampled_from([1e308, -1e308, 5e-324, 0.0, -0.0])
words = st.text(max_size=8) | st.sampled_from(
    ["NA", "null", "1", "1,5", "yes", "no", "2024-01-01", "=cmd|' /C'!A0", "<script>"]
)
kinds = {
    pl.Int64: st.integers(-(2**63), 2**63 - 1),
    pl.Int8: st.integers(-2, 2),
    pl.UInt64: st.integers(0, 2**64 - 1),
    pl.Float64: floats,
    pl.Float32: st.floats(width=32),
    pl.Boolean: st.booleans(),
    pl.String: words,
    pl.Categorical: words,
    pl.Binary: st.binary(max_size=4),
    pl.Date: st.dates(),
    pl.Datetime("us"): st.datetimes(),
    pl.Datetime("ns"): st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)),
    pl.Datetime("ms", "Europe/Berlin"): st.datetimes(datetime(1950, 1, 1), datetime(2050, 1, 1)),
    pl.Duration("us"): st.timedeltas(timedelta(-1000), timedelta(1000)),
    pl.Time: st.times(),
    pl.Decimal(20, 3): st.decimals(-1000, 1000, places=3),
    pl.List(pl.Int64): st.lists(st.integers(0, 3), max_size=2),
    pl.Struct({"a": pl.Int64}): st.fixed_dictionaries({"a": st.integers(0, 3)}),
    pl.Null: st.none(),
}
formats = st.sampled_from(["rows.parquet", "rows.csv", "rows.jsonl", "rows.arrow"])


@st.composite
def series(draw, rows):
    """A column of any type, with few or many different values and nulls."""
    dtype = draw(st.sampled_from(list(kinds)))
    pool = draw(st.lists(kinds[dtype] | st.none(), min_size=1, max_size=4))
    values = [pool[(index * 7 + index // 5) % len(pool)] for index in range(rows)]
    if dtype in (pl.Int64, pl.Date, pl.Datetime) and draw(st.booleans()):
        return pl.Series(range(rows)).cast(dtype, strict=False)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        return pl.Series(values, dtype=pl.Datetime("ms")).dt.replace_time_zone("UTC").cast(dtype)
    if dtype == pl.Float64 and draw(st.booleans()):
        values = [value if value is None else value + index for index, value in enumerate(values)]
    return pl.Series(values, dtype=dtype, strict=False)


@st.composite
def tables(draw, base):
    """A good table with some columns replaced, added or dropped; or columns of any kind alone."""
    rows = draw(st.sampled_from([60, 60, 60, 30, 2, 1, 0]))
    frame = (
        base.head(rows) if draw(st.sampled_from([True] * 9 + [False])) else pl.DataFrame({"flight": list(range(rows))})
    )
    for name in draw(st.lists(names, max_size=3)):
        frame = frame.with_columns(draw(series(rows)).alias(name))
    dropped = (
        draw(st.lists(st.sampled_from(frame.columns), max_size=1))
        if draw(st.sampled_from([False] * 4 + [True]))
        else []
    )
    return frame.drop(dropped)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**12) | floats | words | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=4,
)
SETTINGS = {
    "name": "flights",
    "source": "data",
    "schema": "rows:Rows",
    "columns": {"target": "late", "problem": "binary", "positive": 1, "id": "flight", "time": "when", "slices": ["origin"], "weight": "",
                "ignore": []},
    "window": {"train": "all", "evaluate": "1d", "end": ""},
    "checks": {"on_failure": "quarantine", "max_quarantine_share": 0.5, "unique": ["flight"], "max_age": None, "rows_ratio": [0.5, 2.0],
               "leakage": 0.999, "examples": 2},
    "prepare": {"sql": "select * from rows"},
    "workload": "tabular",
    "parameters": {"epochs": 1},
    "search_space": {"dropout": {"type": "float", "low": 0.0, "high": 0.4}},
    "trials": 1,
    "seed": 0,
    "device": "auto",
    "policy": {"metric": "roc_auc", "margin": 0.0, "floors": {"roc_auc": 0.5}, "slices": {"margin": 0.0, "min_rows": 20}, "min_rows": 20},
    "serving": {"port": 8080},
    "notifications": {"on": ["rejected"], "file": "runs.jsonl"},
    "store": ".ratchet/store",
    "tracking_uri": "sqlite:///mlflow.db",
}  # fmt: skip


@st.composite
def mutated(draw, good, most=3):
    """Good settings with keys dropped, added, or given other values, at any depth."""
    changed = copy.deepcopy(good)
    for _ in range(draw(st.integers(0, most))):
        inside = changed
        while True:
            key = draw(st.sampled_from(sorted(inside)) | names if inside else names)
            if isinstance(inside.get(key), dict) and draw(st.booleans()):
                inside = inside[key]
                continue
            if draw(st.booleans()):
                inside.pop(key, None)
            else:
                inside[key] = draw(json_values)
            break
    return changed


def write(project, frame, name, draft):
    """Write a table as a file of a format, if that can hold it at all."""
    path = project.data / name
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        {"csv": frame.write_csv, "parquet": frame.write_parquet, "jsonl": frame.write_ndjson, "arrow": frame.write_ipc}[
            name.split(".")[-1]
        ](path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError):
        return False
    if draft:
        try:
            project.schema = draft_schema(frame, name)
        except Exception:  # names that ingest refuses
            return True
    return True


roles = st.sampled_from(
    [
        {"target": "late", "id": "flight", "time": "when"},
        {"target": "late", "time": "when", "slices": ["origin"]},
        {"target": "late", "problem": "multiclass", "id": "flight"},
        {"target": "origin", "problem": "multiclass", "time": "when"},
        {"target": "distance", "problem": "regression", "time": "when", "weight": "seats"},
        {"target": "late", "problem": "regression"},
    ]
)


@fuzz(60)
@given(data=st.data())
def test_no_table_raises_anything_undocumented(project_in, flights, data):
    with tempfile.TemporaryDirectory() as folder:
        project = project_in(Path(folder))
        project.columns = data.draw(roles)
        project.window = {"evaluate": "1d"} if "time" in project.columns else {"share": 0.3}
        project.checks = {"unique": [], "on_failure": "quarantine", "max_quarantine_share": 0.9}
        project.recipe = data.draw(st.sampled_from([None, {"sql": "select * from rows"}]))
        frame, name = data.draw(tables(flights(60))), data.draw(formats)
        if not write(project, frame, name, draft=data.draw(st.booleans())):
            return
        if data.draw(st.sampled_from([False] * 9 + [True])):
            write(project, frame.drop(frame.columns[:1]), name.replace("rows", "more"), draft=False)
        if data.draw(st.booleans()):
            project.schema = "columns: {late: {nullable: true, required: false}}"
        documented(project.encoded)


@fuzz(40)
@given(data=st.data())
def test_no_settings_of_a_step_raise_anything_undocumented(project_in, flights, data):
    with tempfile.TemporaryDirectory() as folder:
        sections = data.draw(mutated({key: SETTINGS[key] for key in ("columns", "window", "checks")}, most=2))
        project = project_in(Path(folder))
        project.columns, project.window, project.checks = (
            sections.get(key, {}) for key in ("columns", "window", "checks")
        )
        project.as_of = data.draw(st.sampled_from(["", "", "", "2024-01-02", "1999", "x", "9999-12"]))
        project.write(flights(60), data.draw(st.sampled_from(["rows.parquet", "rows.csv"])))
        documented(project.encoded)


@fuzz(150)
@given(mutated(SETTINGS))
@example({**SETTINGS, "window": {"end": "9999-12"}})
@example({**SETTINGS, "schema": "x" * 5000})
@example({**SETTINGS, "columns": {"target": "\ud800"}})
def test_no_configuration_raises_anything_undocumented(config):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ratchet.yaml")
        path.write_text(json.dumps(config), encoding="utf-8")

        def read():
            loaded = load(path)
            check_parameters(loaded.parameters())
            loaded.recipe()

        documented(read)


@fuzz(40)
@given(data=st.data())
def test_what_init_writes_is_a_configuration_that_a_run_can_start_with(project_in, flights, data):
    with tempfile.TemporaryDirectory() as folder:
        project = project_in(Path(folder))
        frame = data.draw(tables(flights(60)))
        if not write(project, frame, data.draw(formats), draft=False):
            return
        target = data.draw(st.sampled_from([*frame.columns, "late"]))
        written = []
        if not documented(lambda: written.append(init(project.data, target, name="model", folder=Path(folder)))):
            return
        config = load(written[0].config)
        sections = config.model_dump(mode="json", exclude_unset=True)
        project.columns, project.window = sections["columns"], sections["window"]
        project.schema = written[0].schema.read_text(encoding="utf-8")
        documented(project.encoded)


@fuzz(60)
@given(
    st.lists(st.lists(words | names, min_size=1, max_size=4), min_size=1, max_size=6),
    st.sampled_from("\n\r"),
    st.binary(max_size=3),
)
@example([["a", "b"], ["1"], ["2", "3", "4"]], "\n", b"")
@example([["", "b"], ["0", "1"]], "\n", b"")
@example([["a", "a"], ["0", "1"]], "\n", b"")
def test_no_csv_raises_anything_undocumented(project_in, lines, ending, noise):
    with tempfile.TemporaryDirectory() as folder:
        project = project_in(Path(folder))
        lines[0][0] = "late"
        project.columns, project.window = {"target": "late"}, {"share": 0.3}
        project.schema = "columns: {late: {nullable: true}}"
        text = ending.join(",".join(line) for line in lines)
        project.write(text.encode("utf-8", "ignore") + noise, "rows.csv")
        documented(project.accepted)
        documented(lambda: init(project.data, "late", name="model", folder=Path(folder)))


def test_a_fuzz_test_can_fail():
    """What it looks for is found where it is."""

    def raises(error):
        raise error

    for error in (KeyError("a"), InputError("what", ""), InputError("x" * 9999, "y")):
        try:
            documented(lambda error=error: raises(error))
        except (KeyError, AssertionError):
            continue
        raise AssertionError(f"{error!r} passed")

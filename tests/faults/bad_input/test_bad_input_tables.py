"""Data that is wrong: each kind ends in its exit code, with a message that names file, column or row, and says what to do."""

import json
import resource
from datetime import datetime, timedelta

import polars as pl
import pytest

from kfp_ratchet.components.shared.errors import BlockedError, InputError, RatchetError

LATE = pl.col("when") > datetime(2024, 1, 14)
"""The evaluation window, a little more."""


def fails(act, error):
    """The error's whole text; it must have a remedy, and be in no longer one than a screen."""
    with pytest.raises(RatchetError) as caught:
        act()
    assert type(caught.value) is error, repr(caught.value)
    assert caught.value.remedy, caught.value.message
    assert len(str(caught.value)) < 2000
    return str(caught.value)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
@pytest.mark.parametrize("column", ["origin", "late", "flight", "when"])
def test_a_missing_column_is_blocked_and_named(project, flights, column, name):
    project.write(flights().drop(column), name)
    told = fails(project.accepted, BlockedError)
    assert f"column '{column}' of 'rows': it is missing (has: " in told


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_column_missing_in_one_file_of_several_is_blocked_and_the_file_is_named(project, flights, suffix):
    for month in (1, 2, 3):
        rows = flights(flight=pl.format("{}-{}", pl.lit(month), "flight"))
        project.write(rows if month != 2 else rows.drop("origin", "seats"), f"month={month}/rows.{suffix}")
    told = fails(project.accepted, BlockedError)
    assert f"month=2/rows.{suffix} lacks column 'seats', 'origin', unlike " in told
    assert "deliver it again" in told
    assert project.records["ingest"].error.kind == "blocked"


def test_an_extra_column_is_a_feature(project, flights):
    project.write(flights(extra=pl.lit(1.0)))
    assert "extra" in project.encoded().rows.columns


def test_a_strict_schema_refuses_an_extra_column_by_name(project, flights):
    project.write(flights(extra=pl.lit(1.0)))
    project.schema = project.schema.replace("strict: false", "strict: true")
    assert "column 'extra' of 'rows': it is not in the schema, which is strict" in fails(project.accepted, BlockedError)


def test_a_wrong_type_is_blocked(project, flights):
    project.write(flights(distance=pl.col("distance").cast(pl.String)))
    told = fails(project.accepted, BlockedError)
    assert "column 'distance' of 'rows': its type should be Float64, and is String" in told


@pytest.mark.parametrize(
    ("column", "text"), [("distance", "1,5"), ("when", "01/02/2024"), ("seats", "many"), ("when", "20000-01-01")]
)
def test_a_text_that_is_not_of_its_columns_type_is_blocked_with_file_and_value(project, flights, column, text):
    """Numbers with a decimal comma, dates in other formats: never quietly null."""
    project.write(
        flights(**{column: pl.when(LATE).then(pl.lit(text)).otherwise(pl.col(column).cast(pl.String))}), "a.csv"
    )
    told = fails(project.accepted, BlockedError)
    assert f"column '{column}' of " in told and f"a.csv holds '{text}' (and " in told


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b"", "a.csv is empty"),
        ("a.parquet", b"", "a.parquet is empty"),
        ("a.jsonl", b"\n", "a.jsonl cannot be read"),
        ("a.jsonl", b"{}\n{}\n", "a.jsonl has no columns"),
        ("a.jsonl", b"[1]\n", "a.jsonl cannot be read"),
        ("a.jsonl", b'{"a":' + b"[" * 9999, "a.jsonl cannot be read"),
        ("a.csv", b"flight,when\n", "table 'rows' has no rows"),
        ("a.parquet", b"PAR1garbagePAR1", "a.parquet cannot be read"),
        ("a.arrow", b"ARROW1garbage", "a.arrow cannot be read"),
        ("a.csv", "flight,origin\na,b\nb,Zürich\n".encode("latin-1"), "a.csv cannot be read in line 3: invalid utf-8"),
        ("a.csv", "flight,origin\na,Zürich,1,2\n".encode("latin-1"), "a.csv cannot be read in line 2: invalid utf-8"),
        ("a.csv", "flight,Zürich\na,b\n".encode("latin-1"), "the file is not UTF-8 text"),
        ("a.csv", "flight,origin\na,b\n".encode("utf-16"), "the file is not UTF-8 text"),
        ("a.csv", b"flight,origin\na,b\nb,c,d\n", "a.csv cannot be read in line 3: found more fields"),
        ("a.csv", b'flight,origin\na,b\nx,"open\n', "a quote may have been left open"),
        ("a.csv", b"flight,origin\ra,b\rb,c\r", "the lines of "),
        ("a.csv", b"flight;origin\na;b\n", "a.csv is separated by ';'"),
        ("a.csv", b"flight,late,late\na,b,c\n", "a.csv names the column 'late' twice"),
        ("a.csv", b",flight\n0,a\n1,b\n", "a.csv has a column without a name"),
        ("a.csv", b'"say ""hi""",flight\n0,a\n', "with a quote inside"),
        ("a.csv", b"a\0b,flight\n0,a\n", "a.csv has a column 'a\\x00b', with a null character inside"),
        ("a.csv", b"check_output,flight\n0,a\n", "a.csv has a column 'check_output', which pandera takes for its own"),
        ("a.csv", b"*,flight\n0,a\n", "a.csv has a column '*', which reads as a pattern of names"),
        ("a.csv", b"^f.*$,flight\n0,a\n", "a.csv has a column '^f.*$', which reads as a pattern of names"),
        ("^a$=1/a.csv", b"flight\n0\n", "a.csv has a column '^a$', which reads as a pattern of names"),
        ("README.txt", b"hello", "README.txt is not a supported file"),
    ],
)
def test_a_file_that_cannot_be_a_table_is_named_with_what_to_do(project, name, content, told):
    project.write(content, name)
    assert told in fails(project.accepted, InputError)


@pytest.mark.parametrize("dtype", ["Duration", "Binary"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_type_that_text_cannot_hold_is_told(project, dtype, name):
    """polars panics at some of them."""
    project.write(b"late\n1\n" if name == "a.csv" else b'{"late": 1}\n', name)
    project.schema = f"columns: {{late: {{dtype: {dtype}}}}}"
    assert f"a{name[1:]} is {dtype}" in fails(project.accepted, InputError)


def test_characters_of_any_plane_in_a_schema_are_read(project, flights):
    """Between steps a schema is JSON, which writes them in two halves."""
    project.write(flights(origin=pl.lit("😀")))
    project.schema = json.dumps({"rows": 'columns: {origin: {dtype: String, isin: ["😀"]}}'})
    project.encoded()


def test_a_truncated_parquet_file_is_named(project, flights):
    path = project.write(flights())
    path.write_bytes(path.read_bytes()[:-100])
    assert "rows.parquet cannot be read" in fails(project.accepted, InputError)


def test_a_parquet_file_without_rows_is_told(project, flights):
    project.write(flights().head(0))
    assert "table 'rows' has no rows" in fails(project.accepted, InputError)


@pytest.mark.parametrize("name", ["a [1]*?.parquet", "a [1]*?.csv", "a%20b.parquet", "a\nb.parquet", "ü.csv"])
def test_a_file_of_any_name_is_read(project, flights, name):
    """Brackets and stars in a name are no pattern of names."""
    project.write(flights(), name)
    assert project.encoded().all.height > 300


def test_json_lines_of_any_name_are_read(project, flights):
    project.write(flights().write_ndjson(), "a [1]*?.jsonl")
    assert project.encoded().all.height > 300


def test_a_column_without_a_value_is_blocked_where_the_schema_wants_one(project, flights):
    project.write(flights(distance=pl.lit(None, dtype=pl.Float64)))
    assert "column 'distance' of 'rows': not_nullable fails for 400 rows" in fails(project.accepted, BlockedError)


def test_a_column_without_a_value_is_no_obstacle_where_the_schema_allows_it(project, flights):
    for dtype in (pl.Float64, pl.String, pl.Null):
        project.write(flights(extra=pl.lit(None, dtype=dtype)))
        project.encoded()


REGRESSION = {"problem": "regression"}


@pytest.mark.parametrize(
    ("late", "roles", "told"),
    [
        (pl.lit(None, dtype=pl.Int64), {}, "'late' of 'rows': has a label fails for 400 rows"),
        (pl.lit(None), {}, "'late' of 'rows': has a label fails for 400 rows"),
        (pl.lit(1), {}, "'late' holds only '1' in 400 rows; a classifier needs two classes"),
        (pl.when(LATE).then(float("nan")).otherwise(pl.col("late")), {}, "has a label fails for 87 rows (21.75%), e.g. nan"),
        (pl.when(LATE).then(float("inf")).otherwise(pl.col("late")), REGRESSION, "has a label fails for 87 rows"),
        (pl.col("seats") % 3, {}, "'late' holds 3 values (0, 1, 2), but columns.problem is binary"),
        (pl.col("origin"), REGRESSION, "which is not a number; set columns.problem to binary or multiclass"),
        (pl.concat_list("seats"), {}, "'late' holds List(Int64), which has no text"),
        (pl.duration(days="seats"), {}, "'late' holds Duration(time_unit='us'), which has no text"),
        (pl.duration(days="seats"), {"problem": "regression"}, "which has no text"),
        (pl.struct("seats"), {}, "which has no text; convert it in prepare"),
        (pl.col("origin").cast(pl.Binary), {"problem": "multiclass"}, "'late' holds Binary, which has no text"),
    ],
)  # fmt: skip
def test_labels_that_nothing_can_be_learnt_from_are_blocked(project, flights, late, roles, told):
    project.columns |= roles
    project.write(flights(late=late), draft=True)
    project.schema = "columns: {seats: {dtype: Int64}}"
    assert told in fails(project.accepted, BlockedError)


def test_a_long_label_is_told_in_short(project, flights):
    project.write(flights(late=pl.lit("x" * 50_000)), draft=True)
    fails(project.accepted, BlockedError)
    project.columns["problem"] = "regression"
    fails(project.accepted, BlockedError)


@pytest.mark.parametrize(
    "late",
    [
        pl.col("late") == 1,
        pl.when(pl.col("late") == 1).then(pl.lit("yes")).otherwise(pl.lit("no")),
        pl.col("late") * 0.5,
        pl.when(pl.col("late") == 1).then(pl.lit(" ")).otherwise(pl.lit("<b>")),
    ],
)
@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_labels_of_two_values_of_any_type_are_classes(project, flights, late, name):
    project.write(flights(late=late), name, draft=True)
    assert project.encoded().unlabelled == 0


def test_a_target_constant_where_it_trains_is_told_before_the_fit(project, flights):
    project.write(flights(late=pl.when(LATE).then(pl.col("late")).otherwise(0)))
    assert "'late' holds only '0' in 279 rows" in fails(project.encoded, InputError)


@pytest.mark.parametrize(
    ("flight", "told"),
    [
        (pl.lit("a"), "column 'flight' of 'rows': unique fails for 400 rows (100.00%), e.g. a"),
        (pl.when(pl.col("flight") != "f00399").then(pl.col("flight")), "not_nullable fails for 1 row"),
    ],
)
def test_ids_that_do_not_identify_rows_are_blocked(project, flights, flight, told):
    project.write(flights(flight=flight))
    assert told in fails(project.accepted, BlockedError)


def test_one_missing_id_is_found_by_validation_where_no_schema_speaks_of_it(project, flights):
    """One is no repeat of another, and evaluate would find it only after the fit."""
    project.write(flights(flight=pl.when(pl.col("flight") != "f00399").then(pl.col("flight"))))
    project.schema = "columns: {seats: {dtype: Int64}}"
    assert "column 'flight' of 'rows': has an id fails for 1 row" in fails(project.accepted, BlockedError)
    project.schema = "columns: {flight: {dtype: String, nullable: true}}"
    assert "1 evaluation row of 72 have no 'flight', the id" in fails(project.encoded, InputError)


@pytest.mark.parametrize(
    ("when", "error", "told"),
    [
        (pl.lit(None, dtype=pl.Datetime("us")), BlockedError, "without 'when', 400 rows can neither train nor judge"),
        (pl.col("when").dt.epoch("s"), InputError, "time column 'when' holds Int64, not dates or times"),
        (pl.col("when").dt.time(), InputError, "time column 'when' holds Time, not dates or times"),
        (pl.col("when") - datetime(2024, 1, 1), InputError, "time column 'when' holds Duration"),
        (pl.col("when") + timedelta(days=9000), BlockedError, "'when' of 'rows': is not in the future fails for 400 rows"),
        (pl.lit(datetime(9999, 12, 31)), BlockedError, "'when' of 'rows': is not in the future fails for 400 rows"),
        (pl.lit(2**62).cast(pl.Datetime("us")), BlockedError, "holds a time outside the years 1 to 9999"),
        (pl.lit(-(2**62)).cast(pl.Datetime("us")), BlockedError, "holds a time outside the years 1 to 9999"),
        (pl.lit(2**31 - 1, dtype=pl.Int32).cast(pl.Date), BlockedError, "holds a time outside the years 1 to 9999"),
        (pl.lit(datetime(1, 1, 1)), InputError, "the evaluation window has no rows"),
        (pl.when(LATE).then(pl.lit("noon")).otherwise(pl.lit("2024-01-01")), BlockedError, "is an ISO date or time fails"),
    ],
)  # fmt: skip
def test_times_that_rows_cannot_be_split_by_are_told(project, flights, when, error, told):
    project.write(flights(when=when), draft=True)
    assert told in fails(project.encoded, error)


def test_a_date_beyond_the_calendar_in_any_column_is_blocked_and_never_shown(project, flights):
    """polars panics when such a value becomes a Python one, as in the examples of a failure."""
    project.write(flights(seats=pl.lit(-1), built=pl.lit(2**31 - 1, dtype=pl.Int32).cast(pl.Date)))
    assert "column 'built' of table 'rows' holds a time outside the years" in fails(project.accepted, BlockedError)


@pytest.mark.parametrize(
    "when",
    [
        pl.col("when").dt.strftime("%Y-%m-%dT%H:%M:%S+02:00"),
        pl.when(LATE)
        .then(pl.col("when").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        .otherwise(pl.col("when").dt.strftime("%Y-%m-%d %H:%M")),
        pl.col("when").dt.replace_time_zone("Europe/Berlin", ambiguous="earliest"),
        pl.col("when").cast(pl.Datetime("ns")),
        pl.col("when").cast(pl.Date),
        pl.when(pl.col("seats") > 60).then(pl.col("when")),
    ],
)
def test_times_of_any_known_form_split_rows(project, flights, when):
    project.write(flights(when=when), draft=True)
    project.encoded()


def test_unsorted_rows_are_the_same_as_sorted_ones(project, flights, tmp_path, project_in):
    project.write(flights())
    other = project_in(tmp_path / "other")
    other.write(flights().reverse())
    assert project.encoded().rows.equals(other.encoded().rows)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_an_end_before_the_data_names_the_end(project, flights, name):
    project.write(flights(), name)
    project.as_of = "2020-01"
    told = fails(project.accepted, InputError)
    assert "none of 400 rows of table 'rows' is in the window, which ends at 2020-01" in told and "as_of" in told


def test_an_evaluation_window_longer_than_the_data_is_told(project, flights):
    project.write(flights())
    project.window = {"evaluate": "400d"}
    assert "the training window has no rows" in fails(project.encoded, InputError)


@pytest.mark.parametrize(("rows", "error"), [(1, BlockedError), (2, InputError), (80, InputError)])
def test_too_few_rows_are_told(project, flights, rows, error):
    project.write(flights(rows), draft=True)
    project.schema = "columns: {seats: {dtype: Int64}}"
    if rows == 80:
        project.window = {"evaluate": "79h"}
    fails(project.encoded, error)


@pytest.mark.parametrize(
    ("weight", "told"),
    [
        (pl.lit("a"), "columns.weight 'w' holds String, not numbers"),
        (pl.lit(0.0), "weight column 'w' has a largest value of 0 in 72 rows"),
        (pl.lit(-1.0), "weight column 'w' has 72 missing, negative or infinite values in 72 rows"),
        (pl.lit(1e308), "weight column 'w' has a largest value of 1e+308"),
        (pl.when(LATE).then(0.0).otherwise(1.0), "weight column 'w' has a largest value of 0 in 72 rows"),
    ],
)
def test_weights_that_cannot_judge_are_told_before_the_fit(project, flights, weight, told):
    project.columns["weight"] = "w"
    project.write(flights(w=weight))
    assert told in fails(project.encoded, InputError)


@pytest.mark.parametrize(
    ("roles", "told"),
    [
        ({"weight": "w"}, "columns.weight 'w' is missing from the model rows"),
        ({"slices": ["orgin"]}, "columns.slices 'orgin' is missing from the model rows (has: flight, when, distance, "),
        ({"ignore": ["distanec"]}, "columns.ignore 'distanec' is missing from the model rows"),
        ({"slices": ["parts"]}, "columns.slices 'parts' holds List(Float64), which has no text"),
        ({"id": "parts"}, "columns.id 'parts' holds List(Float64), which has no text"),
        ({"ignore": ["distance", "seats", "origin", "parts"]}, "there are no feature columns"),
        ({}, "feature column 'parts' holds List(Float64), which a table model cannot take"),
    ],
)
def test_roles_that_the_rows_do_not_fit_are_told_before_the_fit(project, flights, roles, told):
    """An ignored column that is misspelt would be learnt from."""
    project.columns |= roles
    project.write(flights(parts=pl.concat_list("distance")))
    assert told in fails(project.encoded, InputError)


@pytest.mark.parametrize(
    "distance",
    [
        pl.when(LATE).then(float("inf")).otherwise(pl.col("distance")),
        pl.when(~LATE).then(float("-inf")).otherwise(pl.col("distance")),
        pl.when(pl.col("seats") > 200).then(1e308).otherwise(-1e308),
        pl.when(LATE).then(float("nan")).otherwise(pl.col("distance")),
        pl.lit(2**63 - 1),
        pl.lit(2**64 - 1, dtype=pl.UInt64),
        pl.format("{}", "flight"),
        pl.when(LATE).then(pl.lit("NEW")).otherwise(pl.col("origin")),
        pl.col("origin").cast(pl.Categorical),
        pl.col("origin").cast(pl.Enum(["EWR", "JFK", "LGA"])),
        pl.col("seats").cast(pl.Decimal(10, 2)),
        pl.col("when") - datetime(2023, 1, 1),
        pl.col("when").dt.time(),
        pl.lit(None),
    ],
)
def test_values_of_every_kind_become_finite_numbers(project, flights, distance):
    project.write(flights(distance=distance), draft=True)
    project.encoded()


NAMES = [
    "index", "with space", "'", '"', "new\nline", "tab\t", "naïve ü 漢字 😀", "<script>alert(1)</script>", "=cmd|' /C calc'!A0",
    "{{ 7 * 7 }}", "row", "rows", "label", "candidate", "champion", "weight", "id", "target", "count", "len", "value", "literal",
    "failure_case", "__when", "__digest", "__held", "origin:day:sin", "a,b", "a.b", "$x", "null", " ",
    "slice:origin", "candidate:1", "nulls of late", "__index_level_0__", "flight_duplicated_x", "Distance", "x" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name)[:20])
def test_a_column_of_any_name_can_have_any_role(project, flights, name, tmp_path, project_in):
    """Names that the code uses for columns of its own must not be lost, nor taken for them."""
    project.write(
        flights().with_columns(pl.col("distance").alias(name), pl.col("origin").alias(f"{name} too")), draft=True
    )
    assert name in project.encoded().rows.columns
    renamed = [("target", "late"), ("id", "flight"), ("time", "when"), ("slices", "origin"), ("weight", "seats")]
    for number, (role, column) in enumerate(renamed):
        other = project_in(tmp_path / str(number))
        other.columns[role] = [name] if role == "slices" else name
        other.write(flights().rename({column: name}), draft=True)
        assert name in other.encoded().rows.columns
    other = project_in(tmp_path / "hash", columns={"target": "late"}, window={"share": 0.2})
    other.write(flights().drop("flight", "when").rename({"seats": name}), draft=True)
    assert name in other.encoded().rows.columns


@pytest.mark.slow
def test_features_of_any_name_are_trained_on_judged_and_served(project, flights):
    project.write(flights().with_columns(pl.col("origin").alias(name) for name in NAMES), draft=True)
    assert project.verdict() == "promote"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({"origin": pl.when(LATE).then(pl.lit("NEW")).otherwise(pl.col("origin"))}, "promote"),
        ({"late": pl.when(LATE).then(0).otherwise(pl.col("late"))}, "inconclusive"),
        ({"distance": pl.lit(1.0), "seats": pl.lit(1), "origin": pl.lit("EWR")}, "inconclusive"),
        ({"origin": pl.when(LATE).then(pl.lit("x" * 1_000_000)).otherwise(pl.lit("y" * 1_000_000))}, "promote"),
        ({"origin": pl.col("flight") + "!"}, "promote"),
    ],
)
def test_odd_rows_are_scored_and_judged(project, flights, changed, verdict):
    """A category that training never saw, one class only where it judges, constants, texts of a megabyte, texts all different."""
    project.write(flights(**changed), draft=True)
    project.schema = "columns: {late: {dtype: Int64}}"
    assert project.verdict() == verdict


@pytest.mark.slow
def test_ten_thousand_columns_are_read_within_bounds(project, flights):
    """No cost that grows with the square of their number, hundreds of megabytes and not thousands, and messages that stay short."""
    wide = flights(120).with_columns(pl.col("distance").alias(f"feature {number}") for number in range(10_000))
    project.window = {"evaluate": "1d"}
    project.write(wide)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    project.encoded()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_500_000, "kilobytes"
    project.write(wide.drop("origin"))
    assert "and 9,985 more)" in fails(project.accepted, BlockedError)
    project.schema = "columns: {late: {dtype: Int64}}"
    project.columns["slices"] = ["origin"]
    assert "and 9,985 more)" in fails(project.encoded, InputError)


@pytest.mark.parametrize(
    "name", [*NAMES, "failure_case", "failure_cases", "column", "check", "check_number", "schema_context"]
)
def test_a_failure_of_or_beside_a_column_of_any_name_is_told(project, flights, name):
    for rows in (
        flights(seats=-pl.col("seats")).with_columns(pl.col("origin").alias(name)),
        flights(seats=-pl.col("seats")).rename({"seats": name}),
    ):
        project.write(rows)
        project.schema = json.dumps(
            {"columns": {"seats" if "seats" in rows.columns else name: {"dtype": "Int64", "ge": 0}}}
        )
        assert "greater_than_or_equal_to(0) fails for 400 rows" in fails(project.accepted, BlockedError)


HOSTILE = "<script>alert('x')</script>"


def test_a_script_in_a_column_or_value_is_text_on_the_page(project, flights):
    project.write(flights(**{HOSTILE: pl.lit("=cmd|' /C calc'!A0<img src=x onerror=y>")}))
    project.schema = json.dumps({"columns": {HOSTILE: {"dtype": "String", "isin": ["a"]}}})
    assert f"column {HOSTILE!r} of 'rows'" in fails(project.accepted, BlockedError)
    assert "<script" not in project.report and "&lt;script&gt;" in project.report
    assert "<img" not in project.report and "=cmd|" in project.report

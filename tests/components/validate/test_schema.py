"""The user's schema: read as it was meant, or refused."""

import json

import polars as pl
import pytest

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.validate.schema import declared_types, parse_schemas

GOOD = "columns:\n  n: {dtype: Int64, ge: 0}\n"
TABLES = ("flights", "airports")


def test_a_schema_is_of_the_main_table_unless_tables_are_named():
    assert list(parse_schemas(GOOD, TABLES)) == ["flights"]
    by_table = {"airports": GOOD, "flights": {"columns": {"m": {"dtype": "String"}}}}
    schemas = parse_schemas(json.dumps(by_table), TABLES)
    assert list(schemas["airports"].columns) == ["n"]
    assert list(schemas["flights"].columns) == ["m"]


def test_a_class_is_imported(tmp_path, monkeypatch):
    (tmp_path / "their_schema.py").write_text(
        "import pandera.polars as pa\n"
        "class Flights(pa.DataFrameModel):\n    n: int = pa.Field(ge=0)\n"
        "flights = Flights.to_schema()\nnumber = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("Flights", "flights"):
        assert list(parse_schemas(f"their_schema:{name}", TABLES)["flights"].columns) == ["n"]
    with pytest.raises(InputError, match=r"is not a schema of pandera\.polars"):
        parse_schemas("their_schema:number", TABLES)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "ratchet data draft-schema"),
        ("columns: {}", "let everything pass"),
        ("columns:", "let everything pass"),
        ("columns: [n]", "not a mapping"),
        ("columns:\n  n: {dtype: Int64, nulable: true}", "did you mean 'nullable'"),
        ("columns:\n  n: {dtype: Int64, greater_then: 0}", "did you mean 'greater_than'"),
        ("columns:\n  n: {dtype: Int64, checks: {greater_then: 0}}", "did you mean 'greater_than'"),
        ("columns:\n  n: {dtype: Intt64}", "cannot be read"),
        ("columns:\n  n: {dtype: Int64, in_range: [0, 1]}", "cannot be read"),
        ("cheks: []\ncolumns:\n  n: {dtype: Int64}", "did you mean 'checks'"),
        ("schema_type: dataframe\ncolumns:\n  n: {dtype: Int64}", "polars_dataframe"),
        ("columns:\n  n: {dtype: Int64, drop_invalid_rows: true}", "quarantine"),
        ("hotels: {columns: {n: {dtype: Int64}}}", "'hotels', which is not in the source"),
        ("airports: {columns: {n: {dtype: Int64}}}", "no schema for the main table 'flights'"),
        ("columns: [", "not YAML"),
        ("schema.yaml", "not its path"),
        ("no_such_package.module:Class", "cannot be imported"),
        ("3", "neither"),
    ],
)
def test_a_schema_that_would_not_do_what_it_says_is_refused(text, told):
    with pytest.raises(InputError) as caught:
        parse_schemas(text, TABLES)
    assert told in str(caught.value)


def test_types_for_reading_text_come_from_the_schema():
    text = "columns:\n  n: {dtype: Int16}\n  any: {nullable: true}\n  at: {dtype: 'Datetime(time_unit=''us'', time_zone=''UTC'')'}"
    assert declared_types(parse_schemas(text, TABLES)["flights"]) == {"n": pl.Int16, "at": pl.Datetime("us", "UTC")}
    assert declared_types(None) == {}

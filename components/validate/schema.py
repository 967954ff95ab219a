"""The user's schema: pandera YAML, a pandera class, or either by table."""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from importlib import import_module
from typing import Any

import pandera.polars as pa
import yaml
from pandera.io._flat_checks import COMPONENT_RESERVED_KEYS
from pandera.io.polars_io import deserialize_schema
from polars.datatypes import DataType, DataTypeClass

from kfp_ratchet.components.shared.canonical import loads
from kfp_ratchet.components.shared.errors import InputError

_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_SHORT = ("eq", "ne", "gt", "ge", "lt", "le", "between")
_OPTIONS = ("dtype", "coerce", "strict", "ordered", "unique", "report_duplicates", "unique_column_names")
_NAMES = ("schema_type", "api", "version", "name", "title", "description", "index", "add_missing_columns")
_SCHEMA_KEYS = frozenset(("columns", "checks", *_OPTIONS, *_NAMES))


def parse_schemas(text: str, tables: Sequence[str]) -> dict[str, pa.DataFrameSchema]:
    """Schemas by table; tables without one are left out.

    Args:
        text: Pandera YAML (or JSON) of the main table, `package.module:Class` for the main table, or an object of these by table.
        tables: The Dataset's tables, the main one first.

    Raises:
        InputError: There is no schema for the main table, it names an unknown table, key, check or type, or cannot be imported.
    """
    main = tables[0]
    if not text.strip():
        raise InputError(
            "no schema is given, and none is guessed",
            "run `ratchet data draft-schema`, review what it writes, and set `schema`",
        )
    document = _yaml(text, "schema")
    is_one = not isinstance(document, Mapping) or ("columns" in document and "columns" not in tables)
    parts: Mapping[str, Any] = {main: document} if is_one or "schema_type" in document else document
    for name in parts:
        if name not in tables:
            raise InputError(
                f"schema names the table {name!r}, which is not in the source (has: {', '.join(tables)})",
                "fix its name, or add the table to source",
            )
    if main not in parts:
        raise InputError(
            f"there is no schema for the main table {main!r}",
            "run `ratchet data draft-schema` and review what it writes",
        )
    return {name: _schema(part, f"schema of {name!r}") for name, part in parts.items()}


def declared_types(schema: pa.DataFrameSchema | None) -> dict[str, DataType | DataTypeClass]:
    """The polars types that a schema names, by column."""
    if schema is None:
        return {}
    return {
        name: column.dtype.type
        for name, column in schema.columns.items()
        if column.dtype is not None and not column.regex
    }


def _schema(part: Any, place: str) -> pa.DataFrameSchema:
    if isinstance(part, str):
        part = part.strip() if _CLASS.fullmatch(part.strip()) else _yaml(part, place)
    if isinstance(part, str):
        schema = _imported(part, place)
    elif isinstance(part, Mapping):
        schema = _deserialized(part, place)
    else:
        raise InputError(f"{place} is neither pandera YAML nor package.module:Class", "give one of the two")
    if not schema.columns and not schema.checks:
        raise InputError(f"{place} has no columns, so it would let everything pass", "name the columns")
    if schema.drop_invalid_rows or any(column.drop_invalid_rows for column in schema.columns.values()):
        raise InputError(
            f"{place} sets drop_invalid_rows, which leaves rows out without a word", "use checks.on_failure: quarantine"
        )
    return schema


def _yaml(text: str, place: str) -> Any:
    try:
        # JSON is YAML but for characters beyond 16 bits, which it writes in two halves, and for keys of any length.
        return loads(text)
    except ValueError:
        pass
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        told = " ".join(str(error).split())[:500]
        raise InputError(f"{place} is not YAML: {told}", "draft one anew with `ratchet data draft-schema`") from None


def _deserialized(document: Mapping[str, Any], place: str) -> pa.DataFrameSchema:
    """Pandera's own reading, after a look at every key: pandera passes over those that it does not know, checks included."""
    _known(document, _SCHEMA_KEYS, place)
    columns = document.get("columns") or {}
    if not isinstance(columns, Mapping) or not all(isinstance(column, Mapping) for column in columns.values()):
        raise InputError(
            f"{place}: `columns` is not a mapping of column names to settings",
            "write lines such as `late: {dtype: Int64}`",
        )
    for name, column in columns.items():
        here = f"{place}, column {name!r}"
        _known(column, COMPONENT_RESERVED_KEYS | _check_names(), here)
        if isinstance(column.get("checks"), Mapping):
            _known(column["checks"], _check_names(), here)
    try:
        schema: pa.DataFrameSchema = deserialize_schema(deepcopy(dict(document)))
    except Exception as error:  # pandera raises whatever a constructor, a check or a type's parser raises
        message = " ".join(str(error).split())
        raise InputError(f"{place} cannot be read: {message}", "see pandera's YAML format for polars") from error
    for name, column in columns.items():
        asked = len(column.get("checks") or ()) + len(_check_names().intersection(column))
        if len(schema.columns[name].checks) != asked:
            raise InputError(
                f"{place}, column {name!r}: pandera does not understand all checks", "write them one a line"
            )
    return schema


def _known(found: Mapping[str, Any], known: frozenset[str], place: str) -> None:
    unknown = [key for key in found if key not in known]
    if unknown:
        from difflib import get_close_matches

        near = get_close_matches(str(unknown[0]), sorted(known), n=1)
        raise InputError(f"{place}: {unknown[0]!r} is not known", f"did you mean {near[0]!r}?" if near else "remove it")


def _check_names() -> frozenset[str]:
    """Pandera's checks, and those that the user registered."""
    return frozenset({*pa.Check.CHECK_FUNCTION_REGISTRY, *pa.Check.REGISTERED_CUSTOM_CHECKS, *_SHORT})


def _imported(name: str, place: str) -> pa.DataFrameSchema:
    module, _, attribute = name.partition(":")
    if not attribute:
        raise InputError(
            f"{place} is {name!r}, which is neither pandera YAML nor package.module:Class",
            "give the text, not its path",
        )
    try:
        found: Any = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{place} {name!r} cannot be imported: {error}", "is its package installed?") from error
    is_model = isinstance(found, type) and issubclass(found, pa.DataFrameModel)
    schema = found.to_schema() if is_model else found
    if not isinstance(schema, pa.DataFrameSchema):
        raise InputError(
            f"{place} {name!r} is not a schema of pandera.polars", "derive it from pandera.polars.DataFrameModel"
        )
    return schema

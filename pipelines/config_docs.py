"""Reference of `ratchet.yaml`, made from the model: Markdown for people, JSON Schema for editors."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from kfp_ratchet.pipelines.config_problems import JsonSchema, schemas_at
from kfp_ratchet.pipelines.config_yaml import dump_yaml

_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
    "null": "null",
}
_COLUMNS = ("key", "type", "default", "meaning")
_HEAD = """\
# Configuration

Every key of `ratchet.yaml`. `ratchet init data.csv --target column` writes a commented file to start from; `docs/ratchet.schema.json`
lets an editor complete and check it. Only `name`, `source`, `schema` and `columns.target` have to be there.

Paths are relative to the file's folder, which is the working directory of every step. YAML is read by the rules of version 1.2: `on`,
`no` and `2013-06-30` are text, and a key that is given twice is an error. Everything here becomes a parameter of the pipeline that
anyone may read, so a URI that holds a password or token is refused; pass it by the environment or a Kubernetes secret.
"""


def json_schema(model: type[BaseModel]) -> str:
    """JSON Schema (draft 2020-12) of a configuration model, as text."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def document(model: type[BaseModel], head: str = _HEAD) -> str:
    """Markdown reference of a configuration model: every key with type, default and meaning, and an example for each section.

    Args:
        model: The file's model.
        head: What stands before the keys.
    """
    schema = model.model_json_schema()
    single = [name for name in schema["properties"] if not _keys_below(schema, name)]
    parts = [
        head,
        "## Top level\n",
        table(_COLUMNS, (_row(schema, (name,)) for name in single)),
        _examples(model, single),
    ]
    for name, field in schema["properties"].items():
        if name not in single:
            parts += [f"## `{name}`\n", f"{field['description']}\n"]
            parts += [table(_COLUMNS, _rows(schema, (name,))), _examples(model, [name])]
    return "\n".join(parts)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"


def _keys_below(schema: JsonSchema, *path: str) -> list[str]:
    """The keys of a mapping; `*` for one whose keys the user chooses and whose values are mappings."""
    keys: dict[str, None] = {}
    for node in schemas_at(schema, path):
        keys |= dict.fromkeys(node.get("properties", {}))
        values = node.get("additionalProperties")
        if isinstance(values, Mapping) and any(below.get("properties") for below in schemas_at(schema, (*path, "*"))):
            keys["*"] = None
    return list(keys)


def _rows(schema: JsonSchema, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for key in _keys_below(schema, *path):
        nodes = schemas_at(schema, (*path, key))
        nested = key == "*" or bool(nodes[0].get("properties"))
        named = key != "*" and "*" in _keys_below(schema, *path, key)
        # A section that can be switched off has a row of its own, and so has one whose keys the user chooses.
        if not nested or any(node.get("type") == "null" for node in nodes):
            yield _row(schema, (*path, key))
        if nested or named:
            yield from _rows(schema, (*path, key))


def _row(schema: JsonSchema, path: tuple[str, ...]) -> tuple[str, ...]:
    nodes = schemas_at(schema, path)
    parents = [parent for parent in schemas_at(schema, path[:-1]) if path[-1] in parent.get("properties", {})]
    needed = all(path[-1] in parent.get("required", []) for parent in parents)
    described = [parent["properties"][path[-1]] for parent in parents]
    default = next((field["default"] for field in described if "default" in field), None)
    kinds = dict.fromkeys(_type(schema, node) for node in nodes if node.get("type") != "null")
    name = ".".join("NAME" if part == "*" else part for part in (path[1:] or path))
    shown = "**required**" if needed else _shown(default)
    return f"`{name}`", " or ".join(kinds), shown, described[0].get("description", "")


def _type(schema: JsonSchema, node: JsonSchema) -> str:
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if node.get("type") == "array":
        items: JsonSchema = node.get("items") or next(iter(node.get("prefixItems", [])), {})
        kinds = dict.fromkeys(_type(schema, item) for item in schemas_at({**schema, **items}, ()))
        return f"list of {' or '.join(kinds)}"
    kind = _TYPES.get(node.get("type", ""), "anything")
    low, high = node.get("minimum", node.get("exclusiveMinimum")), node.get("maximum", node.get("exclusiveMaximum"))
    if low is not None and high is not None:
        return f"{kind}, {low} to {high}"
    return f"{kind}, at least {low}" if low else kind


def _shown(default: Any) -> str:
    return (
        ""
        if default in (None, "", [], {})
        else f"`{json.dumps(default)}`"
        if not isinstance(default, str)
        else f"`{default}`"
    )


def _examples(model: type[BaseModel], names: list[str]) -> str:
    fields = {field.alias or key: field for key, field in model.model_fields.items()}
    return f"```yaml\n{dump_yaml({name: (fields[name].examples or [fields[name].default])[0] for name in names})}```\n"

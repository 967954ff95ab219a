"""Say what is wrong with a configuration: the line, the key, the nearest right key."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from kfp_ratchet.pipelines.config_yaml import KeyPath, Marked, dotted

JsonSchema = Mapping[str, Any]

_WORDS = {
    "Input should be ": "must be ",
    "String should have at least 1 character": "must not be empty",
    "a valid string": "text",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
    "a valid dictionary": "a mapping",
    "a valid array": "a list",
    "an object": "a mapping",
    "Tuple should have": "must have",
    " after validation": "",
    "Value error, ": "",
}


def problems_of(error: ValidationError, marked: Marked, schema: JsonSchema) -> list[tuple[int, str]]:
    """Line and text of each problem that pydantic found.

    Args:
        error: From validating `marked.value`.
        marked: The file.
        schema: JSON Schema of the model.
    """
    texts: dict[KeyPath, list[str]] = {}
    for entry in error.errors(include_url=False):
        path = _path_in_file(entry["loc"], marked, keep_last=entry["type"] == "missing")
        texts.setdefault(path, []).append(_text(entry, path, schema))
    # Each alternative of a union complains; the one that got furthest is about what was meant.
    furthest = {path: text for path, text in texts.items() if not any(_is_below(other, path) for other in texts)}
    return [_placed(path, _joined(text), marked) for path, text in furthest.items()]


def nearest(name: str, names: Iterable[str]) -> str:
    """`, did you mean 'x'?`, or "" when nothing is near."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def schemas_at(schema: JsonSchema, path: KeyPath) -> list[JsonSchema]:
    """What a JSON Schema says about a path, one entry for each alternative."""
    found = list(_alternatives(schema, schema))
    for part in path:
        found = [deeper for node in found for child in _children(node, part) for deeper in _alternatives(child, schema)]
    return found


def _children(node: JsonSchema, part: str | int) -> Iterator[JsonSchema]:
    if isinstance(part, int):
        children = [*node.get("prefixItems", [])[part : part + 1], node.get("items")]
    else:
        children = [node.get("properties", {}).get(part, node.get("additionalProperties"))]
    yield from (child for child in children if isinstance(child, Mapping))


def _alternatives(node: JsonSchema, root: JsonSchema) -> Iterator[JsonSchema]:
    if "$ref" in node:
        target = root["$defs"][node["$ref"].rpartition("/")[2]]
        # What stands beside a reference (its description, its default) speaks about this very place.
        yield from _alternatives({**target, **{key: value for key, value in node.items() if key != "$ref"}}, root)
        return
    nested = [*node.get("anyOf", []), *node.get("oneOf", [])]
    if not nested:
        yield node
    for child in nested:
        yield from _alternatives({"description": node.get("description", ""), **child}, root)


def _path_in_file(location: tuple[str | int, ...], marked: Marked, keep_last: bool) -> KeyPath:
    # pydantic puts the names of a union's alternatives between the keys.
    path: KeyPath = ()
    for index, part in enumerate(location):
        if (*path, part) in marked.lines or (keep_last and index == len(location) - 1):
            path = (*path, part)
    return path


def _is_below(path: KeyPath, other: KeyPath) -> bool:
    return len(path) > len(other) and path[: len(other)] == other


def _joined(texts: list[str]) -> str:
    first, *others = dict.fromkeys(texts)
    return " or ".join([first, *(text.removeprefix("must be ") for text in others)])


def _placed(path: KeyPath, text: str, marked: Marked) -> tuple[int, str]:
    if path:
        return marked.line(path), f"{dotted(path)}: {text}"
    # What is wrong between sections begins with the key it is about.
    named = re.match(r"([\w.]+): ", text)
    return marked.line(tuple(named[1].split(".")) if named else ()), text


def _text(entry: Mapping[str, Any], path: KeyPath, schema: JsonSchema) -> str:
    kind, given = entry["type"], entry["input"]
    if kind == "extra_forbidden":
        return f"unknown key{_hint(str(path[-1]), path[:-1], schema)}"
    description = _described(schema, path)
    if kind == "missing":
        return f"is missing; {description}"
    if kind == "string_pattern_mismatch":
        example = next((node["default"] for node in schemas_at(schema, path) if node.get("default")), "")
        known = not example or example in description
        return f"{given!r} does not fit; {description if known else f'{description.rstrip(chr(46))}, e.g. {example}'}"
    if kind == "union_tag_invalid":
        context = entry["ctx"]
        return f"{context['discriminator'].strip(chr(39))} is {context['tag']!r}; it must be one of {context['expected_tags']}"
    if kind == "union_tag_not_found":
        return f"{entry['ctx']['discriminator'].strip(chr(39))} is missing; {description}"
    text = str(entry["msg"])
    for theirs, ours in _WORDS.items():
        text = text.replace(theirs, ours)
    return text


def _described(schema: JsonSchema, path: KeyPath) -> str:
    """What the schema says of a path or, where it says nothing, of the nearest one above."""
    for end in range(len(path), 0, -1):
        for node in schemas_at(schema, path[:end]):
            if text := node.get("description"):
                return _within_a_sentence(text)
    return ""


def _within_a_sentence(text: str) -> str:
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _hint(key: str, path: KeyPath, schema: JsonSchema) -> str:
    here = _keys(schema, path)
    if hint := nearest(key, here):
        return hint
    elsewhere = [f"{section}.{key}" for section in _keys(schema, ()) if key in _keys(schema, (section,))]
    return f", did you mean {elsewhere[0]!r}?" if elsewhere else f"; there are {', '.join(here)}"


def _keys(schema: JsonSchema, path: KeyPath) -> list[str]:
    return list(dict.fromkeys(key for node in schemas_at(schema, path) for key in node.get("properties", {})))

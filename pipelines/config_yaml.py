"""Read YAML so that every value knows its line, by the rules of YAML 1.2 (`on`, `no`, 2013-06-30 and 010 are what they look like).

PyYAML follows YAML 1.1, where the key `on` is True, `1e-3` is text and a date is no text; a later key silently wins over the same key.
"""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kfp_ratchet.components.shared.errors import InputError

KeyPath = tuple[str | int, ...]
_MAX_BYTES = 1_000_000
"""The parser takes a second a megabyte, and no person writes so much."""
_MAX_DEPTH = 20
_MAX_KEYS = 100_000
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema)."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


class _Dumper(yaml.SafeDumper):
    """Its counterpart."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


for _tag, _pattern, _first in (
    ("null", r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)


def _int(_: _Loader, node: yaml.ScalarNode) -> int:
    return int(node.value)


def _float(_: _Loader, node: yaml.ScalarNode) -> float:
    return float(re.sub(r"\.(inf|nan)$", r"\1", node.value.lower()))


_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


@dataclass
class Marked:
    """Plain values of a YAML file, the line of each key and item, and what is wrong with the text itself."""

    value: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)

    def line(self, path: KeyPath) -> int:
        """The line of a key, or of the nearest key above it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_yaml(path: Path) -> Marked:
    """Read a YAML file that holds one mapping.

    Returns:
        Values as JSON knows them (keys are text as written) and lines counted from 1; problems are duplicate keys, NaN and infinities.

    Raises:
        InputError: There is no such file, or it is not one YAML mapping.
    """
    try:
        if (size := path.stat().st_size) > _MAX_BYTES:
            raise InputError(f"{path} has {size:,} bytes, too many for a configuration", "is it the right file?")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist", "make one with `ratchet init data.csv --target column`, or name another file"
        ) from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder", "name the file, e.g. ratchet.yaml") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: the text is not UTF-8: {error.reason}", "save it as UTF-8") from None
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read: {told}", "name a file that you may read") from None
    found = Marked()
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            found.value = _plain(loader, node, (), found)
    except yaml.YAMLError as error:
        raise InputError(
            _explain(path, text, error), "write lines such as `key: value`, indented with spaces"
        ) from None
    except RecursionError:
        raise InputError(f"{path} is nested too deeply for a configuration", "look for repeated brackets") from None
    if found.value is None:
        raise InputError(f"{path} is empty", "make one with `ratchet init data.csv --target column`")
    if not isinstance(found.value, dict):
        raise InputError(
            f"{path} holds a {type(found.value).__name__}, not settings", "write lines such as `name: flights`"
        )
    return found


def dump_yaml(value: Any) -> str:
    """YAML of plain values, keys in their order, quoted only where `read_yaml` would misread them."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def _plain(loader: _Loader, node: yaml.Node, path: KeyPath, found: Marked) -> Any:
    line = node.start_mark.line + 1
    found.lines.setdefault(path, line)
    # An alias may hold itself, or aliases of aliases may multiply.
    if len(path) > _MAX_DEPTH or len(found.lines) > _MAX_KEYS:
        raise yaml.MarkedYAMLError(problem="too deep or too long for a configuration", problem_mark=node.start_mark)
    if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN_TAGS:
        raise yaml.MarkedYAMLError(problem=f"the tag {node.tag!r} means nothing here", problem_mark=node.start_mark)
    for scalar in [key for key, _ in node.value] if isinstance(node, yaml.MappingNode) else [node]:
        if isinstance(scalar, yaml.ScalarNode) and re.search("[\ud800-\udfff]", scalar.value):
            raise yaml.MarkedYAMLError(problem="half a character", problem_mark=scalar.start_mark)
    if isinstance(node, yaml.MappingNode):
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be plain text", problem_mark=key_node.start_mark)
            key, key_line = key_node.value, key_node.start_mark.line + 1
            if key in values:
                first = found.lines[*path, key]
                found.problems.append((key_line, f"{dotted((*path, key))}: given twice, first in line {first}"))
                continue
            found.lines[*path, key] = key_line
            values[key] = _plain(loader, value_node, (*path, key), found)
        return values
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, item in enumerate(node.value):
            found.lines[*path, index] = item.start_mark.line + 1
            items.append(_plain(loader, item, (*path, index), found))
        return items
    try:
        value = loader.construct_object(node)
    except ValueError as error:
        raise yaml.MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from None
    if isinstance(value, float) and not math.isfinite(value):
        found.problems.append((line, f"{dotted(path)}: {node.value} is not a number one can compare with"))
        return 0.0
    return value


def dotted(path: KeyPath) -> str:
    """A path as people write it: `window.train`, `columns.slices[0]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _explain(path: Path, text: str, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"{path}: {error}"
    lines = text.splitlines()
    if mark.line < len(lines) and re.match(r"^ *\t", lines[mark.line]):
        return f"{path}:{mark.line + 1}: a tab in the indentation; indent with spaces"
    problem = getattr(error, "problem", None) or str(error)
    context = getattr(error, "context", None)
    return f"{path}:{mark.line + 1}: {problem}{f' ({context})' if context else ''}"

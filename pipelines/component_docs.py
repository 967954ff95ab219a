"""The pages that are made from code: a README for each component, the references of configurations, and what Kubeflow shows."""

import inspect
from pathlib import Path
from typing import Any

import docstring_parser

from kfp_ratchet.components import ops
from kfp_ratchet.pipelines import declared_docs, ui_docs
from kfp_ratchet.pipelines.config import Config
from kfp_ratchet.pipelines.config_docs import document, json_schema, table
from kfp_ratchet.pipelines.declared import Declared

_TYPES = {"String": "str", "Integer": "int", "Double": "float", "Boolean": "bool"}


def pages() -> dict[Path, str]:
    """Text by path below the repository's root."""
    readmes = {Path("components", name, "README.md"): component_page(getattr(ops, name)) for name in ops.NAMES}
    return {
        **readmes,
        Path("docs/configuration.md"): document(Config),
        Path("docs/ratchet.schema.json"): json_schema(Config),
        Path("docs/pipelines.md"): document(Declared, declared_docs.HEAD),
        Path("docs/pipelines.schema.json"): json_schema(Declared),
        Path("docs/kubeflow-ui.md"): ui_docs.page(),
    }


def stale(root: Path) -> list[Path]:
    """The pages below `root` that are missing or not what the code says."""
    return list(_stale(root))


def write(root: Path) -> list[Path]:
    """Write the stale pages and name them."""
    written = _stale(root)
    for path, text in written.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return list(written)


def _stale(root: Path) -> dict[Path, str]:
    return {
        path: text for path, text in pages().items() if not (root / path).exists() or (root / path).read_text() != text
    }


def component_page(component: Any) -> str:
    """Markdown page of one KFP component: what it does, inputs, outputs, and how to call it."""
    spec = component.component_spec
    name = component.python_func.__name__
    parsed = docstring_parser.parse(inspect.getdoc(component.python_func) or "")
    described = {entry.arg_name: _one_line(entry.description) for entry in parsed.params}
    returned = _one_line(parsed.returns.description) if parsed.returns else ""
    inputs = [
        (f"`{key}`", _type(entry.type), _default(entry), described.get(key, "")) for key, entry in spec.inputs.items()
    ]
    outputs = [
        (f"`{key}`", _type(entry.type), _one_line(entry.description) or described.get(key) or returned)
        for key, entry in (spec.outputs or {}).items()
    ]
    needed = [f"{key}={key}" for key, entry in spec.inputs.items() if not entry.optional]
    parts = [
        f"# `{name}`\n",
        f"{_one_line(parsed.short_description)}\n",
        f"{_one_line(parsed.long_description)}\n" if parsed.long_description else "",
        f"```python\nfrom kfp_ratchet.components import ops\n\ntask = ops.{name}({', '.join(needed)})\n```\n",
        "## Inputs\n",
        table(("name", "type", "default", "meaning"), inputs),
        "## Outputs\n",
        table(("name", "type", "meaning"), outputs) if outputs else "None.\n",
        f"Image: `{spec.implementation.container.image}`\n",
    ]
    return "\n".join(part for part in parts if part)


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def _type(name: str) -> str:
    return _TYPES.get(name) or name.removeprefix("system.").partition("@")[0]


def _default(entry: Any) -> str:
    return "**required**" if not entry.optional else f"`{entry.default!r}`" if entry.default is not None else ""


if __name__ == "__main__":
    for page in write(Path.cwd()):
        print(f"{page} written")  # noqa: T201

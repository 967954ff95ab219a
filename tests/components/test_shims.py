"""The source as it is shipped in the YAML, not the Python function: a module constant used in a body passes unit tests and is a
NameError in the pod."""

import ast
import builtins
import importlib
import inspect
import symtable
from pathlib import Path

import pytest
import yaml
from kfp import compiler

from kfp_ratchet.components import ops

ROOT = Path(__file__).parent.parent.parent
PROVIDED = {"dsl", "NamedTuple"}
"""What KFP's own preamble imports before a lightweight component's source (`from kfp.dsl import *`, `from typing import *`)."""


def shipped_source(step: str, tmp_path: Path) -> str:
    path = tmp_path / f"{step}.yaml"
    compiler.Compiler().compile(getattr(ops, step), str(path))
    executors = next(yaml.safe_load_all(path.read_text()))["deploymentSpec"]["executors"]
    (executor,) = executors.values()
    return executor["container"]["command"][-1]


def unresolved_globals(source: str) -> set[str]:
    table = symtable.symtable(source, "shim", "exec")
    defined = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    used: set[str] = set()
    pending = [table]
    while pending:
        scope = pending.pop()
        pending.extend(scope.get_children())
        used |= {
            symbol.get_name()
            for symbol in scope.get_symbols()
            if symbol.is_global() or (scope is table and symbol.is_referenced() and not symbol.is_assigned())
        }
    return used - defined - set(dir(builtins)) - PROVIDED


def test_every_folder_has_its_component_in_ops() -> None:
    folders = {path.parent.name for path in (ROOT / "components").glob("*/component.py")}
    assert folders == set(ops.NAMES) == set(dir(ops))


@pytest.mark.parametrize("step", ops.NAMES)
def test_body_uses_no_name_that_is_missing_in_the_pod(step: str, tmp_path: Path) -> None:
    assert unresolved_globals(shipped_source(step, tmp_path)) == set()


def test_the_check_above_sees_a_module_constant() -> None:
    assert unresolved_globals("def step(a: str):\n    return a + SUFFIX\n") == {"SUFFIX"}


@pytest.mark.parametrize("step", ops.NAMES)
def test_the_logic_a_body_imports_takes_the_arguments_it_is_given(step: str, tmp_path: Path) -> None:
    """The shim and its logic are written apart: a renamed function or a missing argument shows only in a run."""
    tree = ast.parse(shipped_source(step, tmp_path))
    imports = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kfp_ratchet")
    ]
    assert len(imports) == 1 and len(imports[0].names) == 1
    logic = getattr(importlib.import_module(imports[0].module or ""), imports[0].names[0].name)
    (call,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == imports[0].names[0].name
    ]
    inspect.signature(logic).bind(
        *call.args, **{keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    )


@pytest.mark.parametrize("step", ops.NAMES)
def test_bodies_are_short_and_every_input_is_documented(step: str) -> None:
    component = getattr(ops, step)
    (function,) = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(component.python_func)))
        if isinstance(node, ast.FunctionDef)
    ]
    assert len(function.body) <= 3, "a shim is a docstring, one import, one call"
    spec = component.component_spec
    for name, item in (spec.inputs or {}).items():
        assert item.description or name == "status", f"{step}.{name} has no description"
    assert spec.description

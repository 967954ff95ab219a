"""`ratchet add-step`: what it writes is formatted, typed, tested, and compiles; and it never replaces anything."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.add_step import add_step
from kfp_ratchet.pipelines.compile import compiled_pipelines
from kfp_ratchet.pipelines.declared import load_declared
from kfp_ratchet.pipelines.lint import lint

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent


def test_what_is_written_lies_in_the_right_rooms(tmp_path: Path) -> None:
    done = subprocess.run(
        [BIN / "ratchet", "add-step", "clean", "--json"], cwd=tmp_path, capture_output=True, text=True
    )
    assert json.loads(done.stdout)["files"] == [
        "conftest.py",
        "components/__init__.py",
        "components/clean/__init__.py",
        "components/clean/component.py",
        "components/clean/rows.py",
        "components/clean/README.md",
        "tests/components/clean/test_clean.py",
    ]
    second = add_step("fill_gaps", tmp_path)
    assert tmp_path / "conftest.py" not in second.files
    assert "`fill_gaps`" in (tmp_path / "components/fill_gaps/README.md").read_text()


@pytest.mark.slow
def test_what_is_written_is_formatted_typed_and_passes_its_own_test(tmp_path: Path) -> None:
    add_step("clean", tmp_path)
    code = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.py")]
    for command in (
        [BIN / "ruff", "format", "--isolated", "--check", "."],
        [BIN / "ruff", "check", "--isolated", "--select", "E,F,I,UP,B,SIM,RET,PTH,ANN,N,PT", "--ignore", "E501", "."],
        [BIN / "mypy", "--strict", "--config-file=", *code],
        [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "."],
    ):
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "MYPYPATH": str(ROOT / "build" / "typing")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_the_step_compiles_within_a_pipeline_of_ones_own(tmp_path: Path) -> None:
    add_step("clean", tmp_path)
    (tmp_path / "flows.py").write_text(
        "from kfp import dsl\nfrom components.clean.component import clean\n\n\n"
        "def tidy(source: str, revision: str):\n"
        "    data = dsl.importer(artifact_uri=source, artifact_class=dsl.Dataset, reimport=True).output\n"
        "    clean(dataset=data, column='id')\n"
    )
    (tmp_path / "pipelines.yaml").write_text("name: mine\npipelines: {tidy: {pipeline: 'flows:tidy'}}\n")
    (found,) = compiled_pipelines(load_declared(tmp_path / "pipelines.yaml")).values()
    assert found.spec.images and lint(found.text, "tidy") == []


@pytest.mark.parametrize(
    ("name", "problem", "nearest"),
    [
        ("My Step!", "no word", "my_step"),
        ("fillGaps", "no word", "fill_gaps"),
        ("2nd", "no word", "step_2nd"),
        ("clean-up", "no word", "clean_up"),
        ("../evil", "no word", "evil"),
        ("größe", "no word", "gr_e"),
        ("", "no word", "step"),
        ("a__b", "no word", "a_b"),
        ("class", "word of Python's own", "class_rows"),
        ("match", "word of Python's own", "match_rows"),
        ("list", "function of Python's own", "list_rows"),
        ("x" * 41, "longer than 40", "x" * 40),
    ],
)
def test_a_bad_name_is_refused_with_the_nearest_good_one(name: str, problem: str, nearest: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        add_step(name, tmp_path)
    assert problem in refused.value.message and refused.value.remedy == f"try {nearest}"
    assert not list(tmp_path.iterdir())
    add_step(nearest, tmp_path)


@pytest.mark.parametrize("present", ["components/clean", "tests/components/clean/test_clean.py"])
def test_nothing_is_replaced(present: str, tmp_path: Path) -> None:
    path = tmp_path / present
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        add_step("clean", tmp_path)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]
    assert path.read_text() == "mine"

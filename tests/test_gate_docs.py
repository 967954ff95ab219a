"""The pages about gate and ledger say what the benchmarks found, and what they show can be done."""

import contextlib
import io
import json
import re
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from kfp_ratchet.components.gate.policy import Budget, Policy
from kfp_ratchet.components.shared.entry import Kind
from kfp_ratchet.pipelines.cli import app

ROOT = Path(__file__).parent.parent
PAGES = {name: (ROOT / "docs" / name).read_text() for name in ("gate.md", "ledger.md")}


@pytest.fixture(scope="module")
def picture():
    """The script that draws the picture and fills the pages."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import gate_picture

    return gate_picture


@pytest.fixture(scope="module")
def parts(picture):
    return picture.blocks(json.loads(picture.STATISTICS.read_text()), picture.RESULTS.read_text())


@pytest.mark.parametrize("name", PAGES)
def test_a_page_quoted_numbers_of_another_run_of_the_benchmarks(parts, picture, name):
    """Else: python benchmarks/gate_picture.py."""
    marked = set(re.findall(r"^<!-- (?!end)(.+?) -->$", PAGES[name], re.MULTILINE))
    assert marked and marked <= set(parts)
    assert picture.filled(PAGES[name], parts) == PAGES[name]


def test_every_generated_part_is_shown(parts):
    assert [name for name in parts if not any(f"<!-- {name} -->" in page for page in PAGES.values())] == []


def test_the_picture_was_drawn_from_other_numbers(picture):
    stamp = picture.stamp(picture.STATISTICS.read_bytes(), picture.RESULTS.read_text())
    assert stamp in picture.PICTURE.read_text()


def test_the_faults_were_never_counted(picture):
    """Else: python benchmarks/fault_counts.py, then gate_picture.py."""
    killed = picture.faults(picture.RESULTS.read_text())
    assert len(killed) > 5 and sum(cases for cases, _ in killed.values()) >= 530


def test_the_example_in_python_promotes():
    (code,) = re.findall(r"```python\n(.*?)```", PAGES["gate.md"], re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "gate.md", "exec"), {})
    assert printed.getvalue().startswith("Promoted: roc_auc ") and "pass gain " in printed.getvalue()


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)]+)\)", PAGES[name]):
        path, _, heading = target.partition("#")
        page = ROOT / "docs" / path if path else ROOT / "docs" / name
        assert page.exists(), target
        slugs = [re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in _headings(page)]
        assert not heading or heading in slugs, target


def _headings(page: Path) -> list[str]:
    return re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", PAGES)
def test_a_command_that_does_not_exist_was_named(name):
    root = get_command(app)
    named = re.findall(r"ratchet (gate|model|ledger) ([a-z]+)((?: [^`\n]*)?)", PAGES[name])
    assert named
    for noun, verb, rest in named:
        command = root.commands[noun].commands.get(verb)
        assert command is not None, f"ratchet {noun} {verb}"
        options = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options, f"ratchet {noun} {verb}{rest}"


def test_a_setting_that_does_not_exist_was_named():
    known = {*Policy.model_fields, *Budget.model_fields}
    _, _, checks = PAGES["gate.md"].partition("## Everything else that must hold")
    table = re.findall(r"^\|.*\| ([^|]*`[a-z_]+`[^|]*) \|$", checks.partition("\n## ")[0], re.MULTILINE)
    named = {key for cell in table for key in re.findall(r"`([a-z_]+)`", cell)}
    assert len(named) >= 6 and named <= known


def test_every_kind_of_entry_is_explained():
    told = set(re.findall(r"`([a-z-]+)`", "\n".join(re.findall(r"^\| (`.*?) \|", PAGES["ledger.md"], re.MULTILINE))))
    assert told == set(Kind.__args__)

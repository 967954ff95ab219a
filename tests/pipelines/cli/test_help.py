"""Help as a newcomer reads it, at 80 columns."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from kfp_ratchet.pipelines.cli import app


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    command = command or get_command(app)
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


PAGES = dict(commands())


@pytest.mark.parametrize("path", PAGES, ids=" ".join)
def test_help_showed_python_types(path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    app([*path, "--help"], standalone_mode=False, prog_name="ratchet")
    page = capsys.readouterr().out
    assert "Usage: ratchet" in page and max(map(len, page.splitlines())) <= 80
    options = page.partition("Options ─")[2]
    assert options and not re.findall(r"<\w+(?:\[\w+\])?>", options)


def test_every_command_has_an_example():
    without = [
        path for path, command in PAGES.items() if not hasattr(command, "commands") and "Example: " not in command.help
    ]
    assert len(PAGES) > 8 and without == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("rnu",), "Did you mean 'run'?"),
        (("model", "hstory"), "Did you mean 'history'?"),
        (("run", "--no-cahce"), "--no-cache"),
        (("init",), "see ratchet init --help"),
    ],
)
def test_whoever_mistypes_is_told_the_nearest_and_where_to_read(project, arguments, told):
    done = project.ratchet(*arguments)
    assert done.returncode == 2 and told in done.stderr and "remedy: see ratchet" in done.stderr


def test_completion_scripts_come_without_an_error(project):
    # Typer would look for the shell among the processes above, where a test run in the background has none.
    shown = project.ratchet("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert shown.returncode == 0 and "_RATCHET_COMPLETE" in shown.stdout
    asked = {"_RATCHET_COMPLETE": "complete_bash", "COMP_WORDS": "ratchet model ", "COMP_CWORD": "2"}
    assert project.ratchet(**asked).stdout.split() == [
        "history",
        "live",
        "trace",
        "reproduce",
        "diff",
        "approve",
        "deny",
        "rollback",
    ]

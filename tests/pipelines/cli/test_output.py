"""Standard output that is a pipe, a file, full, closed, or of another encoding."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from kfp_ratchet.components.shared.journal import Record
from kfp_ratchet.pipelines.cli.live import Board
from kfp_ratchet.pipelines.cli.terminal import Terminal, never_fail_on_characters, plain


@pytest.mark.parametrize("arguments", [("status", "--json"), ("model", "history")])
def test_a_reader_that_goes_away_is_no_traceback(project, arguments):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [project.command, *arguments], cwd=project.folder, stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize("arguments", [("status", "--json")])
def test_a_full_disk_under_standard_output_is_no_traceback(project, arguments):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [project.command, *arguments], cwd=project.folder, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 3 and "Traceback" not in done.stderr


@pytest.mark.skipif(not sys.prefix.isascii(), reason="Python itself cannot read such a path in the C locale")
def test_help_in_a_locale_without_boxes_is_ascii(project):
    shown = project.ratchet("--help", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", LC_ALL="C")
    assert shown.returncode == 0 and shown.stdout.isascii()


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [("ascii", "+ gr\\xf6\\xdfe - \\u20ac\n"), ("latin-1", "+ größe · \\u20ac\n"), ("utf-8", "✓ größe · €\n")],
)
def test_an_encoding_without_the_marks_was_a_unicode_error(monkeypatch, encoding, printed):
    """The marks become ASCII ones of the same width, so that columns stay in line."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr("sys.stdout", file)
    never_fail_on_characters()
    Terminal().say("✓ größe · €")
    assert file.buffer.getvalue().decode(encoding) == printed


def test_forced_colours_moved_the_cursor_in_a_log_file(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr("sys.stdout", file)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with Board(Terminal(), ["pin"]) as board:
        board.show({"pin": Record(run="r", step="pin", state="succeeded", line="done", started="2026-01-01T00:00:00Z")})
    assert file.getvalue().count("done") == 1
    assert "\x1b[32m" in file.getvalue() and "\x1b[?25l" not in file.getvalue()


def test_text_from_data_cannot_steer_the_terminal():
    assert plain("a\x1b[2Jb\x07\x9b1m\tc\nd") == "a\\x1b[2Jb\\x07\\x9b1m\tc\nd"
    file = io.StringIO()
    with Board(Console(file=file, width=80), ["pin"]) as board:
        board.show({"pin": Record(run="r", step="pin", state="failed", line="\x1b[2J[red]:smile:[/]")})
    assert "\\x1b[2J[red]:smile:[/]" in file.getvalue()

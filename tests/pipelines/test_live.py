"""What a terminal, and what a log file shows of a run."""

import io

import pytest
from rich.console import Console

from kfp_ratchet.components.shared.journal import Record
from kfp_ratchet.pipelines.cli.live import Board, step_states

STEPS = ["pin", "ingest", "validate", "gate", "notify"]
RECORDS = {
    "pin": Record(
        run="r", step="pin", state="succeeded", line="revision 1a2b", seconds=0.1, started="2026-01-01T00:00:00+00:00"
    ),
    "validate": Record(run="r", step="validate", line="checking [bold]rows[/]", started="2099-01-01T00:00:01+00:00"),
}


def shown(width: int, terminal: bool, **environment: str) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, _environ=environment)
    with Board(console, STEPS) as board:
        board.show({"pin": RECORDS["pin"]})
        board.show(RECORDS)
        board.show(RECORDS)
    return file.getvalue()


def test_a_step_without_a_record_before_one_that_began_came_from_the_cache() -> None:
    assert step_states(STEPS, RECORDS) == {
        "pin": "succeeded", "ingest": "cached", "validate": "running", "gate": "waiting", "notify": "waiting",
    }  # fmt: skip


def test_the_exit_handler_does_not_make_unreached_steps_look_cached() -> None:
    failed = {"pin": RECORDS["pin"].model_copy(update={"state": "failed"}), "notify": RECORDS["pin"]}
    assert step_states(STEPS, failed)["gate"] == "waiting"


def test_a_log_gets_each_change_once_and_no_escape_codes() -> None:
    text = shown(80, terminal=False)
    assert text.count("revision 1a2b") == 1 and text.count("served from the cache") == 1
    assert "\x1b" not in text


def test_what_a_step_says_is_never_read_as_markup() -> None:
    assert "[bold]rows[/]" in shown(80, terminal=True, NO_COLOR="1", TERM="xterm")


@pytest.mark.parametrize("width", [30, 40, 80, 200])
def test_lines_keep_to_the_width_of_a_terminal(width: int) -> None:
    from rich.text import Text

    lines = Text.from_ansi(shown(width, terminal=True, TERM="xterm")).plain.splitlines()
    assert max(map(len, lines)) <= width


def test_a_log_tells_of_a_long_step_once_a_minute() -> None:
    from datetime import UTC, datetime, timedelta

    file = io.StringIO()
    with Board(Console(file=file, width=80), STEPS) as board:
        for seconds in (10, 70, 100, 130):
            started = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()
            board.show({"pin": Record(run="r", step="pin", line=f"after {seconds}", started=started)})
    assert [line.split()[-1] for line in file.getvalue().splitlines()] == ["70", "130"]

"""What a terminal, and what a log file shows of a run."""

import io

import pytest
from rich.console import Console

from kfp_ratchet.components.shared.journal import Record, State
from kfp_ratchet.pipelines.cli.live import Board, _duration, step_states

STEPS = ["pin", "ingest", "validate", "gate", "notify"]
RECORDS = {
    "pin": Record(
        run="r", step="pin", state="succeeded", line="revision 1a2b", seconds=0.1, started="2026-01-01T00:00:00+00:00"
    ),
    "validate": Record(run="r", step="validate", line="checking [bold]rows[/]", started="2099-01-01T00:00:01+00:00"),
}


def shown(width: int, terminal: bool, height: int = 24, **environment: str) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, force_terminal=terminal, _environ=environment)
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


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
def test_lines_keep_to_the_width_of_a_terminal(width: int) -> None:
    from rich.text import Text

    lines = Text.from_ansi(shown(width, terminal=True, TERM="xterm")).plain.splitlines()
    assert max(map(len, lines)) <= width
    assert "revision 1a2b" in "\n".join(lines)


def test_nothing_was_shown_until_the_first_step_began() -> None:
    file = io.StringIO()
    with Board(Console(file=file, width=80, force_terminal=True, _environ={"TERM": "xterm"}), STEPS):
        assert all(step in file.getvalue() for step in STEPS)


def test_the_step_at_work_was_below_the_last_line_of_a_low_terminal() -> None:
    file = io.StringIO()
    console = Console(file=file, width=80, height=5, force_terminal=True, _environ={"TERM": "xterm"})
    gate = Record(run="r", step="gate", line="resampling", started="2099-01-01T00:00:01+00:00")
    with Board(console, STEPS) as board:
        board.show({**RECORDS, "gate": gate})
        console.print(board._draw())
    assert "resampling" in file.getvalue() and "…\n" not in file.getvalue()


def test_a_terminal_that_cannot_move_its_cursor_showed_nothing_before_the_end() -> None:
    text = shown(80, terminal=True, TERM="dumb")
    assert text.count("revision 1a2b") == 1 and "\x1b[1A" not in text


def test_an_error_of_many_lines_takes_one() -> None:
    long = Record(
        run="r", step="pin", state="failed", line="why " * 40 + "\nsecond line", started="2026-01-01T00:00:00+00:00"
    )
    for terminal in (True, False):
        file = io.StringIO()
        with Board(Console(file=file, width=80, force_terminal=terminal, _environ={"TERM": "xterm"}), STEPS) as board:
            board.show({"pin": long})
        assert "why why" in file.getvalue() and "second line" not in file.getvalue()


@pytest.mark.parametrize(
    ("notify", "told"), [("succeeded", "not needed"), ("failed", "not reached"), (None, "not reached")]
)
def test_a_step_that_never_ran_looked_as_if_it_were_still_to_come(notify: State | None, told: str) -> None:
    file = io.StringIO()
    records = {
        "pin": RECORDS["pin"],
        **({"notify": RECORDS["pin"].model_copy(update={"state": notify})} if notify else {}),
    }
    with Board(Console(file=file, width=80, force_terminal=True, _environ={"TERM": "xterm"}), STEPS) as board:
        board.show(records)
    assert told in file.getvalue()


@pytest.mark.parametrize("seconds", [-0.2, 0.04, 59.97, 60, 3599.9, 3600 * 99])
def test_hours_moved_the_columns(seconds: float) -> None:
    assert len(_duration(seconds)) <= 8


def test_a_log_tells_of_a_long_step_once_a_minute() -> None:
    from datetime import UTC, datetime, timedelta

    file = io.StringIO()
    with Board(Console(file=file, width=80), STEPS) as board:
        for seconds in (10, 70, 100, 130):
            started = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()
            board.show({"pin": Record(run="r", step="pin", line=f"after {seconds}", started=started)})
    assert [line.split()[-1] for line in file.getvalue().splitlines()] == ["70", "130"]

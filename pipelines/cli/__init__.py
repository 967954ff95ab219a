"""The `ratchet` command: daily verbs here and in the modules beside this one, one file a noun.

Only what is cheap is imported before a command runs, so that help and usage errors come at once.
"""

import json
import os
import signal
import sys
import traceback
from contextlib import suppress

import typer

from kfp_ratchet.components._image import VERSION
from kfp_ratchet.pipelines.cli import (
    authoring,
    data,
    doctor,
    gate,
    images,
    ledger,
    lint,
    model,
    replay,
    run,
    runs,
    schedule,
    server,
    serving,
    submit,
)
from kfp_ratchet.pipelines.cli.commands import Command, Group, UsageError
from kfp_ratchet.pipelines.cli.terminal import Terminal, never_fail_on_characters

_INTERRUPTED = 130

app = typer.Typer(
    name="ratchet",
    cls=Group,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Continuous training that only moves forward: retrain, judge on the same rows, promote only what is shown to be better.",
    epilog="Exit codes: 0 done, 1 a difference was found or nothing answers, 2 bad input or usage, 3 a step failed, 4 inconclusive, "
    "5 blocked by validation, 130 interrupted. An error goes to standard error; with --json, standard output too gets one object with "
    "error, remedy and exit_code.",
)
app.command(cls=Command)(authoring.init)
app.command("add-step", cls=Command)(authoring.add_step)
app.command(cls=Command)(run.run)
app.command(cls=Command)(submit.submit)
app.command(cls=Command)(replay.replay)
app.command(cls=Command)(serving.status)
app.command(cls=Command)(serving.stop)
app.command("compile", cls=Command)(authoring.compile_pipelines)
app.command(cls=Command)(lint.lint)
app.command(cls=Command)(doctor.doctor)
app.add_typer(model.app, name="model")
app.add_typer(gate.app, name="gate")
app.add_typer(ledger.app, name="ledger")
app.add_typer(data.app, name="data")
app.add_typer(images.app, name="images")
app.add_typer(server.app, name="server")
app.add_typer(schedule.app, name="schedule")
app.add_typer(runs.app, name="runs")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"kfp-ratchet {VERSION}")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Print tracebacks."),
) -> None:
    """Options before any command."""


def main() -> None:
    """Run the command; an error is one sentence, a remedy and an exit code, a traceback comes only with -v."""
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _interrupt)
    never_fail_on_characters()
    try:
        code = app(standalone_mode=False)
    except SystemExit as ending:
        # What Typer and rich end with when the reader of a pipe has gone away.
        code = _INTERRUPTED if ending.code == 1 else ending.code
    except (Exception, _Interrupted) as error:
        if {"-v", "--verbose"} & set(sys.argv):
            traceback.print_exc()
        code = _tell(error)
    try:
        if sys.stdout is not None:  # It is None when it was closed before.
            sys.stdout.flush()
    except OSError as error:
        # What could not be written is given up: Python would try again at its end, and exit with 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or _tell(error)
    sys.exit(code)


class _Interrupted(BaseException):
    """Someone wants the command to end. Not a KeyboardInterrupt: Typer would end the process without a word."""


def _interrupt(*_: object) -> None:
    raise _Interrupted


def _tell(error: BaseException) -> int:
    """Say what went wrong, on standard output as JSON too where that was asked for; returns the exit code."""
    message, remedy, code = _explained(error)
    # Where nothing can be printed any more, the exit code is what is left to say.
    with suppress(OSError):
        _print_error(message, remedy, code)
    return code


def _print_error(message: str, remedy: str, code: int) -> None:
    if "--json" in sys.argv:
        # Standard error may be open where standard output is not.
        with suppress(OSError):
            typer.echo(json.dumps({"error": message, "remedy": remedy, "exit_code": code}, indent=1))
    console = Terminal(stderr=True)
    if message:
        console.say(("error:", "bold red"), " ", message)
    if remedy:
        console.say(("remedy:", "bold"), " ", remedy)


def _explained(error: BaseException) -> tuple[str, str, int]:
    """Message, remedy and exit code."""
    from kfp_ratchet.components.shared.errors import RatchetError

    if isinstance(error, RatchetError):
        return error.message, error.remedy, error.exit_code
    if isinstance(error, _Interrupted):
        return "interrupted", "start it again: what is done stays done", _INTERRUPTED
    if isinstance(error, UsageError):
        context = error.ctx
        return error.format_message(), f"see {context.command_path} --help" if context else "", error.exit_code
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("kfp_ratchet"):
        return f"the Python package {error.name} is not installed here", "pip install 'kfp-ratchet[all]'", 3
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}", "free space, or give yourself the right to read and write there", 3
    return (
        f"unexpected {type(error).__name__}: {error}",
        "this is a defect of kfp-ratchet: report what `ratchet -v …` prints",
        3,
    )

"""The `ratchet` command: daily verbs here and in the modules beside this one, one file a noun.

Only what is cheap is imported before a command runs, so that help and usage errors come at once.
"""

import signal
import sys
import traceback

import typer
from rich.console import Console
from rich.text import Text

from kfp_ratchet.components._image import VERSION
from kfp_ratchet.pipelines.cli import authoring, data, model, run, serving

app = typer.Typer(
    name="ratchet",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Continuous training that only moves forward: retrain, judge on the same rows, promote only what is shown to be better.",
    epilog="Exit codes: 0 done, 1 differences found, 2 bad input or usage, 3 a step failed, 4 inconclusive, 5 blocked by validation.",
)
app.command()(authoring.init)
app.command()(run.run)
app.command()(serving.status)
app.command()(serving.stop)
app.command("compile")(authoring.compile_pipelines)
app.add_typer(model.app, name="model")
app.add_typer(data.app, name="data")


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
    try:
        app()
    except (Exception, _Interrupted) as error:
        if {"-v", "--verbose"} & set(sys.argv):
            traceback.print_exc()
        message, remedy, code = _explained(error)
        console = Console(stderr=True, soft_wrap=True, highlight=False)
        console.print("[bold red]error:[/]", Text(message))
        if remedy:
            console.print("[bold]remedy:[/]", Text(remedy))
        sys.exit(code)


class _Interrupted(BaseException):
    """Someone wants the command to end. Not a KeyboardInterrupt: Typer would end the process without a word."""


def _interrupt(*_: object) -> None:
    raise _Interrupted


def _explained(error: BaseException) -> tuple[str, str, int]:
    """Message, remedy and exit code."""
    from kfp_ratchet.components.shared.errors import RatchetError

    if isinstance(error, RatchetError):
        return error.message, error.remedy, error.exit_code
    if isinstance(error, _Interrupted):
        return "interrupted", "start it again: finished steps come from the cache", 130
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}", "free space, or give yourself the right to read and write there", 3
    return (
        f"unexpected {type(error).__name__}: {error}",
        "this is a defect of kfp-ratchet: report what `ratchet -v …` prints",
        3,
    )

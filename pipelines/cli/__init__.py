"""The `ratchet` command: daily verbs here and in the modules beside this one, one file a noun.

Only what is cheap is imported before a command runs, so that help and usage errors come at once.
"""

import sys
import traceback

import typer
from rich.console import Console

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
) -> None:
    """Options before any command."""


def main() -> None:
    """Run the command; an error is one sentence, a remedy and an exit code, a traceback comes only with -v."""
    from kfp_ratchet.components.shared.errors import RatchetError

    try:
        app()
    except Exception as error:
        if {"-v", "--verbose"} & set(sys.argv):
            traceback.print_exc()
        _complain(
            error.message if isinstance(error, RatchetError) else f"unexpected {type(error).__name__}: {error}",
            error.remedy
            if isinstance(error, RatchetError)
            else "this is a defect of kfp-ratchet: report it, with what -v prints",
        )
        sys.exit(error.exit_code if isinstance(error, RatchetError) else RatchetError.exit_code)


def _complain(message: str, remedy: str) -> None:
    console = Console(stderr=True)
    console.print("[bold red]error:[/]", end=" ")
    console.print(message, markup=False, highlight=False)
    if remedy:
        console.print("[bold]remedy:[/]", end=" ")
        console.print(remedy, markup=False, highlight=False)

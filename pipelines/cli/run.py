"""`ratchet run`: the whole pipeline on this machine."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

PIPELINES = ("continuous_training",)


def run(
    pipeline: Annotated[
        str, typer.Argument(help="continuous_training, or the path of a compiled pipeline.")
    ] = "continuous_training",
    config: Annotated[
        Path, typer.Option("--config", "-c", help="The configuration; its folder is where the steps work.")
    ] = Path("ratchet.yaml"),
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Replace a pipeline parameter; may be repeated."),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Run every step, also those whose inputs and code are unchanged.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show KFP's log as it comes, and tracebacks.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the outcome as one JSON object and nothing else.")
    ] = False,
) -> None:
    """Train a challenger, judge it against the champion, and put it live when it is shown to be better.

    Example: ratchet run --config ratchet.yaml -p trials=20 -p as_of=2026-03-31
    """
    from kfp_ratchet.components.shared.errors import InputError
    from kfp_ratchet.pipelines import runner
    from kfp_ratchet.pipelines.cli.live import Board

    package = "" if pipeline in PIPELINES else pipeline
    if package and not Path(package).is_file():
        raise InputError(
            f"there is no pipeline {pipeline!r}", f"name one of {', '.join(PIPELINES)} or the path of a compiled YAML"
        )
    console = Console(quiet=as_json)
    with Board(console, runner.steps(config, package)) as board:
        finished = runner.run(
            config,
            _parameters(parameter or []),
            package=package,
            cache=not no_cache,
            on_change=board.show,
            on_log=console.out if verbose else None,
        )
    if as_json:
        typer.echo(json.dumps(finished.summary(), indent=1))
    else:
        _tell(console, finished, verbose)
    raise typer.Exit(finished.view.exit_code)


def _parameters(pairs: list[str]) -> dict[str, Any]:
    """`NAME=VALUE` pairs as pipeline parameters of the right type.

    Raises:
        InputError: Not a pair, an unknown name (with the nearest right one) or a number that is none.
    """
    from difflib import get_close_matches

    from kfp_ratchet.components.shared.errors import InputError
    from kfp_ratchet.pipelines.config import PARAMETERS

    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"-p {pair!r} is not NAME=VALUE", "write e.g. -p trials=20")
        if name not in PARAMETERS:
            near = get_close_matches(name, PARAMETERS, n=1)
            raise InputError(
                f"there is no parameter {name!r}",
                f"did you mean {near[0]!r}?" if near else f"there are {', '.join(PARAMETERS)}",
            )
        try:
            values[name] = PARAMETERS[name](value)
        except ValueError:
            raise InputError(f"-p {name}={value}: not a whole number", f"write e.g. -p {name}=20") from None
    return values


def _tell(console: Console, finished: Any, verbose: bool) -> None:
    """The end of a run: verdict, report, where to look, and how to ask the model that is live."""
    from rich.text import Text

    from kfp_ratchet.pipelines.cli.serving import how_to_ask, shown

    view = finished.view
    colour = {"promoted": "green", "rejected": "yellow", "inconclusive": "yellow"}.get(view.outcome, "red")
    console.print()
    console.print(Text.assemble((view.outcome.capitalize(), f"bold {colour}"), "  ", view.sentence), soft_wrap=True)
    if view.remedy:
        console.print(Text.assemble(("Remedy", "bold"), "  ", view.remedy), soft_wrap=True)
    if verbose and view.failure and view.failure.traceback:
        console.out(view.failure.traceback)
    rows = [("Report", shown(finished.report) if finished.report else "none was written")]
    if view.failure:
        rows.append(("Log", shown(finished.folder / "log.txt")))
    # The command of this very environment: without an activated one, a bare `mlflow` would be another, or none.
    mlflow = shown(Path(sys.executable).with_name("mlflow"))
    rows.append(("MLflow", shlex.join([mlflow, "ui", "--backend-store-uri", finished.project.tracking_uri])))
    if question := how_to_ask(finished.project):
        rows.append(("Ask it", question))
    elif view.decision and (view.outcome == "promoted" or view.decision.champion_version):
        rows.append(("Serving", "nothing answers here; start it: ratchet status --start"))
    for name, value in rows:
        console.print(Text.assemble((f"{name:<8}", "bold"), value), soft_wrap=True)

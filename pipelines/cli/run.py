"""`ratchet run`: the whole pipeline on this machine."""

import json
import os
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from kfp_ratchet.pipelines.cli import completion
from kfp_ratchet.pipelines.cli.serving import how_to_ask, shown, start_command
from kfp_ratchet.pipelines.cli.summaries import JunitOption, SummaryOption, summaries
from kfp_ratchet.pipelines.cli.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_ratchet.components.notify.run_view import RunView
    from kfp_ratchet.pipelines.runner import Finished

_COLOURS = {
    "promoted": "green",
    "pending": "cyan",
    "unchanged": "yellow",
    "rejected": "yellow",
    "inconclusive": "yellow",
}


class Runner(StrEnum):
    """What runs a step."""

    subprocess = "subprocess"
    docker = "docker"


PIPELINES = ("continuous_training", "approve")


def run(
    pipeline: Annotated[
        str,
        typer.Argument(
            metavar="PIPELINE",
            help="continuous_training, approve, or the path of a compiled pipeline.",
            autocompletion=completion.pipelines_here,
        ),
    ] = "continuous_training",
    config: Annotated[
        Path,
        typer.Option("--config", "-c", metavar="FILE", help="The configuration; its folder is where the steps work."),
    ] = Path("ratchet.yaml"),
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter",
            "-p",
            metavar="NAME=VALUE",
            autocompletion=completion.parameters,
            help="Use another value than the configuration's for this run: trials, as_of, seed, policy and others "
            "(a wrong name lists them all); may be repeated.",
        ),
    ] = None,
    runner_name: Annotated[
        Runner,
        typer.Option(
            "--runner",
            help="What a step is: a process of this environment, or a container of its image. See docs/docker.md.",
        ),
    ] = Runner.subprocess,
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            metavar="NAME[=VALUE]",
            help="With --runner docker: hand on an environment variable besides the usual ones (AWS_*, MLFLOW_*, proxies and others); "
            "may be repeated.",
        ),
    ] = None,
    mount: Annotated[
        list[Path] | None,
        typer.Option(
            "--mount",
            metavar="PATH",
            help="With --runner docker: let the steps read a file or folder outside the project; may be repeated.",
        ),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Run every step, also those whose inputs and code are unchanged.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show KFP's log as it comes, and tracebacks.")
    ] = False,
    summary: SummaryOption = None,
    junit: JunitOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the outcome as one JSON object and nothing else.")
    ] = False,
) -> None:
    """Train a challenger, judge it against the champion, and put it live when it is shown to be better.

    `ratchet run approve` puts a version live that waited for approval, as that pipeline does on a cluster.

    Example: ratchet run --config ratchet.yaml -p trials=20 -p as_of=2026-03-31
    """
    from kfp_ratchet.components.shared.errors import InputError
    from kfp_ratchet.pipelines import runner
    from kfp_ratchet.pipelines.cli.live import Board
    from kfp_ratchet.pipelines.config import APPROVE_PARAMETERS, PARAMETERS
    from kfp_ratchet.pipelines.project import Project

    with summaries(pipeline, summary, junit) as told:
        package, named = ("", pipeline) if pipeline in PIPELINES else (pipeline, runner.TRAINING)
        if package and not Path(package).is_file():
            raise InputError(
                f"there is no pipeline {pipeline!r}",
                f"name one of {', '.join(PIPELINES)} or the path of a compiled YAML",
            )
        project = Project.open(config)
        given = parameters_of(parameter or [], APPROVE_PARAMETERS if named == "approve" else PARAMETERS)
        if runner_name is Runner.subprocess and (env or mount):
            raise InputError("--env and --mount are of containers", "add --runner docker, or leave them out")
        docker = runner.Docker(_environment(env or []), mount or []) if runner_name is Runner.docker else None
        console = Terminal(quiet=as_json)
        try:
            with Board(console, runner.steps(project, package, named)) as board:
                finished = runner.run(
                    project,
                    given,
                    pipeline=named,
                    package=package,
                    cache=not no_cache,
                    docker=docker,
                    on_change=board.show,
                    on_log=(lambda line: console.print(Text.from_ansi(line), soft_wrap=True)) if verbose else None,
                )
        except runner.RunInterruptedError as error:
            finished = error.finished
    if as_json:
        typer.echo(json.dumps(finished.summary(), indent=1))
    else:
        _tell(console, finished, config, verbose)
    told.write(finished.view, {"report": str(finished.report or "")})
    raise typer.Exit(finished.view.exit_code)


def _environment(given: list[str]) -> list[str]:
    """Names of `NAME[=VALUE]`; the values go into this process's environment, and so never into a file."""
    for pair in given:
        name, equals, value = pair.partition("=")
        if equals and name:
            os.environ[name] = value
    return [pair.partition("=")[0] for pair in given]


def parameters_of(pairs: list[str], parameters: "Mapping[str, type[str] | type[int]] | None" = None) -> dict[str, Any]:
    """`NAME=VALUE` pairs as pipeline parameters of the right type: those of `continuous_training` when not given.

    Raises:
        InputError: Not a pair, an unknown name (with the nearest right one) or a number that is none.
    """
    from kfp_ratchet.components.shared.errors import InputError
    from kfp_ratchet.components.shared.names import suggestion
    from kfp_ratchet.pipelines.config import PARAMETERS

    known = PARAMETERS if parameters is None else parameters
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"-p {pair!r} is not NAME=VALUE", "write e.g. -p trials=20")
        if name not in known:
            raise InputError(f"there is no parameter {name!r}", suggestion(name, known))
        try:
            values[name] = known[name](value)
        except ValueError:
            raise InputError(f"-p {name}={value}: not a whole number", f"write e.g. -p {name}=20") from None
    return values


def tell_outcome(console: Terminal, view: "RunView") -> None:
    """What a run amounts to, and what to do about it."""
    colour = _COLOURS.get(view.outcome, "red")
    console.say()
    console.tell((view.outcome.capitalize(), f"bold {colour}"), "  ", view.sentence)
    if view.remedy:
        console.tell(("To do" if view.outcome == "pending" else "Remedy", "bold"), "  ", view.remedy)
    if view.forced:
        console.tell(("Forced", "bold red"), "  ", view.forced)


def _tell(console: Terminal, finished: "Finished", config: Path, verbose: bool) -> None:
    """The end of a run: verdict, report, where to look, and how to ask the model that is live."""
    view = finished.view
    tell_outcome(console, view)
    if verbose and view.failure and view.failure.traceback:
        console.say(view.failure.traceback)
    rows = [("Report", shown(finished.report) if finished.report else "none was written")]
    if view.failure:
        rows.append(("Log", shown(finished.folder / "log.txt")))
    # The command of this very environment: without an activated one, a bare `mlflow` would be another, or none.
    mlflow = Path(sys.executable).with_name("mlflow")
    if mlflow.exists():
        command = [shown(mlflow), "ui", "--backend-store-uri", finished.project.tracking_uri]
        rows.append(("MLflow", shlex.join(command)))
    if question := how_to_ask(finished.project):
        rows.append(("Ask it", question))
    elif view.decision and (view.outcome == "promoted" or view.decision.champion_version):
        rows.append(("Serving", f"nothing answers here; start it: {start_command(config)}"))
    for name, value in rows:
        console.say((f"{name:<8}", "bold"), value)

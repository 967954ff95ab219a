"""`ratchet replay`: what the gate would have done, period by period."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kfp_ratchet.pipelines.cli.terminal import Terminal

if TYPE_CHECKING:
    from kfp_ratchet.pipelines.replay.story import Retrain

_COLOURS = {"promoted": "green", "rejected": "yellow", "inconclusive": "yellow", "blocked": "red", "pending": "cyan"}


def replay(
    project: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder with a ratchet.yaml and, mostly, a replay.yaml.")
    ] = Path(),
    periods: Annotated[
        str,
        typer.Option(
            metavar="PERIODS",
            help="Retrains to replay instead of replay.yaml's: 2025-01..2025-12, or dates with commas between.",
        ),
    ] = "",
    until: Annotated[str, typer.Option(metavar="PERIOD", help="Stop after this period.")] = "",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin again instead of going on where the last replay ended.")
    ] = False,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Replace a pipeline parameter; may be repeated."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what happened as one JSON object and nothing else.")
    ] = False,
) -> None:
    """Replay a year of retrains and draw it on one page: every verdict, what was live, and what a naive rule would have done.

    Works on a copy below .ratchet/replay; the project's own data, models and server stay as they are. Started again, it goes on
    where it ended.

    Example: ratchet replay examples/flights --until 2013-06
    """
    from kfp_ratchet.pipelines import runner
    from kfp_ratchet.pipelines.cli.live import Board
    from kfp_ratchet.pipelines.cli.run import parameters_of
    from kfp_ratchet.pipelines.cli.serving import shown
    from kfp_ratchet.pipelines.replay.replaying import opened

    console = Terminal(quiet=as_json)

    def aside(line: str) -> None:
        console.tell((line, "dim"))

    with opened(project, periods, until, fresh, parameters_of(parameter or []), aside) as replaying:
        for retrain in replaying.retrains:
            _tell(console, retrain, " (already replayed)")
        for number, period in replaying.missing():
            console.say("\n", (period, "bold"), (f" {number} of {len(replaying.periods)}", "dim"))
            with Board(console, runner.steps(replaying.project)) as board:
                retrain = replaying.run(period, board.show)
            _tell(console, retrain)
        aside("scoring what the naive rule would have had live, and drawing the page")
        year = replaying.draw()
    if as_json:
        typer.echo(json.dumps(replaying.summary(year), indent=1))
        return
    config = shown(replaying.project.folder / "ratchet.yaml")
    console.tell("\n", (year.headline, "bold"), f"; {year.live}. The replay's own model server is stopped.")
    console.say(("Page     ", "bold"), shown(replaying.page))
    console.say(("History  ", "bold"), f"ratchet model history -c {shlex.quote(config)}")


def _tell(console: Terminal, retrain: "Retrain", more: str = "") -> None:
    word = (retrain.outcome.capitalize(), f"bold {_COLOURS.get(retrain.outcome, 'red')}")
    console.tell((retrain.period, "bold"), "  ", word, (more, "dim"), "  ", retrain.reason)

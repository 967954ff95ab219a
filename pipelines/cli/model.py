"""`ratchet model`: what was live when, and going back."""

import getpass
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kfp_ratchet.pipelines.cli.serving import ConfigOption, JsonOption, moment

app = typer.Typer(no_args_is_help=True, help="What was live when, and going back.")
NameArgument = Annotated[str, typer.Argument(help="The model; the project's own when not given.")]
_COLOURS = {
    "promote": "green",
    "rollback": "magenta",
    "reject": "yellow",
    "inconclusive": "yellow",
    "deploy-failed": "red",
}


@app.command()
def history(name: NameArgument = "", config: ConfigOption = Path("ratchet.yaml"), as_json: JsonOption = False) -> None:
    """Print every promotion, rejection and rollback with its reason, oldest first.

    Example: ratchet model history flights
    """
    from rich.table import Table
    from rich.text import Text

    from kfp_ratchet.components.deploy.live import history as entries_of
    from kfp_ratchet.pipelines.project import Project

    project = Project.open(config)
    model = name or project.config.name
    entries = entries_of(project.store.uri, model)
    if as_json:
        typer.echo(json.dumps([entry.model_dump(mode="json") for entry in entries], indent=1))
        return
    console = Console()
    if not entries:
        console.print(f"the ledger has no entry for {model}", markup=False)
        return
    table = Table(box=None, padding=(0, 1))
    for column in ("#", "UTC", "what", "version", "why"):
        table.add_column(column, justify="right" if column == "#" else "left", overflow="fold")
    for entry in entries:
        style = _COLOURS.get(entry.kind, "dim")
        table.add_row(
            str(entry.number),
            moment(entry.time),
            Text(entry.kind, style),
            f"v{entry.version}",
            Text(entry.reason),
        )
    console.print(table)


@app.command()
def live(name: NameArgument = "", config: ConfigOption = Path("ratchet.yaml"), as_json: JsonOption = False) -> None:
    """Print what is live on this machine. Exits with 1 when nothing answers."""
    from kfp_ratchet.components.deploy.live import live as look
    from kfp_ratchet.pipelines.project import Project

    project = Project.open(config)
    there = look(project.serving, name or project.config.name)
    if there is None:
        typer.echo("null" if as_json else "nothing is live here")
        raise typer.Exit(1)
    what, answers = there
    if as_json:
        typer.echo(json.dumps({**what.model_dump(), "answers": answers}, indent=1))
    else:
        typer.echo(
            f"v{what.version} at {what.url}, ledger entry {what.epoch or what.entry}"
            + ("" if answers else ": does not answer")
        )
    raise typer.Exit(0 if answers else 1)


@app.command()
def rollback(
    name: NameArgument = "",
    to: Annotated[
        str | None, typer.Option("--to", help="Version of a former champion; the one before when not given.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    by: Annotated[str, typer.Option(help="Who; your user name when not given.")] = "",
    config: ConfigOption = Path("ratchet.yaml"),
) -> None:
    """Make a former champion live again. It is started and asked before any traffic moves.

    Example: ratchet model rollback flights --reason "complaints from Newark"
    """
    from kfp_ratchet.components.deploy.live import rollback as go_back
    from kfp_ratchet.pipelines.project import Project

    project = Project.open(config)
    console = Console()
    entry = go_back(
        project.store.uri,
        name or project.config.name,
        project.tracking_uri,
        project.serving,
        to,
        by or getpass.getuser(),
        reason,
        lambda line: console.print(line, style="dim", markup=False),
    )
    console.print(f"v{entry.version} is live and champion again, ledger entry {entry.number}", markup=False)

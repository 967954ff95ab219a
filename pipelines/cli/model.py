"""`ratchet model`: what was live when, and going back."""

import getpass
import json
from typing import TYPE_CHECKING, Annotated

import typer

from kfp_ratchet.pipelines.cli.commands import Command, Group
from kfp_ratchet.pipelines.cli.serving import CONFIG, ConfigOption, JsonOption, moment
from kfp_ratchet.pipelines.cli.terminal import Terminal, plain

if TYPE_CHECKING:
    from kfp_ratchet.components.shared.entry import Entry
    from kfp_ratchet.pipelines.project import Project

app = typer.Typer(cls=Group, no_args_is_help=True, help="What was live when, and going back.")
NameArgument = Annotated[str, typer.Argument(metavar="MODEL", help="The model; the project's own when not given.")]
_NARROW = 100
"""Columns below which a reason stands in a line of its own."""
_COLOURS = {
    "promote": "green",
    "rollback": "magenta",
    "reject": "yellow",
    "inconclusive": "yellow",
    "deploy-failed": "red",
}


@app.command(cls=Command)
def history(name: NameArgument = "", config: ConfigOption = CONFIG, as_json: JsonOption = False) -> None:
    """Print every promotion, rejection and rollback with its reason, oldest first.

    Example: ratchet model history flights
    """
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from kfp_ratchet.components.deploy.live import history as entries_of
    from kfp_ratchet.pipelines.project import Project

    project = Project.open(config)
    model = _known(project, name)
    entries = entries_of(project.store.uri, model)
    if as_json:
        typer.echo(json.dumps([entry.model_dump(mode="json") for entry in entries], indent=1))
        return
    console = Terminal()
    if not entries:
        console.say(f"the ledger has no entry for {model}; ratchet run writes the first")
        return
    if not console.is_terminal:
        for entry in entries:
            told = f"{entry.number:>4}  {moment(entry.time)}  {entry.kind:<14}  v{entry.version:<4}  {entry.reason}"
            console.say(" ".join(told.splitlines()))
    elif console.width < _NARROW:
        for entry in entries:
            console.say(f"{entry.number}  {moment(entry.time)}  ", _kind(entry), f"  v{entry.version}")
            console.print(Padding(plain(entry.reason), (0, 0, 0, 3)))
    else:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column("#", justify="right")
        for column in ("UTC", "what", "version"):
            table.add_column(column, no_wrap=True)
        table.add_column("why", overflow="fold")
        for entry in entries:
            row = str(entry.number), moment(entry.time), Text(*_kind(entry)), f"v{entry.version}", plain(entry.reason)
            table.add_row(*row)
        console.print(table)


def _kind(entry: "Entry") -> tuple[str, str]:
    return entry.kind, _COLOURS.get(entry.kind, "dim")


@app.command(cls=Command)
def live(name: NameArgument = "", config: ConfigOption = CONFIG, as_json: JsonOption = False) -> None:
    """Print what is live on this machine. Exits with 1 when nothing answers.

    Example: ratchet model live --json
    """
    from kfp_ratchet.components.deploy.live import live as look
    from kfp_ratchet.pipelines.project import Project

    project = Project.open(config)
    there = look(project.serving, _known(project, name))
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


@app.command(cls=Command)
def rollback(
    name: NameArgument = "",
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="VERSION",
            help="Version of a former champion, as in `ratchet model history`; the one before when not given.",
        ),
    ] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the history.")] = "",
    by: Annotated[str, typer.Option(metavar="NAME", help="Who; your user name when not given.")] = "",
    config: ConfigOption = CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Make a former champion live again. It is started and asked before any traffic moves.

    Example: ratchet model rollback flights --reason "complaints from Newark"
    """
    from kfp_ratchet.components.deploy.live import rollback as go_back
    from kfp_ratchet.pipelines.project import Project

    project = Project.open(config)
    console = Terminal(quiet=as_json)
    entry = go_back(
        project.store.uri,
        _known(project, name),
        project.tracking_uri,
        project.serving,
        to,
        by or getpass.getuser(),
        reason,
        lambda line: console.say((line, "dim")),
    )
    if as_json:
        typer.echo(json.dumps(entry.model_dump(mode="json"), indent=1))
    console.say(f"v{entry.version} is live and champion again, ledger entry {entry.number}")


def _known(project: "Project", name: str) -> str:
    """The model that is meant: the project's own when none is named.

    Raises:
        InputError: The ledger never heard of it; names the nearest that it knows.
    """
    from difflib import get_close_matches

    from kfp_ratchet.components.shared.errors import InputError
    from kfp_ratchet.components.shared.ledger import Ledger

    if name in ("", project.config.name):
        return project.config.name
    if any(Ledger(project.store, name).newest()):
        return name
    known = sorted({key.split("/")[1] for key in project.store.keys("ledger")} | {project.config.name})
    near = get_close_matches(name, known, n=1)
    raise InputError(
        f"the ledger at {project.store.uri} has no model {name!r}",
        f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}",
    )

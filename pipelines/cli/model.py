"""`ratchet model`: what was live when, and what people decide about it."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from kfp_ratchet.pipelines.cli import by_hand, differences, reproducing, tracing
from kfp_ratchet.pipelines.cli.commands import Command, Group
from kfp_ratchet.pipelines.cli.serving import CONFIG, ConfigOption, JsonOption, moment
from kfp_ratchet.pipelines.cli.terminal import Terminal, plain

if TYPE_CHECKING:
    from kfp_ratchet.components.shared.entry import Entry
    from kfp_ratchet.pipelines.project import Project

app = typer.Typer(cls=Group, no_args_is_help=True, help="What was live when, approving, and going back.")
NameArgument = Annotated[str, typer.Argument(metavar="MODEL", help="The model; the project's own when not given.")]
_NARROW = 100
"""Columns below which a reason stands in a line of its own."""
_COLOURS = {
    "promote": "green",
    "force": "bold red",
    "rollback": "magenta",
    "pending": "cyan",
    "approve": "green",
    "deny": "yellow",
    "reject": "yellow",
    "inconclusive": "yellow",
    "deploy-failed": "red",
}


@app.command(cls=Command)
def history(name: NameArgument = "", config: ConfigOption = CONFIG, as_json: JsonOption = False) -> None:
    """Print every promotion, rejection, approval and rollback, who decided and why, oldest first.

    A refusal on rows that judged other models before says how many.

    Example: ratchet model history flights
    """
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from kfp_ratchet.components.deploy.live import history as entries_of
    from kfp_ratchet.pipelines.project import Project

    project = Project.open(config)
    model = project.model(name)
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
            told = f"{entry.number:>4}  {moment(entry.time)}  {entry.kind:<14}  v{entry.version:<4}  {_why(entry)}"
            console.say(" ".join(told.splitlines()))
    elif console.width < _NARROW:
        for entry in entries:
            console.say(f"{entry.number}  {moment(entry.time)}  ", _kind(entry), f"  v{entry.version}")
            console.print(Padding(plain(_why(entry)), (0, 0, 0, 3)))
    else:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column("#", justify="right")
        for column in ("UTC", "what", "version"):
            table.add_column(column, no_wrap=True)
        table.add_column("why", overflow="fold")
        for entry in entries:
            row = str(entry.number), moment(entry.time), Text(*_kind(entry)), f"v{entry.version}", plain(_why(entry))
            table.add_row(*row)
        console.print(table)


def _kind(entry: "Entry") -> tuple[str, str]:
    return entry.kind, _COLOURS.get(entry.kind, "dim")


def _why(entry: "Entry") -> str:
    """Reason, who decided, and a warning when the rows were looked at before."""
    looks = entry.evaluation.looks
    warned = f"(look {looks + 1} at these rows)" if looks else ""
    return " ".join(filter(None, [entry.why, f"(by {entry.by})" if entry.by else "", warned]))


@app.command(cls=Command)
def live(
    name: NameArgument = "",
    at: Annotated[
        str,
        typer.Option(
            "--at",
            metavar="TIME",
            help="What the ledger says was champion then, wherever it served: an ISO date or time, UTC when it names no zone.",
        ),
    ] = "",
    config: ConfigOption = CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Print what is live on this machine, or what was champion at some time. Exits with 1 when nothing answers, or nothing was.

    Example: ratchet model live --at 2026-03-01T12:00Z
    """
    from kfp_ratchet.components.deploy.live import live as look
    from kfp_ratchet.components.shared.forced import forced, warning
    from kfp_ratchet.components.shared.ledger import Ledger
    from kfp_ratchet.pipelines.project import Project

    project = Project.open(config)
    model = project.model(name)
    if at:
        _tell_past(project, model, at, as_json)
        return
    there = look(project.serving, model)
    if there is None:
        typer.echo("null" if as_json else "nothing is live here")
        raise typer.Exit(1)
    what, answers = there
    made_by_force = forced(Ledger(project.store, model))
    by_force = warning(made_by_force) if made_by_force and made_by_force.version == what.version else ""
    if as_json:
        typer.echo(json.dumps({**what.model_dump(), "answers": answers, "forced": by_force}, indent=1))
    else:
        console = Terminal()
        console.say(
            f"v{what.version} at {what.url}, ledger entry {what.epoch or what.entry}"
            + ("" if answers else ": does not answer")
        )
        if by_force:
            console.tell(("forced", "bold red"), ": ", by_force)
    raise typer.Exit(0 if answers else 1)


def _tell_past(project: "Project", model: str, at: str, as_json: bool) -> None:
    """Who was champion at a time.

    Raises:
        InputError: That is no time, or it lies ahead.
    """
    from kfp_ratchet.components.shared.errors import InputError
    from kfp_ratchet.components.shared.ledger import Ledger

    try:
        when = datetime.fromisoformat(at)
    except ValueError:
        raise InputError(f"--at {at!r} is not a time", "write e.g. --at 2026-03-01T12:00Z or --at 2026-03-01") from None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    if when > datetime.now(UTC):
        raise InputError(f"--at {at} lies ahead; nobody knows yet what will be live then")
    made = Ledger(project.store, model).champion_at(when)
    if as_json:
        typer.echo(json.dumps(made.model_dump(mode="json") if made else None, indent=1))
    elif made is None:
        typer.echo(f"{model} had no champion yet at {at}")
    else:
        by = f" by {made.by}" if made.by else ""
        typer.echo(f"v{made.version}, since {moment(made.time)} UTC: {made.kind}{by}, ledger entry {made.number}")
    raise typer.Exit(0 if made else 1)


app.command(cls=Command)(tracing.trace)
app.command(cls=Command)(reproducing.reproduce)
app.command(cls=Command)(differences.diff)
app.command(cls=Command)(by_hand.approve)
app.command(cls=Command)(by_hand.deny)
app.command(cls=Command)(by_hand.rollback)

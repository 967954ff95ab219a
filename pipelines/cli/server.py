"""`ratchet server`: what is on a Kubeflow Pipelines server, and making it what Git says."""

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kfp_ratchet.pipelines.cli.commands import Command, Group
from kfp_ratchet.pipelines.cli.server_options import PIPELINES, PipelinesOption, ServerOption
from kfp_ratchet.pipelines.cli.serving import JsonOption
from kfp_ratchet.pipelines.cli.terminal import Terminal

if TYPE_CHECKING:
    from kfp_ratchet.pipelines.server.apply import Done
    from kfp_ratchet.pipelines.server.connection import Server
    from kfp_ratchet.pipelines.server.plan import Plan, Sides

_FAILED = 3
app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="What is on a Kubeflow Pipelines server, and making it what pipelines.yaml says.",
)
PinOption = Annotated[
    bool,
    typer.Option(
        "--pin-digests", help="Name each image by the digest that its registry has now, so that it stays the same."
    ),
]
AdoptOption = Annotated[
    list[str] | None,
    typer.Option("--adopt", metavar="PIPELINE", help="Take over a pipeline that someone else made; may be repeated."),
]


@app.command(cls=Command)
def diff(
    server: ServerOption = "",
    pipelines: PipelinesOption = PIPELINES,
    pin_digests: PinOption = False,
    adopt: AdoptOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what differs between Git and a server, and what apply would do; exits with 1 when anything does.

    Example: ratchet server diff --server staging
    """
    there, sides = _sides(server, pipelines, pin_digests, adopt or [])
    found = _plan(there, sides)
    _tell_plan(there, sides, found, as_json)
    if found.differences:
        raise typer.Exit(1)


@app.command(cls=Command)
def apply(
    server: ServerOption = "",
    pipelines: PipelinesOption = PIPELINES,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete what is ours on the server and not in Git any more.")
    ] = False,
    adopt: AdoptOption = None,
    pin_digests: PinOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a server what pipelines.yaml says: upload what is new, replace schedules, and touch nothing of others.

    Example: ratchet server apply --server production --prune
    """
    from kfp_ratchet.components.shared.errors import InputError
    from kfp_ratchet.pipelines.server.apply import apply as make_so

    there, sides = _sides(server, pipelines, pin_digests, adopt or [])
    if prune and not sides.wanted:
        raise InputError(
            f"{pipelines} declares no pipeline: --prune would delete all that is of {sides.owner}",
            "if that is what you want, delete them in the UI",
        )
    if dry_run:
        found = _plan(there, sides)
        _tell_plan(there, sides, found, as_json)
        if any(one.refused for one in found.differences):
            raise typer.Exit(_FAILED)
        return
    console = Terminal(quiet=as_json)

    def say(done: "Done") -> None:
        # What is half done is finished, whether or not anybody reads of it: rich ends the process when a pipe's reader has gone.
        with suppress(OSError, SystemExit):
            tell(done)

    def tell(done: "Done") -> None:
        console.say(("✓", "green"), f" {done.what} {done.name}", *([(f"  {done.link}", "dim")] if done.link else []))

    applied = make_so(there, sides, prune, say)
    if as_json:
        errors = [
            {"name": name, "error": error.message, "remedy": error.remedy} for name, error in applied.errors.items()
        ]
        told = {
            "server": there.settings.url,
            "done": list(map(asdict, applied.done)),
            "errors": errors,
            "notices": applied.notices,
        }
        typer.echo(json.dumps(told, indent=1))
    for notice in applied.notices:
        console.tell((notice, "yellow"))
    if not applied.done and not applied.errors and not applied.notices:
        console.say(_as_it_should_be(there, sides))
    loud = Terminal(stderr=True)
    for error in {one.message: one for one in applied.errors.values()}.values():
        loud.say(("error:", "bold red"), f" {error.message}")
        if error.remedy:
            loud.say(("remedy:", "bold"), f" {error.remedy}")
    if applied.errors:
        raise typer.Exit(_FAILED)


def _sides(which: str, pipelines: Path, pin_digests: bool, adopt: list[str]) -> tuple["Server", "Sides"]:
    from kfp_ratchet.pipelines.cli.server_options import connected
    from kfp_ratchet.pipelines.declared import load_declared
    from kfp_ratchet.pipelines.docker_engine import registry_digest
    from kfp_ratchet.pipelines.server.sides import both_sides

    declared = load_declared(pipelines)
    server = connected(which, pipelines)
    return server, both_sides(declared, server, registry_digest if pin_digests else None, adopt)


def _plan(server: "Server", sides: "Sides") -> "Plan":
    from kfp_ratchet.pipelines.server.apply import undeletable
    from kfp_ratchet.pipelines.server.plan import plan

    return plan(sides, lambda: undeletable(server, sides.snapshot.schedules, sides))


def _tell_plan(server: "Server", sides: "Sides", found: "Plan", as_json: bool) -> None:
    if as_json:
        told = {
            "server": server.settings.url,
            "differences": list(map(asdict, found.differences)),
            "notices": list(found.notices),
        }
        typer.echo(json.dumps(told, indent=1))
        return
    console = Terminal()
    if found.differences:
        console.say((server.settings.url, "dim"))
        _tell_differences(console, found)
    else:
        console.say(_as_it_should_be(server, sides))
    for notice in found.notices:
        console.tell((notice, "yellow"))
    for one in found.differences:
        if one.refused:
            console.tell(
                (
                    f"{one.name}: {one.on_server}: {one.refused}"
                    if one.kind == "pipeline"
                    else f"{one.name}: {one.refused}",
                    "red",
                )
            )


def _tell_differences(console: Terminal, found: "Plan") -> None:
    head: tuple[str, ...] = ("", "name", "on the server", "in Git", "apply")
    rows: list[tuple[str, ...]] = [
        (one.kind, one.name, _cell(one.on_server), _cell(one.in_git), "refuses" if one.refused else one.action)
        for one in found.differences
    ]
    if console.is_terminal:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        for title in head:
            table.add_column(title, overflow="fold")
        for row, one in zip(rows, found.differences, strict=True):
            style = "red" if one.refused else "yellow" if one.orphan else ""
            table.add_row(*(Text(cell, style if at == len(row) - 1 else "") for at, cell in enumerate(row)))
        console.print(table)
        return
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        console.say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cell(text: str) -> str:
    first = text.partition("\n")[0]
    return first if len(first) <= 60 else f"{first[:59]}…"


def _as_it_should_be(server: "Server", sides: "Sides") -> str:
    from kfp_ratchet.components.shared.names import counted

    schedules = sum(len(one.schedules) for one in sides.wanted.values())
    return f"{server.settings.url} is as Git says: {counted(len(sides.wanted), 'pipeline')}, {counted(schedules, 'schedule')}"

"""`ratchet schedule`: the schedules on a Kubeflow Pipelines server, one by one."""

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kfp_ratchet.pipelines.cli import completion
from kfp_ratchet.pipelines.cli.commands import Command, Group
from kfp_ratchet.pipelines.cli.server_options import PIPELINES, PipelinesOption, ServerOption, connected
from kfp_ratchet.pipelines.cli.serving import JsonOption
from kfp_ratchet.pipelines.cli.terminal import Terminal

if TYPE_CHECKING:
    from datetime import datetime

    from kfp_ratchet.pipelines.declared import Declared
    from kfp_ratchet.pipelines.server.connection import Server
    from kfp_ratchet.pipelines.server.plan import Sides
    from kfp_ratchet.pipelines.server.schedules import Listed

app = typer.Typer(cls=Group, no_args_is_help=True, help="The schedules on a Kubeflow Pipelines server, one by one.")
WhichArgument = Annotated[
    str,
    typer.Argument(
        metavar="PIPELINE/SCHEDULE|ID",
        autocompletion=completion.schedules,
        help="A schedule of pipelines.yaml, or the id of any recurring run.",
    ),
]


@app.command("list", cls=Command)
def list_schedules(
    server: ServerOption = "", pipelines: PipelinesOption = PIPELINES, as_json: JsonOption = False
) -> None:
    """Print the schedules: state, when each is due next by its own time zone, and whether it runs the version of Git.

    Example: ratchet schedule list --server staging
    """
    from kfp_ratchet.pipelines.server.schedules import listed_schedules
    from kfp_ratchet.pipelines.server.sides import both_sides

    there, declared = connected(server, pipelines), _declared(pipelines)
    sides = both_sides(declared, there) if declared else None
    schedules = sides.snapshot.schedules if sides else there.schedules()
    rows = [_row(there, sides, one) for one in listed_schedules(schedules, declared)]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    console = Terminal()
    head = ("schedule", "state", "due next", "version")
    cells = [tuple(row[key] or "-" for key in ("name", "state", "next", "version")) for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    for row in (head, *cells):
        console.say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command(cls=Command)
def pause(which: WhichArgument, server: ServerOption = "", pipelines: PipelinesOption = PIPELINES) -> None:
    """Pause a schedule until someone resumes it, or applies.

    Example: ratchet schedule pause flights/nightly
    """
    there, found = _found(which, server, pipelines)
    for one in found.runs:
        there.disable(one.id)
    kept = (
        "; the next apply resumes it, unless pipelines.yaml says `enabled: false`"
        if found.declared and found.declared.enabled
        else ""
    )
    Terminal().tell(f"{found.name} is paused{kept}")


@app.command(cls=Command)
def resume(which: WhichArgument, server: ServerOption = "", pipelines: PipelinesOption = PIPELINES) -> None:
    """Resume a paused schedule. Whether times that were missed are made up for is what its `catch_up` says.

    Example: ratchet schedule resume flights/nightly
    """
    there, found = _found(which, server, pipelines)
    for one in found.current:
        there.enable(one.id)
    kept = (
        "; the next apply pauses it: pipelines.yaml says `enabled: false`"
        if found.declared and not found.declared.enabled
        else ""
    )
    Terminal().tell(f"{found.name} is enabled{kept}")


@app.command("next", cls=Command)
def next_times(
    which: WhichArgument,
    number: Annotated[int, typer.Option("-n", min=1, max=1000, help="How many.")] = 5,
    server: ServerOption = "",
    pipelines: PipelinesOption = PIPELINES,
    as_json: JsonOption = False,
) -> None:
    """Print when a schedule is due next, by its own time zone and in UTC. One that pipelines.yaml declares needs no server.

    Example: ratchet schedule next flights/nightly -n 3
    """
    from datetime import UTC, datetime

    from kfp_ratchet.pipelines.server.schedules import find_schedule, listed_schedules
    from kfp_ratchet.pipelines.time_zones import time_zone

    offline = listed_schedules((), _declared(pipelines))
    if which in [one.name for one in offline]:
        found, zone = find_schedule(which, offline), time_zone("UTC")
    else:
        there, found = _found(which, server, pipelines)
        zone = time_zone(there.settings.time_zone)
    times = list(islice(found.due(zone, datetime.now(UTC)), number))
    if as_json:
        typer.echo(json.dumps([f"{each.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" for each in times], indent=1))
        return
    console = Terminal()
    for each in times:
        console.say(f"{each:%a} {_clock(each)}", (f"  {each.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC", "dim"))
    if not times:
        console.say(f"{found.name} is not due any more, or nobody can say when")


@app.command(cls=Command)
def fire(
    which: WhichArgument, server: ServerOption = "", pipelines: PipelinesOption = PIPELINES, as_json: JsonOption = False
) -> None:
    """Start a run now as the schedule does: its version, parameters and experiment.

    Example: ratchet schedule fire flights/nightly
    """
    from datetime import UTC, datetime

    from kfp_ratchet.pipelines.server.schedules import fire as start

    there, found = _found(which, server, pipelines)
    run = start(there, found, there.health().now or datetime.now(UTC))
    link = there.ui("run", run.id)
    if as_json:
        typer.echo(json.dumps({"run": run.id, "name": run.name, "link": link}, indent=1))
        return
    Terminal().say(f"{run.name}: run {run.id}", (f"  {link}", "dim"))


def _declared(pipelines: Path) -> "Declared | None":
    from kfp_ratchet.pipelines.declared import load_declared

    return load_declared(pipelines) if pipelines.exists() or pipelines != PIPELINES else None


def _found(which: str, server: str, pipelines: Path) -> tuple["Server", "Listed"]:
    from kfp_ratchet.components.shared.errors import InputError
    from kfp_ratchet.pipelines.server.schedules import find_schedule, listed_schedules

    there = connected(server, pipelines)
    found = find_schedule(which, listed_schedules(there.schedules(), _declared(pipelines)))
    if not found.runs:
        raise InputError(f"the schedule {which} is not on the server", "run `ratchet server apply` first")
    return there, found


def _row(server: "Server", sides: "Sides | None", one: "Listed") -> dict[str, Any]:
    from datetime import UTC, datetime

    from kfp_ratchet.pipelines.time_zones import time_zone

    now = sides.snapshot.now if sides else server.health().now or datetime.now(UTC)
    which = one.now_in_charge(now)
    # What is due is what the server will do, whatever Git says.
    fires = which is not None and which.enabled
    due = next(one.due(time_zone(server.settings.time_zone), now), None) if fires else None
    return {
        "name": one.name,
        "shown": which.name if which else "",
        "state": one.state if which or not one.runs else "not there now",
        "next": _clock(due) if due else "",
        "version": _version(sides, one, now),
        "owner": one.owner,
        "ids": [each.id for each in one.runs],
    }


def _version(sides: "Sides | None", one: "Listed", now: "datetime") -> str:
    from kfp_ratchet.pipelines.server.plan import has_content

    which = one.now_in_charge(now)
    if which is None:
        return ""
    if not which.version_id:
        return "whichever is newest"
    if sides is None:
        return which.version_id
    names = {each.id: each.name for found in sides.snapshot.versions.values() for each in found}
    name = names.get(which.version_id, "an older one")
    wanted = sides.wanted.get(one.name.rpartition("/")[0]) if one.declared else None
    if wanted is None:
        return f"{name}, not declared here"
    pipeline = sides.snapshot.pipelines.get(wanted.name)
    newest = has_content(sides, wanted, pipeline) if pipeline else None
    return f"{name}, as in Git" if newest and newest.id == which.version_id else f"{name}, not that of Git"


def _clock(moment: "datetime") -> str:
    name = getattr(moment.tzinfo, "key", None) or moment.tzname() or ""
    seconds = ":%S" if moment.second else ""
    return f"{moment:%Y-%m-%d %H:%M{seconds}} {name}"

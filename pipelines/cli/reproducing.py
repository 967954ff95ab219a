"""`ratchet model reproduce`: does a version come out again from its pins?"""

import json
from pathlib import Path
from typing import Annotated

import typer

from kfp_ratchet.pipelines.cli.serving import CONFIG, ConfigOption, JsonOption
from kfp_ratchet.pipelines.cli.terminal import Terminal

_STEPS = ("ingest", "validate", "prepare", "train", "evaluate")


def reproduce(
    name: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="The model, or one of its versions: flights, flights@3, @champion, 3."),
    ],
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="Its version; the champion when none is named.")
    ] = "",
    tolerance: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER",
            min=0,
            help="How much a score may differ; when not given nothing on a CPU, and 0.0001 of the largest score elsewhere.",
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep what is made in a new folder; nothing is kept otherwise."),
    ] = None,
    config: ConfigOption = CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Make a version again from its pins, and say whether its scores are those of then.

    Reads the data anew, every object in the version that was pinned; needs the code of then for the bytes of then, and lists what is
    not as it was. What is live, the ledger and the registry are not touched. Exits with 1 when the scores do not agree.

    Example: ratchet model reproduce flights 3
    """
    from kfp_ratchet.components.shared.errors import InputError
    from kfp_ratchet.components.shared.lineage import Lineage
    from kfp_ratchet.pipelines.cli.live import Board
    from kfp_ratchet.pipelines.project import Project
    from kfp_ratchet.pipelines.reproduction import reproduce as make
    from kfp_ratchet.pipelines.tracing import named_version

    project = Project.open(config)
    model, number = named_version(project, f"{name}@{version}" if version else name)
    if not number:
        raise InputError(f"{model} has no such version yet", f"see which it has: ratchet model history {model}")
    lineage = Lineage.load(project.store, model, number)
    if lineage is None:
        raise InputError(
            f"no lineage of version {number} of {model} is kept",
            f"only versions that were registered since it is can be made again; see ratchet model trace {model}@{number}",
        )
    console = Terminal(quiet=as_json)
    steps = [step for step in _STEPS if lineage.step(step)]
    with Board(console, steps) as board:
        found = make(project, lineage, tolerance, keep, board.show)
    if as_json:
        told = {
            "model": model,
            "version": number,
            "agrees": found.agrees,
            "same_bytes": found.same_bytes,
            "difference": found.remade.difference,
            "tolerance": found.tolerance,
            "rows": found.remade.rows,
            "not_compared": found.remade.not_compared,
            "digest": {"then": lineage.digest, "now": found.remade.digest},
            "differences": {name: {"then": then, "now": now} for name, then, now in found.differences},
        }
        typer.echo(json.dumps(told, indent=1))
    else:
        word, colour = ("Reproduced", "green") if found.agrees else ("Not reproduced", "yellow")
        console.say()
        console.tell((word, f"bold {colour}"), f"  {model} v{number}: {found.sentence}")
        for what, then, now in found.differences:
            console.say((what, "bold"), f"  {then or 'not told'} then, {now or 'not told'} now")
    raise typer.Exit(0 if found.agrees else 1)

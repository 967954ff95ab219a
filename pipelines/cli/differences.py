"""`ratchet model diff`: what two versions differ in."""

import json
from typing import Annotated

import typer

from kfp_ratchet.pipelines.cli.serving import CONFIG, ConfigOption, JsonOption
from kfp_ratchet.pipelines.cli.terminal import Terminal, plain


def diff(
    first: Annotated[str, typer.Argument(metavar="N", help="A version, as in `ratchet model history`: 3 or v3.")],
    second: Annotated[str, typer.Argument(metavar="M", help="Another one.")],
    model: Annotated[
        str, typer.Option("--model", metavar="MODEL", help="The model; the project's own when not given.")
    ] = "",
    config: ConfigOption = CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Print what two versions differ in: verdict, metric, data, parameters, features, policy, code.

    Example: ratchet model diff 3 5
    """
    from rich.table import Table
    from rich.text import Text

    from kfp_ratchet.pipelines.model_diff import differences
    from kfp_ratchet.pipelines.project import Project

    project = Project.open(config)
    versions = first.removeprefix("v"), second.removeprefix("v")
    facts, notes = differences(project.store, project.model(model), project.tracking_uri, *versions)
    if as_json:
        told = {fact.name: {"differs": fact.differs, "values": list(fact.values)} for fact in facts}
        typer.echo(
            json.dumps({"model": project.model(model), "versions": versions, "facts": told, "notes": notes}, indent=1)
        )
        return
    console = Terminal()
    names = [f"v{version}" for version in versions]
    if not console.is_terminal:
        for fact in facts:
            told_plainly = "  |  ".join(map(_short, fact.values))
            console.say(f"{'*' if fact.differs else ' '} {fact.name:<22}  {told_plainly}")
    else:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column("", overflow="fold", max_width=28)
        for name in names:
            table.add_column(name, overflow="fold", ratio=1)
        for fact in facts:
            style = "bold" if fact.differs else "dim"
            table.add_row(*(Text(plain(text), style) for text in (fact.name, *map(_short, fact.values))))
        console.print(table)
    for note in notes:
        console.say((note, "yellow"))


def _short(value: str) -> str:
    """A value as it is shown: a digest by its beginning."""
    return f"{value[:19]}~" if value.startswith("sha256:") else value or "-"

"""`ratchet data`: looking at data before it is trained on, and whether there is new."""

from pathlib import Path
from typing import Annotated

import typer

from kfp_ratchet.pipelines.cli import changes, push
from kfp_ratchet.pipelines.cli.commands import Command, Group

app = typer.Typer(cls=Group, no_args_is_help=True, help="Looking at data: what it is, and what has changed.")


@app.command("draft-schema", cls=Command)
def draft_schema(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A file or a folder of files of one table; a path or a URI.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write; the terminal when not given.")
    ] = None,
) -> None:
    """Draft a schema from data, for you to review: a schema is never guessed silently.

    Example: ratchet data draft-schema data/flights --out schema.yaml
    """
    from kfp_ratchet.components.shared.errors import InputError
    from kfp_ratchet.components.validate.draft import draft_schema as draft
    from kfp_ratchet.pipelines.table_facts import scan

    if out is not None and out.exists():
        raise InputError(f"{out} is there already", "name another file with --out, or remove it")
    text = draft(scan(data).collect(), Path(data).stem)
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
        typer.echo(f"{out} written; review it")


app.command(cls=Command)(changes.status)
app.command(cls=Command)(push.push)

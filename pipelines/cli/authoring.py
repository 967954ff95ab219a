"""`ratchet init` and `ratchet compile`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def init(
    data: Annotated[Path, typer.Argument(help="Your table: CSV, Parquet, JSON lines or Arrow.")],
    target: Annotated[str, typer.Option(help="The column to predict.")],
    time: Annotated[str, typer.Option(help="The column that says when a row happened.")] = "",
    id: Annotated[str, typer.Option(help="The column that identifies a row.")] = "",
    name: Annotated[str, typer.Option(help="Name of the model; the file's name when not given.")] = "",
    folder: Annotated[Path, typer.Option(help="Where to write; beside the data when not given.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> None:
    """Write a commented ratchet.yaml and a draft of a schema for a table of yours.

    Example: ratchet init customers.csv --target churned --id customer
    """
    from kfp_ratchet.pipelines.init import init as write

    written = write(data, target, time=time, id=id, name=name, folder=folder, force=force)
    console = Console()
    for line in written.lines():
        console.print(line, soft_wrap=True, highlight=False)


def compile_pipelines(
    config: Annotated[
        list[Path] | None,
        typer.Option("--config", "-c", help="A ratchet.yaml whose values become defaults; may be repeated."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the compiled YAML.")] = Path("compiled"),
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit with 1 and a diff when a file is not what the code says."),
    ] = False,
) -> None:
    """Compile the pipelines: the generic one, and one for each configuration.

    Example: ratchet compile --config ratchet.yaml --check
    """
    import difflib

    from kfp_ratchet.pipelines.compile import compiled

    stale = 0
    for name, text in compiled(config or []).items():
        path = out / f"{name}.yaml"
        present = path.read_text() if path.exists() else ""
        if present == text:
            typer.echo(f"{path} is up to date")
        elif check:
            stale += 1
            typer.echo(
                "".join(
                    difflib.unified_diff(
                        present.splitlines(True), text.splitlines(True), str(path), "compiled now", n=2
                    )
                ),
                nl=False,
            )
        else:
            out.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            typer.echo(f"{path} written")
    if stale:
        raise typer.Exit(1)

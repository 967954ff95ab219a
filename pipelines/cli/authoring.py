"""`ratchet init` and `ratchet compile`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from kfp_ratchet.pipelines.cli.serving import JsonOption
from kfp_ratchet.pipelines.cli.terminal import Terminal


def init(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Your table: CSV, Parquet, JSON lines or Arrow.")],
    target: Annotated[str, typer.Option(metavar="COLUMN", help="The column to predict.")],
    time: Annotated[str, typer.Option(metavar="COLUMN", help="The column that says when a row happened.")] = "",
    id: Annotated[str, typer.Option(metavar="COLUMN", help="The column that identifies a row.")] = "",
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the model; the file's name when not given.")] = "",
    folder: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to write.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a commented ratchet.yaml and a draft of a schema for a table of yours.

    Example: ratchet init customers.csv --target churned --id customer
    """
    from kfp_ratchet.pipelines.init import init as write

    written = write(data, target, time=time, id=id, name=name, folder=folder, force=force)
    if as_json:
        files = {"config": str(written.config), "schema": str(written.schema)}
        typer.echo(json.dumps({**files, "decided": list(written.said)}, indent=1))
        return
    console = Terminal()
    for line in written.lines():
        console.say(line)


def compile_pipelines(
    config: Annotated[
        list[Path] | None,
        typer.Option(
            "--config", "-c", metavar="FILE", help="A ratchet.yaml whose values become defaults; may be repeated."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the compiled YAML.")] = Path("compiled"),
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit with 1 and a diff when a file is not what the code says."),
    ] = False,
    pin_digests: Annotated[
        bool,
        typer.Option(
            "--pin-digests", help="Name each image by the digest that its registry has now, so that it stays the same."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compile the pipelines: the generic one, and one for each configuration.

    Example: ratchet compile --config ratchet.yaml --check
    """
    import difflib

    from kfp_ratchet.pipelines.compile import compiled
    from kfp_ratchet.pipelines.docker_engine import registry_digest

    found: dict[str, str] = {}
    console = Terminal(quiet=as_json)
    for name, text in compiled(config or [], registry_digest if pin_digests else None).items():
        path = out / f"{name}.yaml"
        present = path.read_text(encoding="utf-8") if path.exists() else ""
        found[str(path)] = state = "up to date" if present == text else "differs" if check else "written"
        if state == "written":
            out.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        if state == "differs":
            lines = present.splitlines(), text.splitlines()
            console.say("\n".join(difflib.unified_diff(*lines, str(path), "compiled now", n=2, lineterm="")))
        else:
            console.say(f"{path} is {state}" if state == "up to date" else f"{path} {state}")
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    if "differs" in found.values():
        raise typer.Exit(1)

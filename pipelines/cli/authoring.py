"""`ratchet init`, `ratchet add-step` and `ratchet compile`."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from kfp_ratchet.pipelines.cli.server_options import PIPELINES
from kfp_ratchet.pipelines.cli.serving import JsonOption
from kfp_ratchet.pipelines.cli.terminal import Terminal

_SHOWN = 120
"""Lines of a diff: about three screens."""


def init(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Your table: CSV, Parquet, JSON lines or Arrow.")],
    target: Annotated[str, typer.Option(metavar="COLUMN", help="The column to predict.")],
    time: Annotated[str, typer.Option(metavar="COLUMN", help="The column that says when a row happened.")] = "",
    id: Annotated[str, typer.Option(metavar="COLUMN", help="The column that identifies a row.")] = "",
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the model; the file's name when not given.")] = "",
    pipelines: Annotated[
        bool, typer.Option("--pipelines/--no-pipelines", help="Write a pipelines.yaml, too, where there is none.")
    ] = True,
    folder: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to write.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a commented ratchet.yaml and a draft of a schema for a table of yours, and a pipelines.yaml for a server.

    Example: ratchet init customers.csv --target churned --id customer
    """
    from kfp_ratchet.pipelines.init import init as write

    written = write(data, target, time=time, id=id, name=name, folder=folder, force=force, pipelines=pipelines)
    if as_json:
        files = {"config": str(written.config), "schema": str(written.schema)}
        files |= {"pipelines": str(written.pipelines)} if written.pipelines else {}
        typer.echo(json.dumps({**files, "decided": list(written.said)}, indent=1))
        return
    console = Terminal()
    for line in written.lines():
        console.say(line)


def add_step(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower case letters, digits and underscores.")],
    folder: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Of the repository: with components/ and tests/.")
    ] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Write a component of your own: what KFP ships, its logic, its test and its page, in the right rooms.

    Example: ratchet add-step clean
    """
    from kfp_ratchet.pipelines.add_step import add_step as write

    added = write(name, folder)
    if as_json:
        typer.echo(json.dumps({"name": added.name, "files": list(map(str, added.files))}, indent=1))
        return
    console = Terminal()
    for line in added.lines():
        console.say(line)


def compile_pipelines(
    config: Annotated[
        list[Path] | None,
        typer.Option(
            "--config", "-c", metavar="FILE", help="A ratchet.yaml whose values become defaults; may be repeated."
        ),
    ] = None,
    pipelines: Annotated[
        Path | None,
        typer.Option(
            "--pipelines",
            metavar="FILE",
            help="What is on the server: all its pipelines. pipelines.yaml when it is there and no --config is given.",
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
    """Compile the pipelines: those of pipelines.yaml, or the generic ones and one for each configuration.

    Example: ratchet compile --check
    """
    from kfp_ratchet.pipelines.docker_engine import registry_digest

    found: dict[str, str] = {}
    console = Terminal(quiet=as_json)
    for name, text in _texts(config, pipelines, registry_digest if pin_digests else None).items():
        path = out / f"{file_stem(name)}.yaml"
        present = path.read_text(encoding="utf-8") if path.exists() else ""
        found[str(path)] = state = "up to date" if present == text else "differs" if check else "written"
        if state == "written":
            out.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        if state == "differs":
            for line in _difference(path, present, text):
                console.say(line)
        else:
            console.say(f"{path} is {state}" if state == "up to date" else f"{path} {state}")
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    if "differs" in found.values():
        raise typer.Exit(1)


def file_stem(name: str) -> str:
    """The name of a pipeline as that of a file: a server takes slashes and spaces."""
    return re.sub(r"[^\w.-]+", "-", name)


def _texts(
    configs: list[Path] | None, pipelines: Path | None, digest: Callable[[str], str] | None
) -> Mapping[str, str]:
    """Compiled text by file stem."""
    from kfp_ratchet.components.shared.errors import InputError
    from kfp_ratchet.pipelines.compile import compiled, compiled_pipelines

    if configs and pipelines:
        raise InputError("--config and --pipelines exclude each other", "name the ratchet.yaml in pipelines.yaml")
    if pipelines is None and not configs and PIPELINES.exists():
        pipelines = PIPELINES
    if pipelines is None:
        return compiled(configs or [], digest)
    from kfp_ratchet.pipelines.declared import load_declared

    return {name: each.text for name, each in compiled_pipelines(load_declared(pipelines), digest).items()}


def _difference(path: Path, present: str, text: str) -> Iterator[str]:
    """What changed in words, then line by line, as far as anyone would read."""
    import difflib

    from kfp_ratchet.components.shared.errors import InputError
    from kfp_ratchet.components.shared.names import counted
    from kfp_ratchet.pipelines.pipeline_changes import changes
    from kfp_ratchet.pipelines.pipeline_text import PipelineText

    yield f"{path} differs from what is compiled now" if present else f"{path} is missing"
    if not present:
        return
    try:
        said = changes(PipelineText.parse(present, str(path)).spec, PipelineText.parse(text).spec)
    except InputError as error:
        said = [error.message]
    for sentence in said or ["only its style differs, not its content"]:
        yield f"  {sentence}"
    lines = list(
        difflib.unified_diff(present.splitlines(), text.splitlines(), str(path), "compiled now", n=2, lineterm="")
    )
    yield from lines[:_SHOWN]
    if len(lines) > _SHOWN:
        yield f"… and {counted(len(lines) - _SHOWN, 'more line')}: `ratchet compile`, then `git diff` shows them all"

"""`ratchet images`: the container images of the steps."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kfp_ratchet.pipelines.cli.commands import Command, Group
from kfp_ratchet.pipelines.cli.serving import JsonOption
from kfp_ratchet.pipelines.cli.terminal import Terminal

if TYPE_CHECKING:
    from kfp_ratchet.pipelines.image_building import Image
    from kfp_ratchet.pipelines.images import Images, Kind

app = typer.Typer(cls=Group, no_args_is_help=True, help="The container images of the steps: build, push.")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="A ratchet.yaml whose section `images` names the images."),
]
RegistryOption = Annotated[str | None, typer.Option(metavar="HOST[/PATH]", help="Registry, in place of the file's.")]
RepositoryOption = Annotated[str | None, typer.Option(metavar="PATH", help="Repository, in place of the file's.")]
TagOption = Annotated[str | None, typer.Option(metavar="TAG", help="Tag, in place of the file's.")]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="IMAGE", help="slim, train or serve; all when not given; repeatable."),
]


@app.command(cls=Command)
def build(
    config: ConfigOption = None,
    registry: RegistryOption = None,
    repository: RepositoryOption = None,
    tag: TagOption = None,
    only: OnlyOption = None,
    base: Annotated[
        str, typer.Option(metavar="IMAGE", help="Image to build on: Debian with Python 3.11.")
    ] = "python:3.11-slim",
    workload: Annotated[
        Path | None,
        typer.Option("--with", metavar="FOLDER", help="Your own package or modules, to be importable in every step."),
    ] = None,
    revision: Annotated[
        str, typer.Option(metavar="SHA", help="Commit for the images' label; found by Git when not given.")
    ] = "",
    network: Annotated[
        str, typer.Option(metavar="NAME", help="Docker network of the build, such as host; Docker's choice when empty.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Build the images that the steps run in, on this machine's Docker.

    Example: ratchet images build --config ratchet.yaml --with ./my_workload
    """
    from kfp_ratchet.pipelines import image_building

    names = _images(config, registry, repository, tag)
    console = Terminal(quiet=as_json)
    with console.status("building") as shown:
        made = image_building.build(
            names,
            kinds=_kinds(only),
            base=base,
            workload=workload,
            revision=revision,
            network=network,
            say=lambda line: shown.update(line[:100]),
        )
    _tell(console, "built", made, as_json)


@app.command(cls=Command)
def push(
    config: ConfigOption = None,
    registry: RegistryOption = None,
    repository: RepositoryOption = None,
    tag: TagOption = None,
    only: OnlyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Push the images that were built, and print the digests that the registry keeps them under.

    Example: ratchet images push --config ratchet.yaml
    """
    from kfp_ratchet.pipelines import image_building

    names = _images(config, registry, repository, tag)
    console = Terminal(quiet=as_json)
    with console.status("pushing") as shown:
        made = image_building.push(names, kinds=_kinds(only), say=lambda line: shown.update(line[:100]))
    _tell(console, "pushed", made, as_json)


def _images(config: Path | None, registry: str | None, repository: str | None, tag: str | None) -> "Images":
    from pydantic import ValidationError

    from kfp_ratchet.components.shared.errors import InputError
    from kfp_ratchet.pipelines.config import load
    from kfp_ratchet.pipelines.images import Images

    given = {"registry": registry, "repository": repository, "tag": tag}
    named = load(config).images if config else Images()
    try:
        return Images(**{**named.model_dump(), **{key: value for key, value in given.items() if value is not None}})
    except ValidationError as error:
        wrong = ", ".join(f"--{problem['loc'][0]} {problem['input']!r}" for problem in error.errors())
        raise InputError(
            f"no image can be named by {wrong}", "take lower case names such as registry.example.com/team"
        ) from None


def _kinds(only: list[str] | None) -> "tuple[Kind, ...]":
    from kfp_ratchet.pipelines.images import KINDS

    for name in only or ():
        if name not in KINDS:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(KINDS)}", param_hint="--only")
    return tuple(kind for kind in KINDS if not only or kind in only)


def _tell(console: Terminal, done: str, made: "list[Image]", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in made], indent=1))
    for each in made:
        console.say((f"{done:6}", "bold green"), f" {each.reference}  {each.digest}")

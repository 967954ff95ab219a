"""`ratchet doctor`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kfp_ratchet.pipelines.cli.server_options import PIPELINES, PipelinesOption, ServerOption
from kfp_ratchet.pipelines.cli.serving import CONFIG, ConfigOption, JsonOption
from kfp_ratchet.pipelines.cli.terminal import Terminal

if TYPE_CHECKING:
    from kfp_ratchet.pipelines.declared import Declared
    from kfp_ratchet.pipelines.doctor.check import Look
    from kfp_ratchet.pipelines.pipeline_text import PipelineText
    from kfp_ratchet.pipelines.project import Project

_LOOK = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failed": ("✗", "bold red"), "skipped": ("·", "dim")}
_PATIENCE, _SECONDS = 5, 45


def doctor(
    config: ConfigOption = CONFIG,
    pipelines: PipelinesOption = PIPELINES,
    server: ServerOption = "",
    kubernetes: Annotated[
        bool,
        typer.Option(
            "--kubernetes/--no-kubernetes",
            help="Look for the secrets, config maps and volumes that pods ask for, in the server's namespace or the kubeconfig's.",
        ),
    ] = True,
    namespace: Annotated[
        str, typer.Option(metavar="NAME", help="Where the pods run, if that is another namespace.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Look at everything that a run on a cluster needs, and say what is missing before it is missed.

    Server, credentials, namespace, clock, experiments, schedules, images, secrets, store, MLflow: one line each, with what to do. Exits
    with 1 when a check failed.

    Example: ratchet doctor --server production
    """
    from kfp_ratchet.pipelines.doctor.check import look

    found = []
    console = Terminal(quiet=as_json)
    for one in look(_looks(config, pipelines, server, namespace, kubernetes), _SECONDS):
        found.append(one)
        console.say(_LOOK[one.state], " ", (one.name, "bold"), f": {one.said}")
        if one.remedy:
            console.say(f"  {one.remedy}")
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=1))
    else:
        counts = {state: sum(one.state == state for one in found) for state in _LOOK}
        console.say(", ".join(f"{count} {state}" for state, count in counts.items() if count))
    if any(one.state == "failed" for one in found):
        raise typer.Exit(1)


def _looks(config: Path, pipelines: Path, which: str, namespace: str, kubernetes: bool) -> "dict[str, Look]":
    """All that can be looked at from here; what a file says wrongly ends the command."""
    from kfp_ratchet.pipelines.declared import load_declared
    from kfp_ratchet.pipelines.doctor import cluster, places
    from kfp_ratchet.pipelines.doctor import server as of_server
    from kfp_ratchet.pipelines.doctor.check import skipped
    from kfp_ratchet.pipelines.server.connection import Server
    from kfp_ratchet.pipelines.server.settings import ServerSettings, server_settings

    declared = load_declared(pipelines) if pipelines.exists() or pipelines != PIPELINES else None
    servers: dict[str, ServerSettings] = {}
    if declared:
        servers = {name: one.within(declared.folder) for name, one in declared.servers.items()}
    settings = server_settings(which, servers).model_copy(update={"patience": _PATIENCE, "timeout": _PATIENCE})
    projects, texts = _projects(declared, config), _texts(declared, config)
    images = sorted({image for text in texts for image in text.images})
    found: dict[str, Look] = {**of_server.looks(Server.connect(settings), declared), **places.looks(projects, images)}
    if not kubernetes:
        return {**found, "Kubernetes": lambda: skipped("not asked for")}
    return {**found, **cluster.looks(texts, namespace or settings.namespace)}


def _projects(declared: "Declared | None", config: Path) -> "dict[str, Project]":
    """Projects of pipelines.yaml, or else the one of the configuration."""
    from kfp_ratchet.pipelines.project import Project

    if declared is None:
        return {str(config): Project.open(config)} if config.exists() or config != CONFIG else {}
    configs = {each.config for each in declared.pipelines.values() if each.config}
    return {path: Project.open(declared.folder / path) for path in sorted(configs)}


def _texts(declared: "Declared | None", config: Path) -> "list[PipelineText]":
    from kfp_ratchet.pipelines.compile import compiled, compiled_pipelines
    from kfp_ratchet.pipelines.pipeline_text import PipelineText

    if declared is not None:
        return [one.spec for one in compiled_pipelines(declared).values()]
    configs = [config] if config.exists() else []
    return [PipelineText.parse(text, name) for name, text in compiled(configs).items()]

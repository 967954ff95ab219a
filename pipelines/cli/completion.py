"""What a shell offers after Tab: names that `pipelines.yaml` and the pipelines say.

Nobody reads an error then, and nobody waits: what cannot be read offers nothing, and no server is asked.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer

Complete = Callable[[typer.Context, str], list[str]]
_PIPELINES = "pipelines.yaml"
_OURS = ("continuous_training", "approve")


def _silent(names: Callable[[typer.Context], Iterator[str]]) -> Complete:
    """A completion of the names that begin as what was typed; of none when anything goes wrong."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        found: list[str] = []
        with suppress(Exception):
            found.extend(names(ctx))
        return [name for name in found if name.startswith(incomplete)]

    return complete


def _declared(ctx: typer.Context) -> dict[str, Any]:
    """`pipelines.yaml` as plain values: whether it is right is for the command to say."""
    import yaml

    read: dict[str, Any] = yaml.safe_load(Path(ctx.params.get("pipelines") or _PIPELINES).read_text(encoding="utf-8"))
    return read


@_silent
def pipelines(ctx: typer.Context) -> Iterator[str]:
    """Pipelines by their name on the server."""
    yield from _declared(ctx)["pipelines"]


@_silent
def pipelines_here(ctx: typer.Context) -> Iterator[str]:
    """Pipelines that run on this machine: ours, and compiled files."""
    yield from _OURS
    yield from map(str, sorted(Path().glob("compiled/*.yaml")))


@_silent
def schedules(ctx: typer.Context) -> Iterator[str]:
    """`PIPELINE/SCHEDULE`."""
    for name, pipeline in _declared(ctx)["pipelines"].items():
        for schedule in pipeline.get("schedules") or ():
            yield f"{name}/{schedule}"


@_silent
def servers(ctx: typer.Context) -> Iterator[str]:
    """Servers by name."""
    yield from _declared(ctx)["servers"]


@_silent
def parameters(ctx: typer.Context) -> Iterator[str]:
    """`NAME=` of the pipeline that was named before."""
    declared: dict[str, Any] = {}
    with suppress(OSError, KeyError):
        declared = _declared(ctx)["pipelines"]
    folder = Path(ctx.params.get("pipelines") or _PIPELINES).parent
    # An option without its value ends what is parsed: the words before it are left over.
    words = [word for word in ctx.args if not word.startswith("-")]
    source = next(iter(words), str(ctx.params.get("pipeline") or _OURS[0]))
    for name in _parameters(declared.get(source, {}).get("pipeline", source), folder):
        yield f"{name}="


@_silent
def rules(ctx: typer.Context) -> Iterator[str]:
    """Rules of `ratchet lint`."""
    from kfp_ratchet.pipelines.lint import RULES

    yield from RULES


@_silent
def steps(ctx: typer.Context) -> Iterator[str]:
    """Steps of our pipelines."""
    from kfp_ratchet.pipelines.kubernetes_settings import STEPS

    yield from STEPS


def _parameters(source: str, folder: Path) -> Iterator[str]:
    if source in _OURS:
        from kfp_ratchet.pipelines.config import APPROVE_PARAMETERS, PARAMETERS

        yield from PARAMETERS if source == _OURS[0] else APPROVE_PARAMETERS
    elif source.endswith((".yaml", ".yml", ".json")):
        from kfp_ratchet.pipelines.pipeline_text import PipelineText

        yield from PipelineText.read(folder / source).parameters

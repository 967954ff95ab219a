"""`ratchet lint`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from kfp_ratchet.pipelines.cli import completion
from kfp_ratchet.pipelines.cli.server_options import PIPELINES
from kfp_ratchet.pipelines.cli.serving import JsonOption
from kfp_ratchet.pipelines.cli.terminal import Terminal


def lint(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE",
            help="Compiled pipelines; when none is named, those of pipelines.yaml, else those in compiled/.",
        ),
    ] = None,
    pipelines: Annotated[
        Path | None,
        typer.Option(
            "--pipelines",
            metavar="FILE",
            help="Compiled in memory; pipelines.yaml when it is there and no --config is given.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", metavar="FILE", help="A ratchet.yaml, compiled in memory when there is no compiled/."
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE[:TASK]",
            autocompletion=completion.rules,
            help="Accept the findings of a rule, in all tasks or one; may be repeated.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Look for mistakes in compiled pipelines, yours or anyone's: stale caches, secrets, references that move or lead nowhere.

    Exits with 1 when there are any. The rules are unpinned-read, cached-effect, moving-reference, credential, broken-graph and
    fragile-condition.

    Example: ratchet lint pipeline.yaml --ignore cached-effect:upload-metrics
    """
    from kfp_ratchet.components.shared.names import counted
    from kfp_ratchet.pipelines.lint import lint as findings_in

    texts = _texts(files or [], pipelines, config)
    found = [finding for file, text in texts.items() for finding in findings_in(text, file, ignore or [])]
    if as_json:
        typer.echo(json.dumps({"files": list(texts), "findings": [asdict(finding) for finding in found]}, indent=1))
    else:
        console = Terminal()
        for one in found:
            console.say(f"{one.file}: ", (one.task, "bold"), f": {one.rule}: {one.message}; {one.remedy}")
        console.say(f"{counted(len(texts), 'compiled pipeline')}: {counted(len(found), 'finding')}")
    if found:
        raise typer.Exit(1)


def _texts(files: list[Path], pipelines: Path | None, config: Path | None) -> dict[str, str]:
    """Text by file or name."""
    from kfp_ratchet.components.shared.errors import InputError

    if pipelines is None and config is None and PIPELINES.exists():
        pipelines = PIPELINES
    if pipelines and not files:
        from kfp_ratchet.pipelines.compile import compiled_pipelines
        from kfp_ratchet.pipelines.declared import load_declared

        return {f"{pipelines}:{name}": each.text for name, each in compiled_pipelines(load_declared(pipelines)).items()}
    config = config or Path("ratchet.yaml")
    files = files or sorted(config.parent.glob("compiled/*.yaml"))
    if not files:
        from kfp_ratchet.pipelines.compile import continuous_training_yaml
        from kfp_ratchet.pipelines.config import load

        opened = load(config)
        text = continuous_training_yaml(opened.parameters(), opened.recipe(), opened.name, opened.kubernetes)
        return {str(config): text}
    try:
        return {str(path): path.read_text(encoding="utf-8") for path in files}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{getattr(error, 'filename', '') or 'a file'} cannot be read: {error}", "name compiled pipelines"
        ) from None

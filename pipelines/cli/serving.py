"""`ratchet status` and `ratchet stop`: what serves on this machine."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from kfp_ratchet.pipelines.project import Project

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The project's configuration.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def status(
    config: ConfigOption = Path("ratchet.yaml"),
    start: Annotated[bool, typer.Option("--start", help="Start the champion's server if it does not answer.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say who is champion, whether it answers, and how the last judgement went. Exits with 1 when it does not answer.

    Example: ratchet status --start
    """
    from kfp_ratchet.components.deploy.live import ensure, live
    from kfp_ratchet.components.shared.ledger import JUDGED, Ledger
    from kfp_ratchet.pipelines.project import Project

    project = Project.open(config)
    model = project.config.name
    console = Console(quiet=as_json, soft_wrap=True, highlight=False)
    if start:
        ensure(
            project.store.uri,
            model,
            project.tracking_uri,
            project.serving,
            lambda line: console.print(line, style="dim"),
        )
    ledger = Ledger(project.store, model)
    champion = ledger.champion()
    there = live(project.serving, model)
    judged = next((entry for entry in ledger.newest() if entry.kind in JUDGED), None)
    answers = there is not None and there[1] and champion is not None and there[0].digest == champion.digest
    if as_json:
        facts = {
            "model": model,
            "champion": champion.model_dump() if champion else None,
            "live": there[0].model_dump() if there else None,
            "answers": answers,
            "last": judged.model_dump(mode="json") if judged else None,
        }
        typer.echo(json.dumps(facts, indent=1))
    elif champion is None:
        console.print(f"{model} has no champion yet; run: ratchet run")
    else:
        console.print(f"{model}: v{champion.version} is champion since ledger entry {champion.epoch}")
        if answers and there:
            console.print(f"answers at {there[0].url}")
        else:
            console.print("[bold red]does not answer[/]; start it: ratchet status --start")
        if judged:
            console.print(f"last: {moment(judged.time)} UTC  {judged.reason or judged.kind}", markup=False)
    raise typer.Exit(0 if champion is None or answers else 1)


def stop(config: ConfigOption = Path("ratchet.yaml")) -> None:
    """Stop the model server on this machine; `ratchet status --start` starts it again."""
    from kfp_ratchet.components.deploy.live import stop as stop_servers
    from kfp_ratchet.pipelines.project import Project

    project = Project.open(config)
    stopped = stop_servers(project.serving, project.config.name)
    typer.echo(f"{project.config.name}: {'stopped' if stopped else 'nothing was running'}")


def how_to_ask(project: "Project") -> str:
    """A `curl` that asks the live model for the example that it was saved with; "" when nothing answers."""
    from kfp_ratchet.components.deploy.live import example, live

    model = project.config.name
    there = live(project.serving, model)
    if there is None or not there[1]:
        return ""
    question = example(project.serving, model, there[0].version)
    header = "Content-Type: application/json"
    return shlex.join(["curl", "-s", f"{there[0].url}/invocations", "-H", header, "-d", f"@{shown(question)}"])


def moment(time: str) -> str:
    """An ISO time without what a reader does not need."""
    return time[:19].replace("T", " ")


def shown(path: Path) -> str:
    """A path as a reader in the working directory would write it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)

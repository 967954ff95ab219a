"""`ratchet status` and `ratchet stop`: what serves on this machine."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kfp_ratchet.pipelines.cli.terminal import Terminal

if TYPE_CHECKING:
    from kfp_ratchet.pipelines.project import Project

CONFIG = Path("ratchet.yaml")
ConfigOption = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The project's configuration.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON and nothing else: also an error, with its remedy and exit code.")
]


def status(
    config: ConfigOption = CONFIG,
    start: Annotated[bool, typer.Option("--start", help="Start the champion's server if it does not answer.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say who is champion, whether it answers, and how the last judgement went.

    Exits with 1 when it does not answer, when a server runs that a killed deploy left, or when the ledger was changed after it was
    written, or is not the one that made live what is live here.

    Example: ratchet status --start
    """
    from kfp_ratchet.components.deploy.live import ensure, foreign, live, pods, strangers
    from kfp_ratchet.components.shared.entry import JUDGED
    from kfp_ratchet.components.shared.forced import forced, warning
    from kfp_ratchet.components.shared.ledger import Ledger
    from kfp_ratchet.pipelines.project import Project

    project = Project.open(config)
    model = project.config.name
    console = Terminal(quiet=as_json)
    if start:
        ensure(project.store.uri, model, project.tracking_uri, project.serving, lambda line: console.say((line, "dim")))
    ledger = Ledger(project.store, model)
    champion = ledger.champion()
    there = live(project.serving, model)
    serving = pods(project.serving, model)
    judged = next((entry for entry in ledger.newest() if entry.kind in JUDGED), None)
    problems = ledger.verify() or list(filter(None, [foreign(project.serving, ledger)]))
    left = strangers(project.serving, model)
    by_force = forced(ledger)
    waits = ledger.pending()
    answers = there is not None and there[1] and champion is not None and there[0].digest == champion.digest
    if as_json:
        facts = {
            "model": model,
            "champion": champion.model_dump() if champion else None,
            "live": there[0].model_dump() if there else None,
            "answers": answers,
            "pods": serving.model_dump() if serving else None,
            "forced": by_force.model_dump(mode="json") if by_force else None,
            "pending": [entry.model_dump(mode="json") for entry in waits],
            "last": judged.model_dump(mode="json") if judged else None,
            "ledger_problems": problems,
            "strangers": left,
        }
        typer.echo(json.dumps(facts, indent=1))
    elif champion is None:
        console.say(f"{model} has no champion yet" + ("" if waits else "; run: ratchet run"))
    else:
        console.say(f"{model}: v{champion.version} is champion since ledger entry {champion.epoch}")
        if answers and there:
            console.say(f"answers at {there[0].url}")
        elif there and there[1]:
            console.say(("does not answer", "bold red"), f", but v{there[0].version} does at {there[0].url}")
            console.say(f"start the champion: {start_command(config)}")
        else:
            console.say(("does not answer", "bold red"), f"; start it: {start_command(config)}")
        if serving and there:
            console.tell(
                f"serves: v{there[0].version}, {serving.ready}/{serving.replicas} pods ready, "
                f"Deployment {serving.deployment} of ledger entry {there[0].entry}, image {serving.image}"
            )
        if judged:
            told = f"waits: {judged.why}" if judged.kind == "pending" else judged.reason or judged.kind
            console.tell(f"last: {moment(judged.time)} UTC  {told}")
    if by_force:
        console.tell(("forced", "bold red"), ": ", warning(by_force))
    for entry in waits:
        console.say(
            (f"v{entry.version} waits for approval", "bold"),
            f": ratchet model approve {model} {entry.version}, or deny",
        )
    if left:
        named = f"{'Deployment' if isinstance(left[0], str) else 'process'} {', '.join(map(str, left))}"
        console.say(
            ("servers run that a killed deploy left", "bold red"),
            f": {named}; stop them: {start_command(config)}",
        )
    for problem in problems:
        console.say(("the ledger cannot be trusted", "bold red"), f": {problem}; restore it from a backup")
    raise typer.Exit(0 if (champion is None or answers) and not problems and not left else 1)


def stop(config: ConfigOption = CONFIG, as_json: JsonOption = False) -> None:
    """Stop the model server on this machine; `ratchet status --start` starts it again.

    Example: ratchet stop
    """
    from kfp_ratchet.components.deploy.live import stop as stop_servers
    from kfp_ratchet.pipelines.project import Project

    project = Project.open(config)
    stopped = stop_servers(project.serving, project.config.name)
    if as_json:
        typer.echo(json.dumps({"model": project.config.name, "stopped": stopped}, indent=1))
    else:
        typer.echo(f"{project.config.name}: {'stopped' if stopped else 'nothing was running'}")


def start_command(config: Path) -> str:
    """The command that brings the champion back."""
    return shlex.join(["ratchet", "status", *([] if config == CONFIG else ["-c", str(config)]), "--start"])


def how_to_ask(project: "Project") -> str:
    """A `curl` that asks the live model for the example that it was saved with; "" when nothing answers."""
    from kfp_ratchet.components.deploy.live import example, live

    model = project.config.name
    there = live(project.serving, model)
    if there is None or not there[1]:
        return ""
    question = example(project.serving, model, there[0].version)
    if question is None:
        return ""
    header = "Content-Type: application/json"
    return shlex.join(["curl", "-s", f"{there[0].url}/invocations", "-H", header, "-d", f"@{shown(question)}"])


def moment(time: str) -> str:
    """An ISO time without what a reader does not need."""
    return time[:19].replace("T", " ")


def shown(path: Path) -> str:
    """A path as a reader in the working directory would write it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)

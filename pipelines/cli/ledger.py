"""`ratchet ledger`: whether the record is whole, and whether MLflow shows what it says."""

import contextlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from kfp_ratchet.pipelines.cli.commands import Command, Group
from kfp_ratchet.pipelines.cli.model import NameArgument
from kfp_ratchet.pipelines.cli.serving import CONFIG, ConfigOption, JsonOption
from kfp_ratchet.pipelines.cli.terminal import Terminal, plain

if TYPE_CHECKING:
    from kfp_ratchet.components.shared.projection import Difference
    from kfp_ratchet.pipelines.project import Project

app = typer.Typer(
    cls=Group, no_args_is_help=True, help="Whether the record is whole, and whether MLflow shows what it says."
)
_NOTHING = "nothing"


@app.command(cls=Command)
def verify(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model; all in the store when not given.")] = "",
    config: ConfigOption = CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Read every entry and name what is missing, unreadable, foreign or was changed. Exits with 1 when there is any.

    What is live on this machine and what MLflow has shown must be in the ledger as well: it may be another one, or have lost its end.

    Example: ratchet ledger verify --json
    """
    from kfp_ratchet.components.shared.ledger import Ledger, models
    from kfp_ratchet.pipelines.project import Project

    project = Project.open(config)
    names, strays = models(project.store)
    if name:
        names, strays = [name] if name in names else [project.model(name)], []
    found = {model: Ledger(project.store, model).examine() for model in names}
    own = name or project.config.name
    for model in dict.fromkeys([*names, own]):
        count, problems = found.get(model, (0, []))
        if problems := problems or _witnessed(project, model):
            found[model] = count, problems
    if as_json:
        ledgers = [
            {"model": model, "entries": count, "problems": problems} for model, (count, problems) in found.items()
        ]
        typer.echo(json.dumps({"ledgers": ledgers, "problems": strays}, indent=1))
    else:
        console = Terminal()
        if not names:
            console.say(f"the store {project.store.uri} has no ledger yet; ratchet run writes the first entry")
        for model, (count, problems) in found.items():
            state = ("whole", "green") if not problems else ("damaged", "bold red")
            console.say(f"{model}: {count} {'entry' if count == 1 else 'entries'}, ", state)
            for problem in problems:
                console.say(f"  {problem}")
        for stray in strays:
            console.say(("damaged", "bold red"), f": {stray}")
    raise typer.Exit(1 if strays or any(problems for _, problems in found.values()) else 0)


@app.command(cls=Command)
def reconcile(
    name: NameArgument = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what differs.")] = False,
    config: ConfigOption = CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Set MLflow's aliases and tags as the ledger has it, and tell what was not so. Exits with 1 when there was any.

    Example: ratchet ledger reconcile --dry-run
    """
    from kfp_ratchet.components.shared.ledger import Ledger
    from kfp_ratchet.components.shared.projection import reconcile as mend
    from kfp_ratchet.pipelines.project import Project

    project = Project.open(config)
    model = project.model(name)
    differences = mend(project.tracking_uri, Ledger(project.store, model), dry_run)
    if as_json:
        told = [{**asdict(one), "repaired": one.repairable and not dry_run} for one in differences]
        typer.echo(json.dumps({"model": model, "differences": told}, indent=1))
    else:
        _print(model, differences, dry_run)
    raise typer.Exit(1 if differences else 0)


def _witnessed(project: "Project", model: str) -> list[str]:
    """What was seen of the ledger and is not in it."""
    from kfp_ratchet.components.deploy.live import foreign as live_of_another
    from kfp_ratchet.components.shared.ledger import Ledger
    from kfp_ratchet.components.shared.projection import foreign as shown_of_another
    from kfp_ratchet.components.shared.registry import RegistryError

    ledger = Ledger(project.store, model)
    told = [live_of_another(project.serving, ledger)]
    # A registry that is away, or not there yet, has nothing to say against the ledger.
    with contextlib.suppress(RegistryError):
        told.append(shown_of_another(project.tracking_uri, ledger))
    return list(filter(None, told))


def _print(model: str, differences: "list[Difference]", dry_run: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    console = Terminal()
    if not differences:
        console.say(f"MLflow shows {model} as the ledger has it")
        return
    rows = []
    for one in differences:
        done = ("differs", "yellow") if dry_run else ("repaired", "green")
        if not one.repairable:
            done = ("cannot be repaired here", "bold red")
        missing = one.thing == "version"
        rows.append((str(one), "missing" if missing else one.found or _NOTHING, one.wanted or _NOTHING, done))
    if console.is_terminal:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for column in ("in MLflow", "found", "by the ledger", ""):
            table.add_column(column, overflow="fold")
        for what, found, wanted, done in rows:
            table.add_row(plain(what), plain(found), plain(wanted), Text(*done))
        console.print(table)
    else:
        for what, found, wanted, done in rows:
            console.say(f"{what}: {found}, by the ledger {wanted}: ", done)
    if any(not one.repairable for one in differences):
        console.tell(
            "A version that is missing or of another model: restore MLflow's database, or roll back to another version."
        )

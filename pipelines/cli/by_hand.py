"""`ratchet model approve`, `deny` and `rollback`: what a person decides about what is live."""

import getpass
import json
from typing import TYPE_CHECKING, Annotated

import typer

from kfp_ratchet.pipelines.cli.serving import CONFIG, ConfigOption, JsonOption
from kfp_ratchet.pipelines.cli.terminal import Terminal

if TYPE_CHECKING:
    from kfp_ratchet.components.deploy.by_hand import Place
    from kfp_ratchet.components.shared.entry import Entry
    from kfp_ratchet.pipelines.project import Project

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="The model's registered name.")]
VersionArgument = Annotated[
    str, typer.Argument(metavar="VERSION", help="Its version, as in `ratchet model history`: 5 or v5.")
]
ReasonOption = Annotated[str, typer.Option(metavar="TEXT", help="Why, for the history.")]
ByOption = Annotated[str, typer.Option(metavar="NAME", help="Who; your user name when not given.")]


def approve(
    name: ModelArgument,
    version: VersionArgument,
    by: ByOption = "",
    reason: ReasonOption = "",
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Put any registered version live, whatever the gate said; needs --by and --reason, and is shown in red for as "
            "long as it is live.",
        ),
    ] = False,
    no_deploy: Annotated[
        bool,
        typer.Option("--no-deploy", help="Only note the approval; a later run, or the pipeline approve, puts it live."),
    ] = False,
    config: ConfigOption = CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Approve a version that waits, and put it live here. It is started and asked before any traffic moves.

    An approval expires when another version becomes champion: what waited was judged against the former one.

    Example: ratchet model approve flights 5 --reason "looked at the slices"
    """
    from kfp_ratchet.components.deploy.by_hand import answer, force_live, put_live
    from kfp_ratchet.components.shared.errors import InputError
    from kfp_ratchet.pipelines.project import Project

    project = Project.open(config)
    place, number = _place(project, name), version.removeprefix("v")
    console = Terminal(quiet=as_json)

    def aside(line: str) -> None:
        console.say((line, "dim"))

    if force:
        if no_deploy:
            raise InputError(
                "--force with --no-deploy: there is nothing to note before it is live", "leave out --no-deploy"
            )
        entry = force_live(place, number, by, reason, aside)
        said = ("forced", "bold red"), f": v{entry.version} is live and champion, ledger entry {entry.number}"
    else:
        approved = answer(place, number, "approve", by or getpass.getuser(), reason)
        if no_deploy and approved.answer is not None:
            entry = approved.answer
            said = ("approved", "bold"), f": v{number}, ledger entry {entry.number}; put it live: ratchet run approve"
        else:
            entry = put_live(place, approved, f"approve by {by or getpass.getuser()}", aside)[0].entry
            said = ("approved", "bold green"), f": v{entry.version} is live and champion, ledger entry {entry.number}"
    _told(console, entry, as_json, *said)


def deny(
    name: ModelArgument,
    version: VersionArgument,
    by: ByOption = "",
    reason: ReasonOption = "",
    config: ConfigOption = CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Refuse a version that waits for approval; what is live stays live.

    Example: ratchet model deny flights 5 --reason "worse for evening flights"
    """
    from kfp_ratchet.components.deploy.by_hand import answer
    from kfp_ratchet.components.deploy.rollout import project as project_registry
    from kfp_ratchet.pipelines.project import Project

    project = Project.open(config)
    place, number = _place(project, name), version.removeprefix("v")
    console = Terminal(quiet=as_json)
    entry = answer(place, number, "deny", by or getpass.getuser(), reason).answer
    if unprojected := project_registry(place.tracking_uri, place.ledger):
        console.say((f"MLflow does not show it yet: {unprojected}", "dim"))
    if entry is not None:
        _told(console, entry, as_json, ("denied", "bold yellow"), f": v{number}, ledger entry {entry.number}")


def rollback(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model; the project's own when not given.")] = "",
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="VERSION",
            help="Version of a former champion, as in `ratchet model history`; the one before when not given.",
        ),
    ] = None,
    reason: ReasonOption = "",
    by: ByOption = "",
    config: ConfigOption = CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Make a former champion live again. It is started and asked before any traffic moves.

    Example: ratchet model rollback flights --reason "complaints from Newark"
    """
    from kfp_ratchet.components.deploy.by_hand import rollback as go_back
    from kfp_ratchet.pipelines.project import Project

    project = Project.open(config)
    console = Terminal(quiet=as_json)
    who = by or getpass.getuser()
    version = to.removeprefix("v") if to else None
    entry = go_back(_place(project, name), version, who, reason, lambda line: console.say((line, "dim")))
    _told(console, entry, as_json, f"v{entry.version} is live and champion again, ledger entry {entry.number}")


def _place(project: "Project", name: str) -> "Place":
    from kfp_ratchet.components.deploy.by_hand import Place

    return Place(project.store.uri, project.model(name), project.tracking_uri, project.serving)


def _told(console: Terminal, entry: "Entry", as_json: bool, *said: str | tuple[str, str]) -> None:
    if as_json:
        typer.echo(json.dumps(entry.model_dump(mode="json"), indent=1))
    console.say(*said)

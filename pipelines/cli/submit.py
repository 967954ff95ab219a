"""`ratchet submit`: start a pipeline on a server, and see it through."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kfp_ratchet.pipelines.cli import completion
from kfp_ratchet.pipelines.cli.server_options import PIPELINES, PipelinesOption, ServerOption
from kfp_ratchet.pipelines.cli.serving import JsonOption
from kfp_ratchet.pipelines.cli.summaries import JunitOption, Summaries, SummaryOption, summaries
from kfp_ratchet.pipelines.cli.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kfp_ratchet.pipelines.server.connection import Server
    from kfp_ratchet.pipelines.server.following import Ended
    from kfp_ratchet.pipelines.server.objects import Run

_INTERRUPTED = 130


def submit(
    pipeline: Annotated[
        str,
        typer.Argument(
            metavar="PIPELINE",
            help="One of pipelines.yaml (the version with Git's content), NAME or NAME@VERSION on the server, or a compiled YAML.",
            autocompletion=completion.pipelines,
        ),
    ],
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter",
            "-p",
            metavar="NAME=VALUE",
            help="Value of a parameter; may be repeated.",
            autocompletion=completion.parameters,
        ),
    ] = None,
    server: ServerOption = "",
    pipelines: PipelinesOption = PIPELINES,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Show its steps live, and wait for its end.")] = False,
    experiment: Annotated[str, typer.Option(metavar="NAME", help="Where it is filed.")] = "",
    name: Annotated[str, typer.Option(metavar="NAME", help="Its name; model, time and reason when not given.")] = "",
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why, for its name: by hand, or the branch in a CI.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Start another one though the same is in progress.")] = False,
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache",
            help="Run every step. The spec is sent along then: a server drops this wish together with a version.",
        ),
    ] = False,
    pin_digests: Annotated[
        bool, typer.Option("--pin-digests", help="The version that `server apply --pin-digests` made of Git's content.")
    ] = False,
    service_account: Annotated[str, typer.Option(metavar="NAME", help="Service account of its pods.")] = "",
    pipeline_root: Annotated[str, typer.Option(metavar="URI", help="Where its artifacts go.")] = "",
    summary: SummaryOption = None,
    junit: JunitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a pipeline on a Kubeflow Pipelines server. The same that is in progress is found and joined.

    Parameters are checked before anything is started. With --wait and --follow, exit codes are those of `ratchet run`; Ctrl-C detaches,
    and the run goes on.

    Example: ratchet submit flights -p trials=20 --follow
    """
    from kfp_ratchet.components.shared.credentials import secret_in
    from kfp_ratchet.components.shared.errors import InputError
    from kfp_ratchet.pipelines.cli.server_options import connected
    from kfp_ratchet.pipelines.declared import load_declared
    from kfp_ratchet.pipelines.docker_engine import registry_digest
    from kfp_ratchet.pipelines.server.uploading import refuse_what_fails_later
    from kfp_ratchet.pipelines.submission import find_target, in_progress, start

    if (summary or junit) and not (wait or follow):
        raise InputError("--summary and --junit tell how the run ended", "add --wait or --follow")
    with summaries(pipeline, summary, junit) as told:
        pairs = [each.partition("=") for each in parameter or []]
        # Not repeated: it may be a secret.
        if wrong := next((at for at, each in enumerate(pairs, 1) if not each[1]), 0):
            raise InputError(f"-p number {wrong} is not NAME=VALUE", "write e.g. -p trials=20")
        if twice := [key for at, (key, *_) in enumerate(pairs) if key in [each[0] for each in pairs[:at]]]:
            raise InputError(f"-p {twice[0]} is given twice", "give each parameter once")
        for what, text in (("--name", name), ("--reason", reason), ("--pipeline-root", pipeline_root)):
            if found := secret_in(text):
                raise InputError(f"{what} holds {found}", "everyone who sees the run can read it: take it out")
        console = Terminal(quiet=as_json)
        there = connected(server, pipelines)
        declared = load_declared(pipelines) if pipelines.exists() else None
        target = find_target(pipeline, there, declared, registry_digest if pin_digests else None)
        values = target.text.check({key: value for key, _, value in pairs}, "-p")
        refuse_what_fails_later(target.text, target.name, there.health().version)
        if no_cache:
            target = target.uncached()
            console.tell("without the cache: the spec is sent along, so the UI shows no version for this run")
        waiting = () if force else there.runs(states=("PENDING", "RUNNING"))
        run = in_progress(target, values, waiting)
        joined = run is not None
        if run is None:
            run = start(
                there,
                target,
                values,
                reason=reason,
                name=name,
                experiment=experiment,
                pipeline_root=pipeline_root,
                service_account=service_account,
            )
        link = there.ui("run", run.id)
        console.say(("joined" if joined else "started", "bold"), f" {run.name}: run {run.id}", (f"  {link}", "dim"))
        if not joined and not force:
            _tell_of_a_twin(console, there, run, lambda runs: in_progress(target, values, runs))
        if joined:
            ignored = [what for what, text in (("--name", name), ("--experiment", experiment)) if text]
            told_so = f"; {' and '.join(ignored)} are left as they are" if ignored else ""
            console.tell(f"the same was in progress already{told_so}; --force starts another")
        if wait or follow:
            see_through(
                there, run, declared.folder if declared else Path(), console, live=follow, as_json=as_json, told=told
            )
        if as_json:
            typer.echo(json.dumps({"run": run.id, "name": run.name, "joined": joined, "link": link}, indent=1))
        else:
            console.say(f"follow it: ratchet runs attach {run.id}")


def _tell_of_a_twin(
    console: Terminal, there: "Server", run: "Run", same: "Callable[[Sequence[Run]], Run | None]"
) -> None:
    """Say it if another command started the same in the same moment. The run is started: no failure of this look may end the command."""
    from kfp_ratchet.pipelines.server.errors import ServerError

    try:
        other = same(there.runs(states=("PENDING", "RUNNING")))
    except ServerError:
        return
    if other is not None and other.id != run.id:
        console.tell(
            (
                f"the same was started in the same moment: {other.id}; neither harms the other, `ratchet runs cancel` ends one",
                "yellow",
            )
        )


def see_through(
    there: "Server",
    run: "Run",
    folder: Path,
    console: Terminal,
    *,
    live: bool,
    as_json: bool,
    told: "Summaries | None" = None,
) -> None:
    """Wait for a run's end, tell it, and end the command with its exit code."""
    from contextlib import nullcontext

    from kfp_ratchet.components.shared.errors import RatchetError
    from kfp_ratchet.pipelines.cli.live import Board
    from kfp_ratchet.pipelines.server.following import Following

    following = Following(there, run.id, folder)
    away = ""

    def on_away(why: str) -> None:
        nonlocal away
        if bool(why) != bool(away):
            console.tell(
                (f"{why}; the run goes on, and is asked for again" if why else "the server answers again", "yellow")
            )
        away = why

    try:
        with Board(console, following.steps) if live else nullcontext() as board:
            ended = following.wait(board.show if board else lambda records: None, on_away)
    except BaseException as error:
        # What Ctrl-C raises is no Exception: the run goes on without us.
        if isinstance(error, RatchetError):
            error.message += f"; run {run.id} may go on"
        if isinstance(error, Exception):
            raise
        if as_json:
            typer.echo(json.dumps({"run": run.id, "detached": True, "link": there.ui("run", run.id)}, indent=1))
        console.say(f"\ndetached, the run goes on: ratchet runs attach {run.id}, or ratchet runs cancel {run.id}")
        raise typer.Exit(_INTERRUPTED) from None
    if as_json:
        typer.echo(json.dumps({**ended.summary(), "link": there.ui("run", run.id)}, indent=1))
    else:
        _tell(console, there, ended)
    if told is not None:
        told.write(ended.view or ended.bare, {"run": there.ui("run", run.id), "report": ended.report})
    raise typer.Exit(ended.exit_code)


def _tell(console: Terminal, there: "Server", ended: "Ended") -> None:
    """The end of a run: verdict, report, and where to look."""
    from kfp_ratchet.pipelines.cli.run import tell_outcome

    if ended.view is not None:
        tell_outcome(console, ended.view)
    else:
        console.say()
        console.tell((ended.outcome.capitalize(), "bold red" if ended.exit_code else "bold green"), f"  {ended.blind}")
    if ended.view is not None and ended.outcome != ended.view.outcome:
        console.tell(
            ("The server calls it " + ended.run.state, "bold red"),
            ", though the journal does not: see its last steps in the UI",
        )
    if ended.exit_code:
        _tell_logs(console, there, ended)
    rows = [("Report", ended.report or "none was written"), ("Run", there.ui("run", ended.run.id))]
    if ended.exit_code:
        rows.append(("Logs", f"ratchet runs logs {ended.run.id}"))
    for title, value in rows:
        console.say((f"{title:<8}", "bold"), value)


def _tell_logs(console: Terminal, there: "Server", ended: "Ended") -> None:
    """What the step that failed left: its traceback, and what its pods printed, where they can be asked."""
    from kfp_ratchet.pipelines.server.pod_logs import pod_logs_at_once

    view = ended.view
    if view is not None and view.failure is not None and view.failure.traceback:
        console.say(view.failure.traceback.rstrip())
    failed = view.stopped.step if view is not None and view.stopped is not None else ""
    for one in pod_logs_at_once(ended.run.id, there.settings.namespace):
        if one.phase == "Failed" and one.step in (failed, ""):
            console.say((f"--- {one.pod}", "bold"), f" {one.step}")
            console.say(one.text.rstrip())

"""`ratchet runs`: runs on a Kubeflow Pipelines server."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kfp_ratchet.pipelines.cli import completion, run_report
from kfp_ratchet.pipelines.cli.commands import Command, Group
from kfp_ratchet.pipelines.cli.server_options import PIPELINES, PipelinesOption, ServerOption
from kfp_ratchet.pipelines.cli.serving import JsonOption
from kfp_ratchet.pipelines.cli.terminal import Terminal

if TYPE_CHECKING:
    from kfp_ratchet.components.shared.store import Store
    from kfp_ratchet.pipelines.server.connection import Server
    from kfp_ratchet.pipelines.server.objects import Run

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Runs on a Kubeflow Pipelines server: list, follow, cancel, retry, read, report.",
)
app.command(cls=Command)(run_report.report)
RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="Id of a run, a beginning of it that no other has, or last.", show_default=False
    ),
]
_STATES = {"SUCCEEDED": "green", "FAILED": "red", "RUNNING": "cyan", "CANCELING": "yellow", "CANCELED": "yellow"}


@app.command("list", cls=Command)
def list_runs(
    server: ServerOption = "",
    pipelines: PipelinesOption = PIPELINES,
    pipeline: Annotated[
        str,
        typer.Option("--pipeline", metavar="NAME", help="Only of this pipeline.", autocompletion=completion.pipelines),
    ] = "",
    state: Annotated[
        str, typer.Option(metavar="STATE", help="Only in this state: running, failed, succeeded and others.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="All of them, archived ones too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List runs, newest first: what ran, what became of it, and the gate's verdict where the store can be read from here.

    Example: ratchet runs list --pipeline flights --state failed
    """
    from kfp_ratchet.components.shared.errors import InputError
    from kfp_ratchet.components.shared.names import suggestion

    states = ("PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELING", "CANCELED", "SKIPPED", "PAUSED")
    if state and state.upper() not in states:
        raise InputError(f"there is no state {state!r}", suggestion(state.upper(), states))
    there, folder = _there(server, pipelines)
    named = there.pipelines() if pipeline or not everything else []
    whose = next((one.id for one in named if one.name == pipeline), "")
    if pipeline and not whose:
        raise InputError(
            f"there is no pipeline {pipeline!r} on the server", suggestion(pipeline, [one.name for one in named])
        )
    asked: Any = (state.upper(),) if state else ()
    # Neither the pipeline nor what is archived can be asked for together with the rest: more are read, and sorted out here.
    found = there.runs(states=asked, limit=0 if everything or pipeline else limit * 2)
    shown = [one for one in found if (everything or not one.archived) and (not whose or one.pipeline_id == whose)]
    shown = shown if everything else shown[:limit]
    versions = _versions(there, shown)
    verdicts = _verdicts(shown, folder, versions)
    rows = [_row(there, one, verdicts.get(one.id, ""), versions) for one in shown]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    console = Terminal()
    if not rows:
        console.say("no runs")
        return
    head = ("run", "name", "version", "state", "verdict", "started", "took")
    cells = [tuple(str(row[key]) for key in head) for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    console.say(("  ".join(title.ljust(width) for title, width in zip(head, widths, strict=True)).rstrip(), "dim"))
    for row in cells:
        parts: list[str | tuple[str, str]] = []
        for title, cell, width in zip(head, row, widths, strict=True):
            text = cell.ljust(width) + ("  " if title != head[-1] else "")
            parts.append((text, _STATES.get(cell.upper(), "")) if title == "state" else text)
        console.say(*parts)


@app.command(cls=Command)
def attach(
    run: RunArgument,
    server: ServerOption = "",
    pipelines: PipelinesOption = PIPELINES,
    as_json: JsonOption = False,
) -> None:
    """Show a run's steps live, until it is over; exit codes are those of `ratchet run`. Ctrl-C detaches, and the run goes on.

    Example: ratchet runs attach last
    """
    from kfp_ratchet.pipelines.cli.submit import see_through
    from kfp_ratchet.pipelines.server.finding import find_run

    there, folder = _there(server, pipelines)
    found = find_run(run, there)
    console = Terminal(quiet=as_json)
    console.say(f"{found.name}: run {found.id}", (f"  {there.ui('run', found.id)}", "dim"))
    see_through(there, found, folder, console, live=True, as_json=as_json)


@app.command(cls=Command)
def cancel(
    run: RunArgument,
    server: ServerOption = "",
    pipelines: PipelinesOption = PIPELINES,
    as_json: JsonOption = False,
) -> None:
    """End a run. The server will call it FAILED; `ratchet runs retry` lets it go on where it was.

    Example: ratchet runs cancel 7e199a39
    """
    from kfp_ratchet.pipelines.server.errors import RefusedError
    from kfp_ratchet.pipelines.server.finding import find_run

    there, _ = _there(server, pipelines)
    found = find_run(run, there)
    over = found.over
    if not over and found.state != "CANCELING":
        try:
            there.terminate(found.id)
        except RefusedError:
            # It ended between the question and this.
            over = there.run(found.id).over
    said = "it is over already" if over else "is being ended; the server will call it FAILED"
    if as_json:
        typer.echo(json.dumps({"run": found.id, "state": there.run(found.id).state, "over": over}, indent=1))
        return
    Terminal().say(f"{found.name}: {said}", *([f" ({found.state})"] if over else []))


@app.command(cls=Command)
def retry(
    run: RunArgument,
    server: ServerOption = "",
    pipelines: PipelinesOption = PIPELINES,
    as_json: JsonOption = False,
) -> None:
    """Let a failed or cancelled run go on under the same id; steps that are done stay done.

    Example: ratchet runs retry last
    """
    from kfp_ratchet.components.shared.errors import InputError
    from kfp_ratchet.pipelines.server.finding import find_run

    there, _ = _there(server, pipelines)
    found = find_run(run, there)
    if found.state not in ("FAILED", "CANCELED"):
        raise InputError(
            f"run {found.id} is {found.state}: only one that failed can go on",
            "start another: ratchet submit" if found.over else "wait for its end: ratchet runs attach",
        )
    there.retry(found.id)
    if as_json:
        typer.echo(json.dumps({"run": found.id, "state": there.run(found.id).state}, indent=1))
        return
    Terminal().say(f"{found.name} goes on: ratchet runs attach {found.id}", (f"  {there.ui('run', found.id)}", "dim"))


@app.command(cls=Command)
def logs(
    run: RunArgument,
    step: Annotated[
        str, typer.Argument(metavar="STEP", help="Only of this step.", autocompletion=completion.steps)
    ] = "",
    server: ServerOption = "",
    pipelines: PipelinesOption = PIPELINES,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="Last lines of each pod.")] = 50,
    pods: Annotated[
        bool, typer.Option("--pods/--no-pods", help="What pods printed, where Kubernetes may be asked.")
    ] = True,
    namespace: Annotated[
        str, typer.Option(metavar="NAME", help="Where the pods are, if not in the server's namespace.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Say what a run's steps said: from the journal, which outlives the pods, and what the pods printed, as long as they are there.

    Example: ratchet runs logs last train
    """
    from kfp_ratchet.components.shared.errors import InputError, RatchetError
    from kfp_ratchet.components.shared.names import suggestion
    from kfp_ratchet.pipelines.server.finding import find_run
    from kfp_ratchet.pipelines.server.following import Following
    from kfp_ratchet.pipelines.server.pod_logs import pod_logs

    there, folder = _there(server, pipelines)
    following = Following(there, find_run(run, there).id, folder)
    if step and step not in following.steps:
        raise InputError(f"the run has no step {step!r}", suggestion(step, following.steps))
    records = {name: record for name, record in following.records().items() if not step or name == step}
    printed, no_pods = [], "not asked for"
    if pods:
        try:
            found = list(pod_logs(following.run.id, namespace or there.settings.namespace, lines))
            # Of another's pipeline no label says which step a pod is of.
            printed = [one for one in found if not step or one.step in (step, "")]
            no_pods = "" if printed else "none is left: the cluster removes them after a while"
        except RatchetError as error:
            no_pods = error.message
    if as_json:
        told = {
            "steps": {
                name: record.model_dump(mode="json", include={"state", "line", "error"})
                for name, record in records.items()
            },
            "journal": following.blind,
            "pods": [{"step": one.step, "pod": one.pod, "phase": one.phase, "log": one.text} for one in printed],
            "no_pods": no_pods,
        }
        typer.echo(json.dumps(told, indent=1))
        return
    console = Terminal()
    if following.blind:
        console.tell((f"journal: {following.blind}", "dim"))
    for name, record in records.items():
        console.say((name, "bold"), f" {record.state}: {record.line}")
        if record.error:
            for part in (record.error.remedy, record.error.traceback):
                if part:
                    console.say(*(f"  {line}\n" for line in part.rstrip().splitlines()))
    for one in printed:
        console.say((f"--- {one.pod}", "bold"), f" {one.step} {one.phase}")
        console.say(one.text.rstrip())
    if no_pods:
        console.tell((f"pods: {no_pods}", "dim"))


def _there(server: str, pipelines: Path) -> tuple["Server", Path]:
    """The server, and the folder that relative stores are in."""
    from kfp_ratchet.pipelines.cli.server_options import connected

    return connected(server, pipelines), pipelines.absolute().parent


def _versions(there: "Server", runs: Iterable["Run"]) -> dict[str, Any]:
    """Versions of some runs by id; those of deleted pipelines are missing."""
    from kfp_ratchet.pipelines.server.snapshot import in_parallel

    ids = dict.fromkeys(one.pipeline_id for one in runs if one.version_id)
    return {version.id: version for found in in_parallel(there.versions, ids) for version in found}


def _verdicts(runs: Iterable["Run"], folder: Path, versions: dict[str, Any]) -> dict[str, str]:
    """The outcome by run id, of those that are over and whose journal can be read from here at once."""
    from kfp_ratchet.pipelines.server.snapshot import in_parallel

    stores: dict[str, Store | None] = {}

    def verdict(run: "Run") -> tuple[str, str]:
        from kfp_ratchet.components.notify.run_view import RunView
        from kfp_ratchet.components.shared.errors import RatchetError
        from kfp_ratchet.components.shared.journal import read_run

        store = stores.get(_store_uri(run, versions))
        try:
            if store is None or not run.over or not read_run(store, run.id):
                return run.id, ""
            return run.id, RunView.read(store, run.id).outcome
        except RatchetError:
            return run.id, ""

    runs = list(runs)
    for uri in {_store_uri(one, versions) for one in runs} - {""}:
        stores[uri] = _opened(uri, folder)
    return dict(in_parallel(verdict, runs))


def _store_uri(run: "Run", versions: dict[str, Any]) -> str:
    spec = run.spec or (versions[run.version_id].spec if run.version_id in versions else {})
    plain = spec.get("pipeline_spec", spec)
    default = (
        plain.get("root", {}).get("inputDefinitions", {}).get("parameters", {}).get("store", {}).get("defaultValue", "")
    )
    return str(run.parameters.get("store", default))


def _opened(uri: str, folder: Path) -> "Store | None":
    from kfp_ratchet.components.shared.errors import RatchetError

    try:
        from kfp_ratchet.components.shared.store import Store

        if "://" in uri:
            return Store(uri)
        return Store(str(folder / uri)) if (folder / uri).is_dir() else None
    except (RatchetError, ModuleNotFoundError):
        return None


def _row(there: "Server", run: "Run", verdict: str, versions: dict[str, Any]) -> dict[str, Any]:
    end = run.finished or (datetime.now(UTC) if not run.over else None)
    version = versions.get(run.version_id)
    return {
        "run": run.id,
        "name": run.name,
        "version": version.name if version else "",
        "state": run.state.lower(),
        "verdict": verdict,
        "started": f"{run.created:%Y-%m-%d %H:%M}",
        "took": _duration((end - run.created).total_seconds()) if end else "",
        "link": there.ui("run", run.id),
    }


def _duration(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return (
        f"{minutes // 60}h {minutes % 60:02d}m"
        if minutes >= 60
        else f"{minutes}m {rest:02d}s"
        if minutes
        else f"{rest} s"
    )

"""`ratchet runs report`: what became of a run, as text for people, on their pull request if they like."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kfp_ratchet.pipelines.cli.serving import CONFIG, ConfigOption, JsonOption
from kfp_ratchet.pipelines.cli.terminal import Terminal

if TYPE_CHECKING:
    from kfp_ratchet.components.notify.run_view import RunView
    from kfp_ratchet.pipelines.project import Project

_LAST = "last"


def report(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="Id of a run in the project's store, a beginning of it, or last: the newest here."
        ),
    ] = _LAST,
    config: ConfigOption = CONFIG,
    comment: Annotated[
        bool,
        typer.Option(
            "--comment", help="Write it as the comment on the pull or merge request; the same one is updated next time."
        ),
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Write it as a check run of the commit, on GitHub.")] = False,
    pull_request: Annotated[
        str,
        typer.Option(
            "--pull-request", metavar="NUMBER", help="Which one; the one that the CI tells of when not given."
        ),
    ] = "",
    repository: Annotated[
        str,
        typer.Option(
            "--repository", metavar="NAME", help="owner/name on GitHub, id or path on GitLab; the CI's when not given."
        ),
    ] = "",
    title: Annotated[
        str, typer.Option(metavar="TEXT", help="Each title has a comment of its own; the model's name when not given.")
    ] = "",
    link: Annotated[
        list[str] | None, typer.Option("--link", metavar="NAME=URL", help="A link to show at the end; may be repeated.")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter",
            "-p",
            metavar="NAME=VALUE",
            help="A parameter that the run had and the configuration does not: store or model_name; may be repeated.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print what became of a run as Markdown, or keep it up to date on a pull request (GitHub) or merge request (GitLab).

    The journal in the project's store tells it, of runs here and on a cluster alike. What it prints can be piped to
    `cml comment create`. A pull request from a fork, whose token may only read, gets no comment: the text is printed.

    Example: ratchet runs report last --comment
    """
    from kfp_ratchet.components.notify.run_view import RunView
    from kfp_ratchet.pipelines.cli.run import parameters_of
    from kfp_ratchet.pipelines.config import PARAMETERS
    from kfp_ratchet.pipelines.project import Project
    from kfp_ratchet.pipelines.run_summary import markdown

    project = Project.open(config).with_parameters(parameters_of(parameter or [], PARAMETERS))
    run_id = _found(project, run)
    view = RunView.read(project.store, run_id, project.config.name)
    links = _links(project, run_id, link or [])
    text = markdown(view, links)
    told: dict[str, Any] = {"run": run_id, "outcome": view.outcome, "markdown": text}
    console = Terminal(quiet=as_json)
    if comment or check:
        named = title or view.model_name or run_id
        told |= _publish(view, named, text, links, comment, check, repository, pull_request, console)
    if as_json:
        typer.echo(json.dumps(told, indent=1))
    elif not (comment or check) or "why_not" in told:
        typer.echo(text)


def _publish(
    view: "RunView",
    title: str,
    text: str,
    links: dict[str, str],
    comment: bool,
    check: bool,
    repository: str,
    number: str,
    console: Terminal,
) -> dict[str, Any]:
    """Write comment and check; what was done."""
    import os

    from kfp_ratchet.components.shared.errors import InputError
    from kfp_ratchet.pipelines.forge.comment import upsert
    from kfp_ratchet.pipelines.forge.github import PullRequest
    from kfp_ratchet.pipelines.forge.gitlab import MergeRequest
    from kfp_ratchet.pipelines.forge.http import ForbiddenError

    whole = next((url for url in links.values() if url.startswith(("http://", "https://"))), "")
    done: dict[str, Any] = {}
    on_gitlab = bool(
        os.environ.get("GITLAB_CI") or (os.environ.get("GITLAB_TOKEN") and not os.environ.get("GITHUB_REPOSITORY"))
    )
    if check and on_gitlab:
        raise InputError(
            "a check run is GitHub's",
            "leave --check out: GitLab shows JUnit XML (`ratchet run --junit`) in the request",
        )
    request = MergeRequest(repository, number) if on_gitlab else PullRequest(repository, number)
    try:
        if comment:
            written, is_new = upsert(request, title, text, whole)
            done |= {"comment": written.url, "new": is_new}
            console.say(f"{'written' if is_new else 'up to date'}: {written.url}")
        if check and isinstance(request, PullRequest):
            conclusion = _conclusion(view)
            done["check"] = request.check(f"kfp-ratchet: {title}", conclusion, f"{title}: {view.outcome}", text, whole)
            console.say(f"check written: {conclusion}  {done['check']}")
    except ForbiddenError as error:
        if not (isinstance(request, PullRequest) and request.from_fork):
            raise
        done["why_not"] = f"the pull request is from a fork, so the token may only read ({error.message})"
        Terminal(stderr=True).tell((done["why_not"], "yellow"))
    return done


def _conclusion(view: "RunView") -> Any:
    if view.outcome == "promoted":
        return "success"
    return "neutral" if view.exit_code == 0 or view.outcome == "inconclusive" else "failure"


def _links(project: "Project", run: str, given: list[str]) -> dict[str, str]:
    from kfp_ratchet.components.shared.errors import InputError

    found: dict[str, str] = {}
    for pair in given:
        name, equals, url = pair.partition("=")
        if not (name and equals and url):
            raise InputError(f"--link {pair!r} is not NAME=URL", "write e.g. --link 'Job=https://ci.example.com/1'")
        found[name] = url
    if project.store.get(f"runs/{run}/report.html") is not None:
        found["report"] = f"{project.config.store.rstrip('/')}/runs/{run}/report.html"
    return found


def _found(project: "Project", which: str) -> str:
    """The run's id.

    Raises:
        InputError: There is none, or several begin so.
    """
    from kfp_ratchet.components.shared.errors import InputError
    from kfp_ratchet.components.shared.names import suggestion

    if which == _LAST:
        folders = sorted((project.home / "runs").glob("*/artifacts/*/"), key=lambda path: path.parts[-3])
        if not folders:
            raise InputError(f"there is no run in {project.home}", "run one, or name the id of one on a server")
        return folders[-1].name
    # Of a folder of a local run, the id is in its artifacts.
    if "/" in which and (inside := [path.name for path in Path(which).glob("artifacts/*/")]):
        return inside[0]
    known = {key.split("/")[1] for key in project.store.keys("runs")}
    found = [one for one in known if one.startswith(which)] if which not in known else [which]
    if len(found) != 1:
        several = f"{len(found)} runs in {project.store.uri} begin with {which!r}"
        raise InputError(
            several if found else f"the store {project.store.uri} has no run {which!r}",
            suggestion(which, found or known, most=5),
        )
    return found[0]

"""`ratchet data push`: a snapshot of a folder, and what to write into `ratchet.yaml` for it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal

from kfp_ratchet.pipelines.cli.serving import JsonOption
from kfp_ratchet.pipelines.cli.terminal import Terminal

if TYPE_CHECKING:
    from kfp_ratchet.pipelines.push import Pushed


def push(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder or file to push.")],
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="s3://bucket/prefix; dvc://REPOSITORY:PATH, a Git folder on this machine and a path in it; or dvc, when "
            "FOLDER lies in such a repository.",
        ),
    ],
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Delete from the bucket what the folder no longer has; old versions stay.")
    ] = False,
    unversioned: Annotated[
        bool,
        typer.Option(
            "--unversioned", help="Push to a bucket that keeps no versions: a revision ends with the next push."
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Let --mirror delete more objects than the folder has files.")
    ] = False,
    no_commit: Annotated[
        bool, typer.Option("--no-commit", help="With DVC, leave committing what it wrote to you.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Snapshot a folder in a versioned bucket or in DVC, and print its revision and the source to put into ratchet.yaml.

    Only what is new there is uploaded, so an interrupted push goes on when it is started again. Files and folders whose names start
    with . or _ are not pushed to a bucket.

    Example: ratchet data push data/flights s3://lake/flights --mirror
    """
    from kfp_ratchet.pipelines.push import push as push_folder

    console = Terminal(quiet=as_json)
    with console.status("listing") as shown:
        pushed = push_folder(
            folder,
            target,
            mirror=mirror,
            unversioned=unversioned,
            commit=not no_commit,
            yes=yes,
            say=lambda line: shown.update(line),
        )
    if as_json:
        typer.echo(json.dumps(asdict(pushed), indent=1))
    else:
        _tell(console, pushed)


def _tell(console: Terminal, pushed: "Pushed") -> None:
    from kfp_ratchet.components.shared.manifest import counted

    done = [f"{counted(pushed.files, 'file')}, {decimal(pushed.bytes)}"]
    if pushed.uploaded is not None:
        some = f"{pushed.uploaded:,} uploaded, the others were there"
        done.append({0: "all were there", pushed.files: "all uploaded"}.get(pushed.uploaded, some))
    if pushed.removed:
        done.append(f"{counted(pushed.removed, 'object')} deleted")
    console.say(("pushed", "bold green"), f"  {'; '.join(done)}")
    if pushed.left:
        console.tell(
            ("note", "bold yellow"),
            f"  {counted(pushed.left, 'object')} there that the folder does not have, and part of the revision; "
            "--mirror deletes them",
        )
    if pushed.warning:
        console.tell(("note", "bold yellow"), f"  {pushed.warning}")
    if pushed.revision:
        console.say(("revision", "bold"), f"  {pushed.revision}, as the only table")
    if pushed.to_commit:
        console.say(("commit", "bold"), f"  {' '.join(pushed.to_commit)}: then a run can pin it")
    console.say(("source", "bold"), f"  {pushed.source}")

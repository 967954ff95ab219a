"""`ratchet data status`: whether there is anything that the champion has not seen."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal

from kfp_ratchet.pipelines.cli.serving import CONFIG, ConfigOption, JsonOption, moment
from kfp_ratchet.pipelines.cli.terminal import Terminal

if TYPE_CHECKING:
    import polars as pl

    from kfp_ratchet.pipelines.data_status import DataStatus

_NAMED = 3


def status(
    config: ConfigOption = CONFIG,
    files: Annotated[bool, typer.Option("--files", help="Name every file, and not only the first few.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what has changed in the source since the data of the model that is champion. Reads no data that it need not read.

    Exits with 0 when nothing has, with 1 when something has or nothing was promoted yet.

    Example: ratchet data status --files
    """
    from kfp_ratchet.pipelines.data_status import data_status
    from kfp_ratchet.pipelines.project import Project

    found = data_status(Project.open(config))
    if as_json:
        typer.echo(json.dumps(_facts(found, files), indent=1))
    else:
        _tell(found, files)
    if found.changed:
        raise typer.Exit(1)


def _tell(found: "DataStatus", all_files: bool) -> None:
    from kfp_ratchet.components.shared.manifest import counted, short

    console = Terminal()
    listed = f"revision {short(found.now.revision)} of {counted(found.now.files, 'file')}, {decimal(found.now.size)}"
    if found.champion is None:
        console.say(("nothing promoted yet", "bold yellow"), f"; the source is at {listed}")
        return
    since = f"since v{found.champion.version} became champion on {moment(found.champion.time)} UTC"
    if not found.changed:
        console.say(("unchanged", "bold green"), f" {since}: {listed}")
        return
    pinned = short(found.champion.revision) or "that it does not say"
    console.say(("changed", "bold yellow"), f" {since} on revision {pinned}: the source is at {listed}")
    if found.changes is None:
        console.say("no manifest is kept for that revision, so which files cannot be said")
    for table, changes in (found.changes or {}).items():
        for kind, changed in changes.kinds.items():
            names = _names(changed, all_files)
            more = f" and {changed.height - len(names):,} more" if changed.height > len(names) else ""
            size = decimal(int(changed["size"].sum()))
            console.say(f"{table}: {counted(changed.height, 'file')} {kind}, {size}: {', '.join(names)}{more}")


def _facts(found: "DataStatus", all_files: bool) -> dict[str, Any]:
    champion = found.champion
    return {
        "model": found.model,
        "changed": found.changed,
        "since": champion
        and {
            "version": champion.version,
            "entry": champion.number,
            "time": champion.time,
            "revision": champion.revision,
        },
        "revision": found.now.revision,
        "files": found.now.files,
        "bytes": found.now.size,
        "tables": found.changes
        and {
            table: {
                kind: {"files": one.height, "bytes": int(one["size"].sum()), "names": _names(one, all_files)}
                for kind, one in changes.kinds.items()
            }
            for table, changes in found.changes.items()
        },
    }


def _names(files: "pl.DataFrame", all_files: bool) -> list[str]:
    return [str(path) for path in (files if all_files else files.head(_NAMED))["path"]]

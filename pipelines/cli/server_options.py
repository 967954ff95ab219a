"""Options of every command that speaks to a server."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kfp_ratchet.pipelines.cli import completion

if TYPE_CHECKING:
    from kfp_ratchet.pipelines.server.connection import Server

ServerOption = Annotated[
    str,
    typer.Option(
        "--server",
        "-s",
        metavar="NAME|URL",
        autocompletion=completion.servers,
        help="A server of pipelines.yaml, or its URL; RATCHET_SERVER, the first of the file, or KF_PIPELINES_ENDPOINT when not given.",
    ),
]
PipelinesOption = Annotated[
    Path,
    typer.Option("--pipelines", metavar="FILE", help="What should be on a server, and which servers there are."),
]
PIPELINES = Path("pipelines.yaml")


def connected(which: str, pipelines: Path) -> "Server":
    """The server that is meant.

    Args:
        which: As `--server` has it.
        pipelines: A `pipelines.yaml`; without one, only a URL or the environment says which server.

    Raises:
        InputError: No server of that name, or none is named anywhere.
    """
    from kfp_ratchet.pipelines.declared import load_declared
    from kfp_ratchet.pipelines.server.connection import Server
    from kfp_ratchet.pipelines.server.settings import server_settings

    servers = {}
    if pipelines.exists() or pipelines != PIPELINES:
        declared = load_declared(pipelines)
        servers = {name: one.within(declared.folder) for name, one in declared.servers.items()}
    return Server.connect(server_settings(which, servers))

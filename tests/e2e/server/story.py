"""The life of a pipeline between Git and a server, told by the commands themselves; `make story` writes it into the docs."""

import random
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from recorder import Recorder

from kfp_ratchet.pipelines.server.connection import Server
from kfp_ratchet.pipelines.server.settings import ServerSettings
from kfp_ratchet.testing.kfp_server import KfpServer

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "from-git-to-kubeflow.md"
BEGIN = datetime(2026, 1, 12, 9, 0, tzinfo=UTC)
DAY = 24 * 3600

PIPELINES = """
name: delays
repository: https://github.com/example/delays

servers:
  staging:
    url: http://localhost:8888

experiments:
  flights: Delays of flights out of New York

pipelines:
  flights:
    pipeline: continuous_training
    config: ratchet.yaml
    owners: [team-delays@example.com]
    schedules:
      nightly:
        cron: "0 3 * * *"
        time_zone: America/New_York
        experiment: flights
"""


def tell(folder: Path) -> str:
    """Live through it in a folder; returns the page."""
    repository = folder / "delays"
    example = ROOT / "examples" / "flights"
    repository.mkdir()
    for name in ("ratchet.yaml", "features.sql", "schemas"):
        copy = shutil.copytree if (example / name).is_dir() else shutil.copy
        copy(example / name, repository / name)
    random.seed(BEGIN.year)  # The names that the server gives to what its schedules start.
    with KfpServer(begin=BEGIN) as server:
        page = Recorder(repository, {"RATCHET_SERVER": server.url}, {server.url: "http://localhost:8888"})
        _tell(page, server)
    return page.page


def _tell(page: Recorder, server: KfpServer) -> None:
    page.tell(
        """<!-- Made by `make story`: every command below was run, and this is what it printed. -->
        # From Git to Kubeflow

        What a Pipelines server should hold stands in a repository: `pipelines.yaml`. `ratchet server diff` says what
        differs, `ratchet server
        apply` makes it so. This page was written by running it, against [a server that answers as a recorded real
        one](testing.md).

        ## An empty server

        The repository holds a project as [`ratchet init`](configuration.md) makes one, and:"""
    )
    page.write("pipelines.yaml", PIPELINES)
    page.run("git init -q -b main && git add -A && git commit -qm 'Delays of flights'", show=False)
    page.run("ratchet server diff", code=1)
    page.tell("Exit code 1 says that something differs, which a pull request's check goes by. So:")
    page.run("ratchet server apply")
    page.tell(
        """A version is named by commit and content. The server knows no time zones, so a schedule in one is several:
        each has the hour that is
        right for its part of the year. Doing it again does nothing:"""
    )
    page.run("ratchet server apply")
    page.run("ratchet schedule list")
    page.tell("## A night later")
    server.advance(DAY)
    page.run("ratchet runs list")
    page.tell(
        """## A change

        Twice as many trials, committed:"""
    )
    page.change("ratchet.yaml", "trials: 10", "trials: 20")
    page.run("git commit -qam 'Search longer' && git log --oneline")
    page.run("ratchet server diff", code=1)
    page.run("ratchet server apply")
    page.tell(
        """A recurring run cannot be edited. The new one is created disabled, the old one is disabled, the new one is
        enabled, and the old one is
        deleted; killed anywhere in between, the next `apply` goes on. The next night runs the new version:"""
    )
    server.advance(DAY)
    page.run("ratchet runs list")
    page.tell(
        """## Back again

        It was no good. A revert is a commit like any other:"""
    )
    page.run("git revert --no-edit HEAD >/dev/null && git log --oneline")
    page.run("ratchet server apply")
    page.tell(
        """The old content is uploaded again, as the newest version: that is the one which the UI selects for whoever
        starts a run by hand. The
        schedule runs it, too:"""
    )
    page.run("ratchet schedule list")
    page.tell(
        """## Someone was in the UI

        Someone disables the schedule there, and forgets it:"""
    )
    there = Server.connect(ServerSettings(url=server.url))
    for one in there.schedules():
        there.disable(one.id)
    page.run("ratchet server diff", code=1)
    page.run("ratchet server apply")
    page.run("ratchet server diff")
    page.tell(
        """What others put on the server is never touched, and who wants a schedule to rest says so in Git: `enabled: false`.

        ## By hand

        A run is started from the version that Git has. What is wrong is said before anything is started:"""
    )
    page.run("ratchet submit flights -p trails=3", code=2)
    page.run("ratchet submit flights -p trials=3 --reason 'a look at fewer trials'")
    page.tell("The same again finds the run that is in progress, and starts no other:")
    page.run("ratchet submit flights -p trials=3")
    page.tell(
        """`--follow` shows its steps live, `--wait` waits; see [submit.md](submit.md). The whole as a pipeline of a
        forge: [ci.md](ci.md)."""
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        PAGE.write_text(tell(Path(temporary)))
    sys.stdout.write(f"{PAGE.relative_to(ROOT)} written\n")

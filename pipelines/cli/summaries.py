"""Options of commands that see a run through: its outcome as Markdown and as JUnit XML."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from kfp_ratchet.components.notify.run_view import RunView
    from kfp_ratchet.pipelines.run_summary import Bare

SummaryOption = Annotated[
    Path | None,
    typer.Option(
        "--summary",
        metavar="FILE",
        help="Write the outcome as Markdown; added to what is there if it is $GITHUB_STEP_SUMMARY.",
    ),
]
JunitOption = Annotated[
    Path | None,
    typer.Option("--junit", metavar="FILE", help="Write the outcome as JUnit XML: a test case a step and a check."),
]


class Summaries:
    """Where the outcome is written to, whatever it is."""

    def __init__(self, title: str, summary: Path | None, junit: Path | None) -> None:
        self.title = title
        self._files = summary, junit
        self.written = False

    def write(self, told: "RunView | Bare", links: Mapping[str, str] | None = None) -> None:
        """Write how a run ended."""
        from kfp_ratchet.pipelines.run_summary import save

        self.written = True
        save(told, self.title, *self._files, links)


@contextmanager
def summaries(title: str, summary: Path | None, junit: Path | None) -> Iterator[Summaries]:
    """Summaries that are written also when the run never began: what fails in here is written as the outcome."""
    from kfp_ratchet.components.shared.errors import RatchetError

    found = Summaries(title, summary, junit)
    try:
        yield found
    except RatchetError as error:
        if not found.written:
            from kfp_ratchet.pipelines.run_summary import Bare, save

            found.written = True
            save(Bare.of(error), found.title, summary, junit)
        raise

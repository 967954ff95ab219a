"""Replay retrains period by period, each one a real run in the replay's own copy of the project."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp_ratchet.components.deploy.live import stop
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.journal import Record
from kfp_ratchet.pipelines import runner
from kfp_ratchet.pipelines.project import Project
from kfp_ratchet.pipelines.replay import settings
from kfp_ratchet.pipelines.replay.comparison import compare
from kfp_ratchet.pipelines.replay.feeding import feed
from kfp_ratchet.pipelines.replay.naive import follow
from kfp_ratchet.pipelines.replay.page import Year, render
from kfp_ratchet.pipelines.replay.settings import MOVED, Replay
from kfp_ratchet.pipelines.replay.story import Retrain, finished
from kfp_ratchet.pipelines.replay.workspace import CONFIG, Say, folder_of, held, settle

_PAGE = "replay.html"


@dataclass
class Replaying:
    """A replay under way, or at its end."""

    project: Project
    """The copy that it works in."""
    settings: Replay
    periods: tuple[str, ...]
    parameters: Mapping[str, Any]

    @property
    def page(self) -> Path:
        """The page that it draws."""
        return self.project.folder / _PAGE

    @property
    def retrains(self) -> list[Retrain]:
        """What has come to its end, as ledger and journal have it now."""
        return finished(self.project.store, self.project.config.name, self.periods)

    def missing(self) -> Iterator[tuple[int, str]]:
        """Number, from 1, and name of each period still to run."""
        done = len(self.retrains)
        yield from enumerate(self.periods[done:], done + 1)

    def run(self, period: str, on_change: Callable[[dict[str, Record]], None] = lambda records: None) -> Retrain:
        """Let a period's data arrive and retrain; then draw the page as far as it has got.

        Raises:
            RatchetError: A step failed, so that there is no verdict to go on from.
        """
        if self.settings.feed:
            feed(self.project, self.settings.feed, period)
        given = {**self.parameters, "as_of": period}
        ended = runner.run(self.project, given, on_change=on_change)
        retrains = self.retrains
        if not retrains or retrains[-1].period != period:
            kind = InputError if ended.view.exit_code == InputError.exit_code else RatchetError
            raise kind(f"the replay ends at {period}: {ended.view.reason}", ended.view.remedy)
        self._write(self._year(retrains))
        return retrains[-1]

    def draw(self) -> Year:
        """Score what the naive rule would have had live, and draw the whole page."""
        year = self._year(self.retrains, with_comparisons=True)
        self._write(year)
        return year

    def summary(self, year: Year) -> dict[str, Any]:
        """What happened, as plain JSON."""
        return {
            "headline": year.headline,
            "counts": year.counts,
            "live": year.retrains[-1].live_after if year.retrains else "",
            "periods": [
                {
                    "period": one.period,
                    "outcome": one.outcome,
                    "reason": one.reason,
                    "version": one.version or None,
                    "live_after": one.live_after or None,
                    "run": one.run.run,
                    "decision": one.decision.model_dump(mode="json") if one.decision else None,
                    "injected": year.incidents.get(one.period),
                    "naive": {
                        "promotes": choice.promotes,
                        "candidate": choice.candidate,
                        "stored": choice.stored,
                        "live_after": choice.live_after or None,
                        "against_live": year.comparisons[one.period].gain.model_dump()
                        if one.period in year.comparisons
                        else None,
                    },
                }
                for one, choice in zip(year.retrains, year.choices, strict=True)
            ],
            "page": str(self.page),
            "folder": str(self.project.folder),
        }

    def _year(self, retrains: list[Retrain], with_comparisons: bool = False) -> Year:
        choices = follow(retrains)
        return Year(
            model=self.project.config.name,
            periods=self.periods,
            retrains=retrains,
            choices=choices,
            comparisons=compare(self.project, retrains, choices) if with_comparisons else {},
            incidents=self.settings.incidents,
        )

    def _write(self, year: Year) -> None:
        self.page.write_text(render(year), encoding="utf-8")


@contextmanager
def opened(
    folder: Path, periods: str, until: str, fresh: bool, parameters: Mapping[str, Any], say: Say = lambda line: None
) -> Iterator[Replaying]:
    """Open a project's replay, alone; its model server is stopped at the end, however it ends.

    Args:
        folder: The project's folder, with a `ratchet.yaml`.
        periods: Periods instead of those in `replay.yaml`; "" takes the file's.
        until: Last period; "" goes through all.
        fresh: Begin again.
        parameters: Pipeline parameters for every run, before those of `replay.yaml`.
        say: Told what is worth telling beside the runs.

    Raises:
        InputError: Something in the project, in `replay.yaml` or in the arguments is wrong, or another replay is at work.
    """
    for name in parameters:
        if name in MOVED:
            raise InputError(f"-p {name} cannot be set: {MOVED[name]}", f"leave -p {name} out")
    project = Project.open(folder / CONFIG)
    replay = settings.load(folder, periods)
    chosen = settings.until(replay.periods, until)
    given = {**replay.parameters, **parameters}
    with held(folder_of(project)):
        copy = settle(project, replay, given, fresh, say)
        try:
            yield Replaying(copy, replay, chosen, given)
        except BaseException:
            # What went wrong is worth more than a server that cannot be stopped; the next replay here stops it.
            with suppress(RatchetError):
                stop(copy.serving, copy.config.name)
            raise
        stop(copy.serving, copy.config.name)

"""What is finished is read from ledger and journal: a killed replay neither repeats a verdict nor believes in one that was not given."""

from pathlib import Path
from typing import Any

import pytest

from kfp_ratchet.components.shared.entry import Draft, Kind
from kfp_ratchet.components.shared.errors import BlockedError, InputError
from kfp_ratchet.components.shared.journal import journal
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.pipelines.replay.story import finished

PERIODS = ("2025-01", "2025-02", "2025-03")


class Past:
    """Writes records and ledger entries as steps do."""

    def __init__(self, folder: Path) -> None:
        self.uri = str(folder)
        self.store = Store(self.uri)
        self.ledger = Ledger(self.store, "mine")

    def step(self, run: str, step: str, error: Exception | None = None, **details: Any) -> None:
        with journal(self.uri, f"/root/{run}/{step}/out") as record:
            record.found(step, **details)
            if error:
                raise error

    def pinned(self, run: str, period: str) -> None:
        self.step(run, "pin", window={"end": period}, champion_version="")

    def judged(self, run: str, kind: Kind, version: str) -> None:
        champion = self.ledger.champion()
        epoch = champion.epoch if champion else 0
        self.ledger.append(
            Draft(
                kind=kind,
                version=version,
                digest=f"d{version}",
                epoch=epoch,
                run=run,
                reason=f"Promoted: {run}",
                decision_digest=run,
            )
        )

    def outcomes(self) -> list[tuple[str, str, str, str]]:
        found = finished(self.store, "mine", PERIODS)
        return [(one.period, one.outcome, one.live_before, one.live_after) for one in found]


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return Past(tmp_path)


def test_nothing_has_happened(past: Past) -> None:
    assert past.outcomes() == []


def test_a_promotion_that_was_killed_after_its_entry_is_finished(past: Past) -> None:
    """Run again, it would meet itself as champion and be rejected as unchanged."""
    past.pinned("a", "2025-01")
    past.judged("a", "promote", "1")
    assert past.outcomes() == [("2025-01", "promoted", "", "1")]
    assert finished(past.store, "mine", PERIODS)[0].reason == "a"


def test_a_run_that_was_killed_or_failed_before_its_verdict_is_not_finished(past: Past) -> None:
    past.pinned("killed", "2025-01")
    past.pinned("failed", "2025-01")
    with pytest.raises(InputError):
        past.step("failed", "ingest", InputError("no such file"))
    assert past.outcomes() == []
    past.pinned("again", "2025-01")
    past.judged("again", "inconclusive", "1")
    assert past.outcomes() == [("2025-01", "inconclusive", "", "")]


def test_a_blocked_period_is_finished_and_has_no_version(past: Past) -> None:
    past.pinned("a", "2025-01")
    past.judged("a", "promote", "1")
    past.pinned("b", "2025-02")
    with pytest.raises(BlockedError):
        past.step("b", "validate", BlockedError("column 'x' is gone"))
    past.pinned("c", "2025-03")
    past.judged("c", "promote", "2")
    assert past.outcomes() == [
        ("2025-01", "promoted", "", "1"),
        ("2025-02", "blocked", "1", "1"),
        ("2025-03", "promoted", "1", "2"),
    ]
    blocked = finished(past.store, "mine", PERIODS)[1]
    assert (blocked.version, blocked.reason) == ("", "validate: column 'x' is gone")


def test_what_comes_after_a_period_without_a_verdict_does_not_count(past: Past) -> None:
    past.pinned("a", "2025-01")
    past.pinned("c", "2025-03")
    past.judged("c", "promote", "1")
    assert past.outcomes() == []

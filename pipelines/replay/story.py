"""What became of each period's retrain, read from the ledger and the run journal alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from kfp_ratchet.components.notify.notifications import Outcome
from kfp_ratchet.components.notify.run_view import RunView
from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.components.shared.entry import JUDGED, Entry
from kfp_ratchet.components.shared.journal import Origin, read_record
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.store import Store

_OUTCOMES: dict[str, Outcome] = {
    "promote": "promoted",
    "pending": "pending",
    "reject": "rejected",
    "inconclusive": "inconclusive",
}


@dataclass(frozen=True)
class Retrain:
    """A retrain that has come to its end."""

    period: str
    run: RunView
    outcome: Outcome
    """promoted, rejected, inconclusive, blocked, or pending: it waits for a person."""
    reason: str
    """One sentence, without the outcome in front."""
    version: str
    """The candidate's version in the registry, "" when there was none."""
    live_before: str
    """Version that was live until then, "" for none."""
    live_after: str

    @property
    def decision(self) -> Decision | None:
        """The gate's decision, None when it was not reached."""
        return self.run.decision


def finished(store: Store, model: str, periods: Sequence[str]) -> list[Retrain]:
    """The retrains that have come to their end, up to the first period without one.

    A run is of the period that `pin` fixed as the window's end. It has come to its end when the ledger holds its verdict (whatever
    was killed after that), when it went all the way, or when validation blocked it.

    Raises:
        RatchetError: The ledger or a record is damaged.
    """
    runs = _runs(store)
    ledger = Ledger(store, model).entries()
    entries = {entry.run: entry for entry in ledger if entry.kind in JUDGED}
    # Another than the run that let it wait may have put it live.
    live_since = {(entry.version, entry.epoch): entry for entry in ledger if entry.kind == "promote"}
    for run, entry in entries.items():
        if entry.kind == "pending":
            entries[run] = live_since.get((entry.version, entry.epoch), entry)
    found: list[Retrain] = []
    live = ""
    for period in periods:
        retrain = next(
            (made for run in runs.get(period, []) if (made := _retrain(store, run, model, period, entries, live))), None
        )
        if retrain is None:
            break
        found.append(retrain)
        live = retrain.live_after
    return found


def _runs(store: Store) -> dict[str, list[str]]:
    """Runs by the period that they were pinned to, in the order in which they started."""
    pinned = []
    for run in dict.fromkeys(key.split("/")[1] for key in store.keys("runs")):
        record = read_record(store, Origin(run=run, step="pin"))
        end = record.details.get("window", {}).get("end") if record else None
        if record and end:
            pinned.append((record.started, end, run))
    runs: dict[str, list[str]] = {}
    for _, end, run in sorted(pinned):
        runs.setdefault(end, []).append(run)
    return runs


def _retrain(store: Store, run: str, model: str, period: str, entries: dict[str, Entry], live: str) -> Retrain | None:
    view = RunView.read(store, run, model)
    entry = entries.get(run)
    if entry is None and view.stopped is not None and view.outcome != "blocked":
        return None
    outcome = _OUTCOMES[entry.kind] if entry else view.outcome
    version = entry.version if entry else str(view.details("register").get("version") or "")
    sentence = entry.reason.partition(": ")[2] if entry and view.stopped is not None else view.sentence
    return Retrain(
        period=period,
        run=view,
        outcome=outcome,
        reason=sentence,
        version="" if outcome == "blocked" else version,
        live_before=live,
        live_after=version if outcome == "promoted" else live,
    )

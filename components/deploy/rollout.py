"""Put a version live: stage, start, probe, switch, commit to the ledger; or undo and leave everything as it was.

Every write is followed by a point where the process may be killed. What counts is the entry of the ledger that makes the champion: it is
written with a compare-and-swap, and `Target.settle` brings what is live in line with it, whenever it is called next.
"""

import contextlib
import math
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from kfp_ratchet.components.deploy.probe import Answered, Probe
from kfp_ratchet.components.deploy.serving import LEASE
from kfp_ratchet.components.deploy.target import Fetch, Say, Served, Target
from kfp_ratchet.components.shared.entry import Draft, Entry
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.ledger import Ledger, StaleEpochError


@dataclass(frozen=True)
class RolledOut:
    """A version that is live and champion."""

    live: Served
    entry: Entry
    previous_version: str
    answered: Answered | None
    seconds_to_ready: float


def roll_out(
    ledger: Ledger, target: Target[Any], draft: Draft, fetch: Fetch, probe: Probe | None, say: Say = lambda line: None
) -> RolledOut:
    """Make a version live and champion, or undo; a repeated call finishes what a killed one began.

    Args:
        ledger: The model's ledger.
        target: Where to serve.
        draft: The promote, rollback or force entry to commit with.
        fetch: Downloads the model folder.
        probe: Rows and expected answers; the ones kept from the version's first deploy when None.
        say: Told what is being done.

    Raises:
        RatchetError: Nothing was changed, and why.
    """
    with target.lock():
        target.vouched(ledger)
        champion = ledger.champion()
        committed = ledger.find(draft)
        if committed is not None and champion is not None and champion.epoch == committed.number:
            # An earlier attempt was killed after it had committed, or an identical run was faster.
            live = target.settle(ledger)
            if live is None or live.digest != draft.digest or not target.answers(live):
                live = relaunch(ledger, target, committed, fetch, probe, say)
            return RolledOut(live, committed, "", None, 0.0)
        intent = _claim(ledger, target, draft)
        try:
            there = target.settle(ledger)
            # On a shared target an earlier attempt's switch is still there.
            before = there.previous if there is not None and not there.committed else there
            say(f"v{draft.version}: fetching it")
            target.stage(draft.version, draft.digest, fetch)
            launched = target.launch(draft, intent.number, before, probe, say)
            # Before it takes clients: whoever finds this deploy dead must know of every server that does.
            target.switch(launched.live)
            target.open(launched.live, probe, say)
            entry = ledger.append(draft.model_copy(update={"intent": intent.number}))
        except BaseException as error:
            _undo(ledger, target, draft, intent, error)
            raise
        say(f"v{draft.version}: live; stopping what it replaces")
        live = target.settle(ledger)
        if live is None:
            raise RatchetError(f"{target.place} changed under our feet", "run this step again")
        recent = [made.version for made in ledger.lineage()][-1 - target.keep_versions :]
        target.prune(keep={draft.version, *recent})
    return RolledOut(live, entry, before.version if before else "", launched.answered, launched.seconds)


def relaunch(ledger: Ledger, target: Target[Any], made: Entry, fetch: Fetch, probe: Probe | None, say: Say) -> Any:
    """Start the champion's server again and make it live; the target must be locked and settled.

    Raises:
        RatchetError: It does not start or answer.
    """
    target.stage(made.version, made.digest, fetch)
    there = target.live()
    # A failed deploy after the promotion may have left a larger token.
    token = max(made.number, there.entry if there else 0)
    try:
        live = target.launch(made, token, there, probe, say).live
        target.switch(live)
        target.open(live, probe, say)
    except BaseException:
        target.settle(ledger)
        raise
    live = live.model_copy(update={"committed": True, "previous": None, "epoch": made.number})
    target.switch(live)
    target.stop_all_but(live)
    return live


def fetch_from(tracking_uri: str, model: str, version: str, digest: str) -> Fetch:
    """How to download a version; MLflow is imported only if it comes to that."""

    def fetch(into: Path) -> Path:
        from kfp_ratchet.components.shared import registry

        return registry.fetch(tracking_uri, model, version, digest, into)

    return fetch


def project(tracking_uri: str, ledger: Ledger) -> str:
    """Set MLflow's aliases from the ledger; returns why it failed, "" if it did not.

    The ledger has decided already, so a registry that is away must not fail the deploy: the next one sets them again.
    """
    from kfp_ratchet.components.shared import projection

    try:
        return projection.project(tracking_uri, ledger)
    except RatchetError as error:
        return error.message
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed here"


def _claim(ledger: Ledger, target: Target[Any], draft: Draft) -> Entry:
    """The open deploy-started entry of this deploy: that of an earlier attempt, by whichever run, or a new one.

    How long another one has been open is measured by the store's clock alone. A clock that jumps may give up a deploy that lives, or keep
    others out for two leases; it cannot do harm: who was taken over can neither commit to the ledger nor switch the target any more.

    Raises:
        RatchetError: Another deploy holds the model, or the champion has moved.
    """
    held = ledger.open_intent()
    reason = ": ".join(filter(None, [f"starting v{draft.version}", draft.reason.removeprefix("Promoted: ")]))
    started = draft.model_copy(
        update={"kind": "deploy-started", "intent": held.number if held else 0, "reason": reason}
    )
    if held is not None and held.repeats(started):
        target.hold(held)
        return held
    is_dead = held is not None and target.last_held(held)
    if held is not None and not is_dead and abs(age := ledger.age(held)) < LEASE:
        left = math.ceil((LEASE - age) / timedelta(minutes=1))
        raise RatchetError(
            f"{held.run} has been deploying version {held.version} of {ledger.model} since {held.time} (entry {held.number})",
            f"try again when it has ended, or in {left} minutes, when it counts as dead",
        )
    target.hold(started, *([held] if held is not None and is_dead else []))
    try:
        return ledger.append(started)
    except StaleEpochError as error:
        failed = draft.model_copy(update={"kind": "deploy-failed", "intent": 0, "reason": error.message})
        noted = ledger.find(failed)
        if noted is None or noted.intent:
            ledger.append(failed)
        raise


def _undo(ledger: Ledger, target: Target[Any], draft: Draft, intent: Entry, error: BaseException) -> None:
    """Leave everything as it was and say why; what cannot be undone now is settled by the next deploy."""
    reason = error.message if isinstance(error, RatchetError) else f"{type(error).__name__}: {error}"
    if not target.is_shared:
        with contextlib.suppress(Exception):
            target.settle(ledger)
    with contextlib.suppress(Exception):
        held = ledger.open_intent()
        if held is not None and held.number == intent.number:
            ledger.append(
                draft.model_copy(update={"kind": "deploy-failed", "intent": intent.number, "reason": reason[:2000]})
            )
    if target.is_shared:
        # Only now: a twin of this very deploy can no longer commit what is undone here.
        with contextlib.suppress(Exception):
            target.settle(ledger)

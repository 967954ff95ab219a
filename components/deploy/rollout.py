"""Put a version live: stage, start, probe, switch, commit to the ledger; or undo and leave everything as it was.

Every write is followed by a point where the process may be killed. What counts is the entry of the ledger that makes the champion: it is
written with a compare-and-swap, and `LocalTarget.settle` brings `live.json` and the processes in line with it, whenever it is called next.
"""

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from kfp_ratchet.components.deploy import process
from kfp_ratchet.components.deploy.local import Fetch, Live, LocalTarget
from kfp_ratchet.components.deploy.probe import Answered, Probe
from kfp_ratchet.components.shared.entry import Draft, Entry
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.ledger import Ledger, StaleEpochError

LEASE = timedelta(minutes=10)
"""How long a deploy that does not end keeps others out, by the store's clock."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class RolledOut:
    """A version that is live and champion."""

    live: Live
    entry: Entry
    previous_version: str
    answered: Answered | None
    seconds_to_ready: float


def roll_out(
    ledger: Ledger, target: LocalTarget, draft: Draft, fetch: Fetch, probe: Probe | None, say: Say = lambda line: None
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
            if live is None or live.digest != draft.digest or not is_alive(live):
                live = relaunch(ledger, target, committed, fetch, probe, say)
            return RolledOut(live, committed, "", None, 0.0)
        intent = _claim(ledger, target, draft)
        try:
            before = target.settle(ledger)
            say(f"v{draft.version}: fetching it")
            target.stage(draft.version, draft.digest, fetch)
            server, answered, seconds = target.launch(draft.version, probe, say)
            # Before it takes clients: whoever finds this deploy dead must know of every server that does.
            target.switch(Live.of(draft, server, entry=intent.number, committed=False, previous=before))
            process.open_to_clients(server)
            entry = ledger.append(draft.model_copy(update={"intent": intent.number}))
        except BaseException as error:
            _undo(ledger, target, draft, intent, error)
            raise
        say(f"v{draft.version}: live; stopping what it replaces")
        live = target.settle(ledger)
        if live is None:
            raise RatchetError(f"{target.folder} changed under our feet", "run this step again")
        recent = [made.version for made in ledger.lineage()][-1 - target.serving.keep_versions :]
        target.prune(keep={draft.version, *recent})
    return RolledOut(live, entry, before.version if before else "", answered, seconds)


def relaunch(ledger: Ledger, target: LocalTarget, made: Entry, fetch: Fetch, probe: Probe | None, say: Say) -> Live:
    """Start the champion's server again and make it live; the target must be locked and settled.

    Raises:
        RatchetError: It does not start or answer.
    """
    target.stage(made.version, made.digest, fetch)
    there = target.live()
    # A failed deploy after the promotion may have left a larger token.
    token = max(made.number, there.entry if there else 0)
    try:
        server, _, _ = target.launch(made.version, probe, say)
        live = Live.of(made, server, entry=token, committed=False, previous=there)
        target.switch(live)
        process.open_to_clients(server)
    except BaseException:
        target.settle(ledger)
        raise
    live = live.model_copy(update={"committed": True, "previous": None, "epoch": made.number})
    target.switch(live)
    target.stop_all_but(live)
    return live


def is_alive(live: Live) -> bool:
    """Whether the live server's own process answers clients."""
    return process.find(live.pid, live.started) is not None and process.is_open(live.server)


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


def _claim(ledger: Ledger, target: LocalTarget, draft: Draft) -> Entry:
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


def _undo(ledger: Ledger, target: LocalTarget, draft: Draft, intent: Entry, error: BaseException) -> None:
    """Leave everything as it was and say why; what cannot be undone now is settled by the next deploy."""
    reason = error.message if isinstance(error, RatchetError) else f"{type(error).__name__}: {error}"
    with contextlib.suppress(Exception):
        target.settle(ledger)
    with contextlib.suppress(Exception):
        held = ledger.open_intent()
        if held is not None and held.number == intent.number:
            ledger.append(
                draft.model_copy(update={"kind": "deploy-failed", "intent": intent.number, "reason": reason[:2000]})
            )

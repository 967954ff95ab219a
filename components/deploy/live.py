"""What is live on this machine, and the commands about it: look, stop, start again."""

from pathlib import Path

from kfp_ratchet.components.deploy import process
from kfp_ratchet.components.deploy.local import Live, LocalTarget
from kfp_ratchet.components.deploy.rollout import Say, fetch_from, is_alive, relaunch
from kfp_ratchet.components.deploy.serving import Serving
from kfp_ratchet.components.shared.entry import Entry
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.store import Store


def live(serving: Serving, model: str) -> tuple[Live, bool] | None:
    """What is live and whether its server answers; None when nothing ever was live here."""
    there = LocalTarget(serving, model).live()
    return (there, is_alive(there)) if there is not None else None


def strangers(serving: Serving, model: str) -> list[int]:
    """The pids of a model's servers here that `live.json` does not know of and no deploy under way has started."""
    target = LocalTarget(serving, model)

    def unknown() -> list[int]:
        live = target.live()
        known = {each.pid for each in (live, live.previous if live else None) if each}
        return [each.pid for each in process.running(target.folder) if each.pid not in known]

    if not unknown():
        return []
    try:
        with target.lock():
            return unknown()
    except RatchetError:
        return []  # A deploy is under way.


def foreign(serving: Serving, ledger: Ledger) -> str:
    """Why this cannot be the ledger that made live what is live here; "" if it can."""
    try:
        LocalTarget(serving, ledger.model).vouched(ledger)
    except RatchetError as error:
        return error.message
    return ""


def example(serving: Serving, model: str, version: str) -> Path:
    """A file to ask a served version with: the body of a POST to its `/invocations`."""
    return LocalTarget(serving, model).version_folder(version) / "model" / "serving_input_example.json"


def stop(serving: Serving, model: str) -> list[int]:
    """Stop all servers of a model here; `ensure` starts the champion's again.

    Returns:
        The pids of the stopped servers.

    Raises:
        RatchetError: A deploy is under way, or a process cannot be stopped.
    """
    target = LocalTarget(serving, model)
    if not target.folder.is_dir():
        return []
    with target.lock():
        return target.stop_all_but(None)


def ensure(
    store: str, model: str, tracking_uri: str, serving: Serving, say: Say = lambda line: None
) -> tuple[Live, bool] | None:
    """Have the ledger's champion live here: undo what a killed deploy left, start a server that died or never ran here.

    Returns:
        What is live, and whether it had to be started; None before the first promotion.

    Raises:
        RatchetError: A deploy is under way, or the champion does not start.
    """
    ledger = Ledger(Store(store), model)
    target = LocalTarget(serving, model)
    made = ledger.made()
    if made is None and not target.folder.is_dir():
        return None
    with target.lock():
        there = target.settle(ledger)
        if made is None:
            return None
        if there is not None and there.digest == made.digest and is_alive(there):
            return there, False
        fetch = fetch_from(tracking_uri, model, made.version, made.digest)
        return relaunch(ledger, target, made, fetch, None, say), True


def history(store: str, model: str) -> list[Entry]:
    """A model's ledger entries, oldest first."""
    return Ledger(Store(store), model).entries()

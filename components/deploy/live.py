"""What is live, and the commands about it: look, stop, start again."""

from pathlib import Path
from typing import Any

from kfp_ratchet.components.deploy.local import LocalTarget
from kfp_ratchet.components.deploy.rollout import fetch_from, relaunch
from kfp_ratchet.components.deploy.serving import LEASE, KubernetesServing, Serving
from kfp_ratchet.components.deploy.target import Pods, Say, Served, Target
from kfp_ratchet.components.deploy.targets import target_of
from kfp_ratchet.components.shared.entry import Draft, Entry
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.store import Store


def live(serving: Serving | KubernetesServing, model: str) -> tuple[Served, bool] | None:
    """What is live and whether its server answers; None when nothing ever was live there."""
    target = target_of(serving, model)
    there = target.live()
    return (there, target.answers(there)) if there is not None else None


def pods(serving: Serving | KubernetesServing, model: str) -> Pods | None:
    """The pods of what is live; None where none serve."""
    target = target_of(serving, model)
    there = target.live()
    return target.pods(there) if there is not None else None


def strangers(serving: Serving | KubernetesServing, model: str) -> list[int | str]:
    """A model's servers (pids, or names of Deployments) that nothing on record knows of and no deploy under way has started."""
    return list(target_of(serving, model).strangers())


def foreign(serving: Serving | KubernetesServing, ledger: Ledger) -> str:
    """Why this cannot be the ledger that made live what is live there; "" if it can."""
    try:
        target_of(serving, ledger.model).vouched(ledger)
    except RatchetError as error:
        return error.message
    return ""


def example(serving: Serving | KubernetesServing, model: str, version: str) -> Path | None:
    """A file to ask a served version with: the body of a POST to its `/invocations`; None where it is not on this machine."""
    if isinstance(serving, KubernetesServing):
        return None
    return LocalTarget(serving, model).version_folder(version) / "model" / "serving_input_example.json"


def stop(serving: Serving | KubernetesServing, model: str) -> list[int | str]:
    """Stop all servers of a model; `ensure` starts the champion's again.

    Returns:
        The pids of the stopped servers, or the names of their Deployments.

    Raises:
        RatchetError: A deploy is under way, or one cannot be stopped.
    """
    return list(target_of(serving, model).stop())


def ensure(
    store: str, model: str, tracking_uri: str, serving: Serving | KubernetesServing, say: Say = lambda line: None
) -> tuple[Served, bool] | None:
    """Have the ledger's champion live: undo what a killed deploy left, start a server that died or never ran.

    Returns:
        What is live, and whether it had to be started; None before the first promotion.

    Raises:
        RatchetError: A deploy is under way, or the champion does not start.
    """
    ledger = Ledger(Store(store), model)
    target = target_of(serving, model, tracking_uri)
    made = ledger.made()
    if made is None and not target.exists:
        return None
    with target.lock():
        give_up_dead(ledger, target)
        there = target.settle(ledger)
        made = ledger.made()
        if made is None:
            return None
        if there is not None and not there.committed:
            raise RatchetError(
                f"a deploy of v{there.version} of {model} is under way",
                f"try again when it has ended; one that is {LEASE} old counts as dead",
            )
        if there is not None and there.digest == made.digest and target.answers(there):
            return there, False
        fetch = fetch_from(tracking_uri, model, made.version, made.digest)
        return relaunch(ledger, target, made, fetch, None, say), True


def give_up_dead(ledger: Ledger, target: Target[Any]) -> None:
    """End in the ledger what nobody can be seen to have ended: on a shared target it is undone only then."""
    intent = ledger.open_intent() if target.is_shared else None
    if intent is not None and abs(ledger.age(intent)) >= LEASE:
        told = {"kind": "deploy-failed", "intent": intent.number, "reason": "it ended without a word"}
        ledger.append(Draft.model_validate({**intent.model_dump(), **told}))


def history(store: str, model: str) -> list[Entry]:
    """A model's ledger entries, oldest first."""
    return Ledger(Store(store), model).entries()

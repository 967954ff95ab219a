"""What is live on this machine, and the commands about it: look, stop, start again, roll back."""

from pathlib import Path

from kfp_ratchet.components.deploy.local import Live, LocalTarget
from kfp_ratchet.components.deploy.rollout import Say, fetch_from, is_alive, project, relaunch, roll_out
from kfp_ratchet.components.deploy.serving import Serving
from kfp_ratchet.components.shared.entry import Draft, Entry
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.ledger import MAKES_CHAMPION, Ledger
from kfp_ratchet.components.shared.store import Store


def live(serving: Serving, model: str) -> tuple[Live, bool] | None:
    """What is live and whether its server answers; None when nothing ever was live here."""
    there = LocalTarget(serving, model).live()
    return (there, is_alive(there)) if there is not None else None


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
    champion = ledger.champion()
    if champion is None:
        return None
    made = next(entry for entry in ledger.newest() if entry.number == champion.epoch)
    with target.lock():
        there = target.settle(ledger)
        if there is not None and there.digest == champion.digest and is_alive(there):
            return there, False
        fetch = fetch_from(tracking_uri, model, champion.version, champion.digest)
        return relaunch(target, made, fetch, None, say), True


def rollback(
    store: str,
    model: str,
    tracking_uri: str,
    serving: Serving,
    to: str | None,
    by: str,
    reason: str,
    say: Say = lambda line: None,
) -> Entry:
    """Make a former champion live and champion again; it is started and asked before any traffic moves.

    Args:
        store: URI of the store.
        model: Registered name of the model.
        tracking_uri: MLflow tracking URI, for aliases and for a version that is no longer here.
        serving: The settings.
        to: Version of a former champion; the one before the current when None.
        by: Who asks for it.
        reason: Why, for the history.
        say: Told what is being done.

    Returns:
        The ledger entry.

    Raises:
        InputError: There is no such former champion.
        RatchetError: It could not be put live; the current one keeps serving.
    """
    ledger = Ledger(Store(store), model)
    target = LocalTarget(serving, model)
    draft = _unfinished(ledger, target, to, by) or _draft(ledger, to, by, reason)
    fetch = fetch_from(tracking_uri, model, draft.version, draft.digest)
    done = roll_out(ledger, target, draft, fetch, None, say)
    unprojected = project(tracking_uri, ledger)
    if unprojected:
        say(f"aliases in MLflow not yet set: {unprojected}")
    return done.entry


def history(store: str, model: str) -> list[Entry]:
    """A model's ledger entries, oldest first."""
    return Ledger(Store(store), model).entries()


def _unfinished(ledger: Ledger, target: LocalTarget, to: str | None, by: str) -> Draft | None:
    """The rollback that the same person asked for and that was killed between its ledger entry and the end of its switch."""
    made = next((entry for entry in ledger.newest() if entry.kind in MAKES_CHAMPION), None)
    there = target.live()
    if made is None or there is None or there.committed or there.entry != made.intent:
        return None
    asked = (made.kind, made.by) == ("rollback", by) and to in (None, made.version)
    return Draft.model_validate(made.model_dump()) if asked else None


def _draft(ledger: Ledger, to: str | None, by: str, reason: str) -> Draft:
    goal = _goal(ledger, to)
    champion = ledger.champion()
    return Draft(
        kind="rollback",
        version=goal.version,
        digest=goal.digest,
        epoch=champion.epoch if champion else 0,
        run=f"rollback by {by}",
        reason=reason,
        revision=goal.revision,
        rows=goal.rows,
        decision_digest=goal.decision_digest,
        by=by,
    )


def _goal(ledger: Ledger, to: str | None) -> Entry:
    """The entry that made the champion to go back to."""
    lineage = ledger.lineage()
    if to is None:
        if len(lineage) < 2:
            raise InputError(
                f"{ledger.model} has no champion before the current one to roll back to",
                f"see what there was: ratchet model history {ledger.model}",
            )
        return lineage[-2]
    former = {entry.version: entry for entry in ledger.entries() if entry.kind in MAKES_CHAMPION}
    if to not in former:
        raise InputError(
            f"version {to} of {ledger.model} was never champion, so it cannot be rolled back to",
            f"former champions: {', '.join(former) or 'none'}",
        )
    if to == lineage[-1].version:
        raise InputError(f"version {to} of {ledger.model} is the champion already")
    return former[to]

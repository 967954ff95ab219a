"""The step `approve`: put live what a person has approved."""

from pathlib import Path

from kfp_ratchet.components.deploy.approval import Waiting, heard, waiting
from kfp_ratchet.components.deploy.by_hand import Place, answer, made_live, put_live
from kfp_ratchet.components.deploy.deployment import found_of, line_of, write_deployment, write_undeployed
from kfp_ratchet.components.deploy.serving import parse_serving
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.journal import Origin, Step, journal


def approve_version(
    model_name: str,
    version: str,
    by: str,
    reason: str,
    store: str,
    tracking_uri: str,
    serving: str,
    deployment: str,
    deployment_uri: str,
) -> str:
    """Approve a version, if someone does, and put live what is approved.

    Args:
        model_name: Registered name of the model.
        version: Version that waits; the newest that is approved when empty.
        by: Who approves it; empty approves nothing.
        reason: Why, for the history.
        store: URI of the store.
        tracking_uri: MLflow tracking URI.
        serving: `Serving` or `KubernetesServing` as JSON.
        deployment: File to write: url, version, ledger entry.
        deployment_uri: Its URI; names run and step.

    Returns:
        The URL clients ask; "" when nothing went live.

    Raises:
        InputError: Someone approves, but no version is named.
        ApprovalError: The version does not wait, or was denied.
        StaleEpochError: Its approval has expired.
        RatchetError: It could not be put live; the old one keeps serving.
    """
    run = Origin.of(deployment_uri).run
    with journal(store, deployment_uri) as step:
        place = Place(store, model_name, tracking_uri, parse_serving(serving))
        if by and not version:
            raise InputError(f"{by} approves, but no version is named", "give the parameter version")
        one = answer(place, version, "approve", by, reason) if by else _approved(place, version, run, step)
        if one is None or not one.is_approved:
            return _left(step, Path(deployment), place, one)
        done, unprojected = put_live(place, one, run, step.progress)
        write_deployment(Path(deployment), model_name, done)
        step.found(line_of(done, unprojected), **found_of(done, unprojected))
    return done.live.url


def _approved(place: Place, version: str, run: str, step: Step) -> Waiting | None:
    """The newest version that waits and is approved, else the newest that waits; None when none does."""
    if (mine := made_live(place, run)) is not None:
        return mine  # An earlier attempt of this step was killed after it had committed.
    wanted = [one for one in waiting(place.ledger) if version in ("", one.pending.version)]
    known = [heard(place.ledger, place.tracking_uri, one, run, step.progress) for one in wanted]
    return next((one for one in known if one.is_approved), known[0] if known else None)


def _left(step: Step, deployment: Path, place: Place, one: Waiting | None) -> str:
    write_undeployed(deployment, place.model, one)
    if one is None:
        step.found(f"no version of {place.model} waits for approval", version="", url="", approval="")
    else:
        version, remedy = one.pending.version, one.remedy(place.model)
        step.found(one.sentence, version=version, url="", approval=one.state, remedy=remedy)
    return ""

"""The model registry: one version in MLflow for each model digest."""

import contextlib
import logging
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from kfp_ratchet.components.shared.entry import Champion
from kfp_ratchet.components.shared.errors import InputError, RatchetError, disk_trouble
from kfp_ratchet.components.shared.model import CARD, Card, model_digest

RUN_TAG = "ratchet.run"
DIGEST_TAG = "ratchet.digest"
APPROVAL_TAG = "ratchet.approval"
"""A person may set it to `approved` or `denied` on a version that waits."""
_COMPLETE_TAG = "ratchet.artifacts"
_ARTIFACTS = "model"
_PARAMETER_LENGTH = 6000


class RegistryError(RatchetError):
    """MLflow cannot be reached, or refuses."""


def register(
    tracking_uri: str,
    name: str,
    folder: Path,
    digest: str,
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
    parameters: Mapping[str, Any],
    run_name: str,
) -> str:
    """Make a version of a model folder, or find the one of the same digest and give it the newest tags and metrics.

    What an earlier, killed call left is completed, never doubled. MLflow has no conditional create: hold a lease on the digest.

    Args:
        tracking_uri: MLflow tracking URI.
        name: Registered name of the model; also the name of the MLflow experiment.
        folder: The model folder.
        digest: The model's digest; it identifies the version.
        tags: Tags of run and version.
        metrics: Metrics of the MLflow run.
        parameters: Parameters of the MLflow run.
        run_name: Name of the MLflow run.

    Returns:
        The version.

    Raises:
        RatchetError: MLflow cannot be reached or refuses.
    """
    all_tags = {**tags, DIGEST_TAG: digest}
    with connected(tracking_uri) as client:
        experiment = _experiment(client, tracking_uri, name)
        known = client.search_runs(
            [experiment],
            f"tags.`{DIGEST_TAG}` = '{digest}'",
            order_by=["attributes.start_time ASC"],
        )
        run = known[0] if known else client.create_run(experiment, run_name=run_name, tags=all_tags)
        run_id = run.info.run_id
        if _COMPLETE_TAG not in run.data.tags:
            client.log_artifacts(run_id, str(folder), _ARTIFACTS)
            # MLflow never changes a parameter; the same weights may have come of other ones.
            for key in parameters.keys() - run.data.params.keys():
                client.log_param(run_id, key, str(parameters[key])[:_PARAMETER_LENGTH])
        wanted = {**all_tags, _COMPLETE_TAG: _ARTIFACTS}
        changed = {key: value for key, value in wanted.items() if run.data.tags.get(key) != value}
        if changed:
            for key, number in metrics.items():
                client.log_metric(run_id, key, number, step=0)
        for key, value in changed.items():
            client.set_tag(run_id, key, value)
        version = _version(client, name, run_id, f"{run.info.artifact_uri}/{_ARTIFACTS}", all_tags)
        client.set_terminated(run_id)
    return version


def fetch(tracking_uri: str, name: str, version: str, digest: str, into: Path) -> Path:
    """Download a version's model folder below `into` and verify its digest.

    Returns:
        The model folder.

    Raises:
        RatchetError: MLflow cannot be reached, there is no such version, or its bytes are not those of `digest`.
    """
    into.mkdir(parents=True, exist_ok=True)
    with connected(tracking_uri) as client:
        run_id = _known(client, tracking_uri, name, version).run_id
        folder = Path(client.download_artifacts(run_id, _ARTIFACTS, str(into)))
    found = model_digest(folder)
    if found != digest:
        raise RatchetError(
            f"version {version} of {name} in MLflow at {masked(tracking_uri)} is {found}, not {digest} as the ledger says",
            "its artifacts were changed; restore them, or roll back to another version",
        )
    return folder


def digest_of(tracking_uri: str, name: str, version: str) -> str:
    """Digest of a version's model as its tag says; `fetch` holds the bytes against it.

    Raises:
        InputError: There is no such version, or it was not registered by this package.
        RatchetError: MLflow cannot be reached.
    """
    found = None
    if version.isdecimal():
        with connected(tracking_uri) as client:
            found = version_of(client, name, version)
    if found is None or DIGEST_TAG not in found.tags:
        raise InputError(
            f"there is no version {version} of {name} in MLflow at {masked(tracking_uri)}"
            + (f" with a tag {DIGEST_TAG}" if found is not None else ""),
            "only versions that the step register made can go live; see them with: ratchet model history",
        )
    return str(found.tags[DIGEST_TAG])


def approval(tracking_uri: str, name: str, version: str) -> str:
    """What a person set as the tag `ratchet.approval` on a version; "" for nothing.

    Raises:
        RatchetError: MLflow cannot be reached, or there is no such version.
    """
    with connected(tracking_uri) as client:
        return str(_known(client, tracking_uri, name, version).tags.get(APPROVAL_TAG, "")).strip()


def clear_approval(tracking_uri: str, name: str, version: str) -> None:
    """Remove that tag.

    Raises:
        RatchetError: MLflow cannot be reached or refuses.
    """
    with connected(tracking_uri) as client:
        if APPROVAL_TAG in _known(client, tracking_uri, name, version).tags:
            client.delete_model_version_tag(name, version, APPROVAL_TAG)


def card(tracking_uri: str, name: str, version: str) -> Card:
    """What a version's model folder says about the model, without the model.

    Raises:
        RatchetError: MLflow cannot be reached, there is no such version, or it is no model of ours.
    """
    with connected(tracking_uri) as client, TemporaryDirectory() as folder:
        run_id = _known(client, tracking_uri, name, version).run_id
        return Card.read(Path(client.download_artifacts(run_id, f"{_ARTIFACTS}/{CARD}", folder)).parent)


def check_champion(tracking_uri: str, name: str, champion: Champion) -> None:
    """Whether a registry is the one that the ledger speaks of: a new one would give away the ledger's version numbers again.

    Raises:
        RatchetError: It does not hold the champion.
    """
    with connected(tracking_uri) as client:
        found = _known(client, tracking_uri, name, champion.version).tags.get(DIGEST_TAG)
    if found != champion.digest:
        raise RatchetError(
            f"version {champion.version} of {name} in MLflow at {masked(tracking_uri)} is {found}, but the ledger's champion of "
            f"that version is {champion.digest}",
            "check tracking_uri and store: this ledger and this registry do not belong together",
        )


def _known(client: Any, tracking_uri: str, name: str, version: str) -> Any:
    found = version_of(client, name, version)
    if found is None:
        raise RatchetError(
            f"there is no version {version} of {name} in MLflow at {masked(tracking_uri)}, though the ledger knows it",
            "check tracking_uri, or restore its database: the ledger and this registry do not belong together, or the version was "
            "deleted",
        )
    return found


def version_of(client: Any, name: str, version: str) -> Any:
    """A version as MLflow has it, None when there is none."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def versions_of(client: Any, name: str) -> list[Any]:
    """All versions of a model."""
    found: list[Any] = []
    token = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def masked(uri: str) -> str:
    """A URI without the credentials it may hold."""
    return re.sub(r"//[^/@]*@", "//***@", uri)


@contextlib.contextmanager
def connected(tracking_uri: str) -> Iterator[Any]:
    """An MLflow client that gives up on a request within a minute, whatever the server does, and says what is wrong in one line.

    Raises:
        RegistryError: What is done with it failed.
    """
    if not tracking_uri:
        raise InputError(
            "the MLflow tracking URI is not set", "give one, e.g. tracking_uri: sqlite:///.ratchet/mlflow.db"
        )
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    database = _database(tracking_uri)
    if database is not None:
        _check_database(database)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    trouble: tuple[type[Exception], ...] = (MlflowException, OSError)
    with contextlib.suppress(ImportError):  # MLflow without a database does without it.
        from sqlalchemy.exc import SQLAlchemyError

        trouble = (*trouble, SQLAlchemyError)
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        yield MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
    except trouble as error:
        reason = (masked(str(error)).strip() or type(error).__name__).splitlines()[0][:500]
        raise RegistryError(
            f"MLflow at {masked(tracking_uri)} failed: {reason}",
            disk_trouble(error)
            or "check tracking_uri, that the server runs and that you may write to it; then run this step again",
        ) from error


def is_absent(tracking_uri: str) -> bool:
    """Whether it is a database on this machine that nobody has written to yet; to ask it would make it."""
    database = _database(tracking_uri)
    return database is not None and not database.exists()


def _check_database(database: Path) -> None:
    """Find at once what MLflow would find after a minute of trying, or write over.

    Raises:
        RatchetError: The SQLite file cannot be read or made, or is none.
    """
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        if not database.exists():
            if not os.access(database.parent, os.W_OK):
                raise PermissionError("permission denied")
            return
        if database.is_file() and not database.stat().st_size:
            raise sqlite3.DatabaseError("file is empty")
        # Not `mode=ro`: whoever was killed within a transaction left a journal, which the next reader must be able to roll back.
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(database))}?mode=rw", uri=True)) as connection:
            connection.execute("SELECT name FROM sqlite_master").fetchall()
    except (OSError, sqlite3.Error) as error:
        raise RegistryError(
            f"MLflow's database {database} cannot be used: {error}",
            disk_trouble(error) or "restore it from a backup; nothing was written to it",
        ) from error


def _database(tracking_uri: str) -> Path | None:
    prefix = "sqlite:///"
    return Path(tracking_uri.removeprefix(prefix)).absolute() if tracking_uri.startswith(prefix) else None


def _experiment(client: Any, tracking_uri: str, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        database = _database(tracking_uri)
        # Without a server MLflow would put artifacts below the working directory, wherever that is.
        beside = str(database.parent / "mlartifacts" / name) if database else None
        try:
            return str(client.create_experiment(name, artifact_location=beside))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    return str(found.experiment_id)


def _version(client: Any, name: str, run_id: str, source: str, tags: Mapping[str, str]) -> str:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    known = sorted(
        (found for found in client.search_model_versions(f"run_id = '{run_id}'") if found.name == name),
        key=lambda found: int(found.version),
    )
    version = known[0] if known else client.create_model_version(name, source, run_id=run_id, tags=dict(tags))
    for key, value in tags.items():
        if version.tags.get(key) != value:
            client.set_model_version_tag(name, str(version.version), key, value)
    return str(version.version)

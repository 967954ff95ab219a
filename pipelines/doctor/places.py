"""Checks of the places that steps read from and write to: images, store, tracking server."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import requests

from kfp_ratchet.components.shared.credentials import public_address
from kfp_ratchet.pipelines.doctor.check import Check, Look, failed, ok, skipped, warning

if TYPE_CHECKING:
    from kfp_ratchet.pipelines.project import Project

_SECONDS = 10
_MANIFESTS = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
    )
)
_HUB = "registry-1.docker.io"


def looks(projects: Mapping[str, "Project"], images: list[str]) -> Mapping[str, Look]:
    """What can be asked of the places, by name.

    Args:
        projects: Projects by what they are called in messages.
        images: References of container images.
    """
    found: dict[str, Look] = {f"image {image}": partial(_image, image) for image in images}
    stores = {project.store.uri: project for project in projects.values()}
    trackers = {project.tracking_uri: project for project in projects.values()}
    found |= {f"store {public_address(uri)}": partial(_store, one) for uri, one in stores.items()}
    return found | {f"MLflow {public_address(uri)}": partial(_mlflow, uri) for uri in trackers}


def _image(reference: str) -> Check:
    """Ask the registry for the manifest, as whoever pulls it does first."""
    registry, name, tag = _parts(reference)
    plain = registry.split(":")[0] in ("localhost", "127.0.0.1")
    try:
        answer = requests.head(
            f"{'http' if plain else 'https'}://{registry}/v2/{name}/manifests/{tag}",
            headers={"Accept": _MANIFESTS},
            timeout=_SECONDS,
            allow_redirects=True,
        )
    except requests.RequestException as error:
        return failed(
            f"the registry {registry} cannot be reached from here: {type(error).__name__}",
            "check the section images, and whether the cluster reaches the registry",
        )
    if answer.ok:
        return ok(f"there, {answer.headers.get('Docker-Content-Digest', 'without a digest')[:19]}")
    if answer.status_code in (401, 403):
        return warning(
            "the registry asks for a login, so it was not looked at",
            "see that the pods have it: kubernetes.image_pull_secrets, or the service account's",
        )
    return failed(
        f"the registry answers {answer.status_code}: there is no such image",
        "`ratchet images build` and `ratchet images push`, or correct the section images",
    )


def _parts(reference: str) -> tuple[str, str, str]:
    """Registry, name, and tag or digest of a reference, with Docker's rules for what is left out."""
    head, slash, rest = reference.partition("/")
    has_registry = bool(slash) and ("." in head or ":" in head or head == "localhost")
    registry, name = (head, rest) if has_registry else (_HUB, reference)
    name, at, digest = name.partition("@")
    name, _, tag = name.partition(":")
    if registry == _HUB and "/" not in name:
        name = f"library/{name}"
    return registry, name, digest if at else tag or "latest"


def _store(project: "Project") -> Check:
    uri = project.store.uri
    if "://" not in uri or uri.startswith("file://"):
        folder = Path(uri.removeprefix("file://"))
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not os.access(there, os.W_OK):
            return failed(
                f"{there} cannot be written to", "give yourself the right, or name another store in ratchet.yaml"
            )
        return warning(
            "a folder of this machine: no pod of a cluster sees it", "name a bucket as store for pipelines on a cluster"
        )
    from kfp_ratchet.components.shared.buckets import open_bucket
    from kfp_ratchet.components.shared.store_probe import creates_once

    try:
        safe = creates_once(open_bucket(uri, retry_config={"max_retries": 1}))
    except Exception as error:  # obstore's, of many kinds
        from kfp_ratchet.components.shared.buckets import reason

        return failed(
            f"cannot be written to: {reason(error)}",
            "check address and credentials: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile",
        )
    if not safe:
        return failed(
            "it ignores conditional puts: two runs could promote at once",
            "use a store that keeps If-None-Match: S3, GCS, Azure or MinIO",
        )
    return ok("can be written to, and keeps its word: of several who create one key, one succeeds")


def _mlflow(uri: str) -> Check:
    if uri.startswith("sqlite:///"):
        path = Path(uri.removeprefix("sqlite:///"))
        return warning(
            f"{'a file' if path.exists() else 'a file, not made yet,'} of this machine: no pod of a cluster sees it",
            "name an MLflow server as tracking_uri for pipelines on a cluster",
        )
    if not uri.startswith(("http://", "https://")):
        return skipped("neither a server nor a SQLite file")
    try:
        answer = requests.get(f"{uri.rstrip('/')}/version", timeout=_SECONDS)
    except requests.RequestException as error:
        return failed(
            f"cannot be reached from here: {type(error).__name__}",
            "start it, or correct tracking_uri; a name of the cluster is not known outside of it",
        )
    if answer.status_code in (401, 403):
        return failed("asks for a login", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD by a secret")
    if not answer.ok:
        return failed(f"answers {answer.status_code}", "is it MLflow's address? correct tracking_uri")
    return ok(f"answers, version {answer.text.strip()[:20]}")

"""The API server, asked with plain objects: waits out a short absence, and explains what it refuses."""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kfp_ratchet.components.shared.errors import InputError, RatchetError

Object = dict[str, Any]

FIELD_MANAGER = "ratchet"
DEPLOYER = Path("/var/run/ratchet/deployer")
"""A Secret of type kubernetes.io/service-account-token, mounted into the step `deploy` alone."""
POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_PATIENCE_SECONDS = 60.0
"""How long the API server may be away in the middle of anything."""
_TIMEOUT_SECONDS = (5, 60)
_PASSING = frozenset({429, 500, 502, 503, 504})


class ConflictError(RatchetError):
    """The object was changed, or made, by someone else meanwhile."""


class MissingError(RatchetError):
    """There is no such object."""


class Api:
    """The API server, seen from a pod of its own account, from one with the deployer's, or from a machine with a kubeconfig.

    Args:
        namespace: Where to work; that of the account or of the kubeconfig's context when empty.

    Raises:
        InputError: There is nothing that says how to reach one.
    """

    def __init__(self, namespace: str = "") -> None:
        from kubernetes import client

        configuration, found = _configuration()
        configuration.retries = False
        self.namespace = namespace or found
        self.host = str(configuration.host)
        self.is_inside = DEPLOYER.is_dir() or POD.is_dir()
        self.seconds = 0.0
        """The API server's own clock at its last answer, in seconds since 1970."""
        self._client = client.ApiClient(configuration)

    def get(self, path: str) -> Object | None:
        """An object, None when there is none."""
        try:
            return self.ask("GET", path)
        except MissingError:
            return None

    def items(self, path: str, selector: str) -> list[Object]:
        """The objects with these labels."""
        return list(self.ask("GET", path, query=[("labelSelector", selector)]).get("items") or [])

    def create(self, path: str, made: Object) -> Object:
        """Make an object.

        Raises:
            ConflictError: There is one of that name.
        """
        return self.ask("POST", path, made, query=[("fieldManager", FIELD_MANAGER)])

    def replace(self, path: str, changed: Object) -> Object:
        """Put an object in the place of the very one that was read.

        Raises:
            ConflictError: It has changed since.
        """
        return self.ask("PUT", path, changed, query=[("fieldManager", FIELD_MANAGER)])

    def apply(self, path: str, wanted: Object) -> Object:
        """Have an object as it is wanted: server-side apply, which leaves alone what others have set."""
        query = [("fieldManager", FIELD_MANAGER), ("force", "true"), ("fieldValidation", "Strict")]
        return self.ask("PATCH", path, wanted, query=query, content_type="application/apply-patch+yaml")

    def delete(self, path: str) -> None:
        """Remove an object, and in the background what belongs to it; one that is not there is removed."""
        try:
            self.ask("DELETE", path, {"propagationPolicy": "Background"})
        except MissingError:
            return

    def ask(
        self,
        verb: str,
        path: str,
        body: Object | None = None,
        query: list[tuple[str, str]] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """One request, repeated while the API server is away: every request here may be repeated.

        Raises:
            RatchetError: It stays away, or refuses; says what for.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        began, pause = time.monotonic(), 0.2
        while True:
            try:
                return self._once(verb, path, body, query or [], content_type)
            except ApiException as error:
                # 0 is a connection that broke; what the proxy answers is about the pod behind it.
                if error.status and (error.status not in _PASSING or "/proxy/" in path):
                    raise _explained(error, verb, path, self.namespace) from None
                last: Exception = error
            except (HTTPError, OSError) as error:
                last = error
            if time.monotonic() - began > _PATIENCE_SECONDS:
                raise RatchetError(
                    f"the API server {self.host} does not answer for {_PATIENCE_SECONDS:.0f} s: {last}",
                    "what serves goes on; try again when it answers",
                ) from last
            time.sleep(pause)
            pause = min(2 * pause, 3.0)

    def _once(
        self, verb: str, path: str, body: Object | None, query: list[tuple[str, str]], content_type: str
    ) -> Object:
        content, _, headers = self._client.call_api(
            path,
            verb,
            query_params=query,
            header_params={"Accept": "application/json", "Content-Type": content_type},
            body=body,
            response_type="object",
            auth_settings=["BearerToken"],
            _request_timeout=_TIMEOUT_SECONDS,
        )
        self.seconds = _seconds(headers) or self.seconds
        return content if isinstance(content, dict) else {"content": content}


def _configuration() -> tuple[Any, str]:
    """How to reach the API server, and the namespace to work in."""
    from kubernetes import client, config
    from kubernetes.config import ConfigException

    made = client.Configuration()
    try:
        if DEPLOYER.is_dir():
            loader = config.incluster_config.InClusterConfigLoader(str(DEPLOYER / "token"), str(DEPLOYER / "ca.crt"))
            loader.load_and_set(made)
            return made, _namespace(DEPLOYER)
        if POD.is_dir():
            config.load_incluster_config(made)
            return made, _namespace(POD)
        named = os.environ.get("KUBECONFIG")  # The library looks only once, when it is imported.
        config.load_kube_config(named, client_configuration=made)
        _, context = config.list_kube_config_contexts(named)
    except ConfigException as error:
        raise InputError(
            f"nothing says how to reach a Kubernetes API server: {error}",
            "set KUBECONFIG, or run it in a pod whose service account may do this",
        ) from error
    return made, str((context.get("context") or {}).get("namespace") or "default")


def _namespace(folder: Path) -> str:
    path = folder / "namespace"
    return path.read_text().strip() if path.is_file() else "default"


def _seconds(headers: Mapping[str, str] | None) -> float:
    from email.utils import parsedate_to_datetime

    said = (headers or {}).get("Date")
    return parsedate_to_datetime(said).timestamp() if said else 0.0


def _explained(error: Any, verb: str, path: str, namespace: str) -> RatchetError:
    said = _message(error)
    kinds: dict[int, Callable[[], RatchetError]] = {
        401: lambda: RatchetError(
            f"the API server does not know who asks: {said}", "renew the token or the kubeconfig"
        ),
        403: lambda: _forbidden(said, namespace),
        404: lambda: MissingError(said),
        409: lambda: ConflictError(said, "another deploy came between; nothing was changed"),
        422: lambda: RatchetError(f"the API server refuses {verb} {path}: {said}", "fix the section serving"),
    }
    return kinds.get(error.status, lambda: RatchetError(f"the API server refuses {verb} {path}: {said}"))()


def _forbidden(said: str, namespace: str) -> RatchetError:
    """What is missing is said by the API server itself: who cannot do which verb on which resource."""
    if "exceeded quota" in said or "violates PodSecurity" in said:
        return RatchetError(
            f"namespace {namespace} does not allow it: {said}", "ask whoever owns the namespace to raise the quota"
        )
    return RatchetError(
        f"the deployer has no permission: {said}",
        f"add that verb on that resource to its Role in namespace {namespace}; manifests/ has the whole Role",
    )


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.body or error.reason)[:500]

"""Checks of a Kubernetes namespace: is there what the pods of a compiled pipeline ask for?"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.pipelines.doctor.check import Check, Look, failed, ok, skipped, warning

if TYPE_CHECKING:
    from kfp_ratchet.pipelines.pipeline_text import PipelineText

_PLURALS = {"Secret": "secrets", "ConfigMap": "configmaps", "PersistentVolumeClaim": "persistentvolumeclaims"}
_MAKE = {
    "Secret": "kubectl create secret generic",
    "ConfigMap": "kubectl create configmap",
    "PersistentVolumeClaim": "kubectl apply -f",
}
_FIELDS = {
    "secretAsEnv": ("Secret", "secretName"),
    "secretAsVolume": ("Secret", "secretName"),
    "imagePullSecret": ("Secret", "secretName"),
    "configMapAsEnv": ("ConfigMap", "configMapName"),
    "configMapAsVolume": ("ConfigMap", "configMapName"),
    "pvcMount": ("PersistentVolumeClaim", "constant"),
}
"""What a platform spec asks for: kind of the object, and the field that names it."""


@dataclass(frozen=True)
class Needed:
    """An object that pods ask for."""

    kind: str
    name: str
    optional: bool
    steps: tuple[str, ...]


def looks(texts: Iterable["PipelineText"], namespace: str) -> Mapping[str, Look]:
    """One look at each object that the pipelines ask for.

    Args:
        texts: Compiled pipelines.
        namespace: Where their pods run; that of the account or the kubeconfig when "".
    """
    wanted = needed(texts)
    if not wanted:
        return {"Kubernetes": lambda: skipped("the pipelines ask for no secret, config map or volume")}
    return {f"{one.kind} {one.name}": partial(_present, one, namespace) for one in wanted}


def needed(texts: Iterable["PipelineText"]) -> list[Needed]:
    """What pods of pipelines ask for, each once, with the steps that do; what is named only at run time is left out."""
    found: dict[tuple[str, str], list[tuple[str, bool]]] = {}
    for text in texts:
        platform = text.platform_spec.get("platforms", {}).get("kubernetes", {})
        executors = platform.get("deploymentSpec", {}).get("executors", {})
        for executor, asked in executors.items():
            for kind, name, optional in _asked(asked):
                found.setdefault((kind, name), []).append((executor.removeprefix("exec-"), optional))
    return [
        Needed(kind, name, all(optional for _, optional in uses), tuple(dict.fromkeys(step for step, _ in uses)))
        for (kind, name), uses in sorted(found.items())
    ]


def _asked(executor: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    for field, (kind, key) in _FIELDS.items():
        for one in executor.get(field, []):
            by_parameter = one.get(f"{key}Parameter", {}).get("runtimeValue", {}).get("constant", "")
            if name := one.get(key) or by_parameter:
                yield kind, str(name), bool(one.get("optional"))


def _present(wanted: Needed, namespace: str) -> Check:
    from kfp_ratchet.components.deploy.kubernetes.api import Api

    try:
        api = Api(namespace)
    except RatchetError as error:
        return skipped(error.message, "set KUBECONFIG, or --no-kubernetes")
    steps = f"needed by {', '.join(wanted.steps)}"
    try:
        found = api.get(f"/api/v1/namespaces/{api.namespace}/{_PLURALS[wanted.kind]}/{wanted.name}")
    except RatchetError as error:
        return skipped(f"may not be looked at in {api.namespace}: {error.message}", "ask for the right to read it")
    if found is not None:
        return ok(f"there in {api.namespace}, {steps}")
    remedy = f"{_MAKE[wanted.kind]} … -n {api.namespace}; manifests/ has examples"
    if wanted.optional:
        return warning(f"not in {api.namespace}; {steps}, and optional", remedy)
    return failed(f"not in {api.namespace}; {steps}: their pods would wait for it without a word", remedy)

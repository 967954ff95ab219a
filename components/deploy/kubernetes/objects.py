"""The objects of a served version, as they are applied."""

import hashlib
import re
from typing import Any

from kfp_ratchet.components.deploy.serving import KubernetesServing
from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.errors import InputError

Object = dict[str, Any]

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "kfp-ratchet"
MODEL = "kfp-ratchet/model"
POOL = "kfp-ratchet/pool"
"""Label of the pods that clients reach together: the live Deployment's name."""
OWN = "kfp-ratchet/deployment"
"""Label of the pods of one Deployment."""
ENTRY = "kfp-ratchet/entry"
DIGEST = "kfp-ratchet/digest"
RECORD = "kfp-ratchet/live"
"""Annotation of the model's Service: what is live, as JSON."""

SERVER = "server"
FETCH = "fetch"
PORT = 8080
LINGER_SECONDS = 8
"""How long a pod that is to end goes on answering, until every node has taken it out of the Service."""
_GRACE_SECONDS = LINGER_SECONDS + 12
_USER = 65532
_NAME = 63
_BASE = 36
"""Characters of a Deployment's name for the model: so that its pods' names fit, too."""


def service_name(model: str) -> str:
    """Name of the Service of a model: its own, or the nearest that DNS allows with a digest of it."""
    return _label(model, _NAME)


def pool_name(model: str, version: str, entry: int) -> str:
    """Name of the Deployment of one deploy; no two have the same."""
    return f"{_label(model, _BASE)}-v{_label(version, 12, first='0-9')}-{entry}"


def selector(model: str) -> str:
    """Label selector of everything that serves a model."""
    return f"{MANAGED_BY}={MANAGER},{MODEL}={service_name(model)}"


def service(serving: KubernetesServing, model: str, pool: str, record: str) -> Object:
    """The Service that clients ask."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": service_name(model),
            "labels": _labels(model, "endpoint"),
            "annotations": {RECORD: record},
        },
        "spec": {
            "type": serving.service_type,
            "selector": {POOL: pool},
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def deployment(
    serving: KubernetesServing, model: str, made: Draft, entry: int, tracking_uri: str, joins: str = ""
) -> Object:
    """The Deployment of one deploy: an init container fetches and verifies the model, the main one serves it.

    With `joins`, the deploy's canary: clients reach its pods together with those of that Deployment.
    """
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,40}[A-Za-z0-9])?", made.version):
        raise InputError(f"{made.version!r} is not a version of {model}")
    name = pool_name(model, made.version, entry) + ("-c" if joins else "")
    version = {"app.kubernetes.io/version": f"v{made.version}"}
    labels = {**_labels(model, "server"), **version, OWN: name, POOL: joins or name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "labels": {**labels, ENTRY: str(entry)},
            "annotations": {DIGEST: made.digest},
        },
        "spec": {
            "replicas": serving.canary.replicas if joins and serving.canary else serving.replicas,
            "revisionHistoryLimit": 0,
            "progressDeadlineSeconds": serving.startup_seconds + 60,
            "selector": {"matchLabels": {OWN: name}},
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(serving, model, made, tracking_uri, name),
            },
        },
    }


def pool_service(model: str, pool: str, owner: Object) -> Object:
    """A Service of one Deployment alone, to probe it with; it goes with the Deployment."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _owned(pool, model, "probe", owner),
        "spec": {"selector": {OWN: pool}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }


def disruption_budget(model: str, pool: str, owner: Object) -> Object:
    """At most one pod of a version is evicted at a time: a drained node never takes all of them."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _owned(pool, model, "server", owner),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {OWN: pool}}},
    }


def _pod(serving: KubernetesServing, model: str, made: Draft, tracking_uri: str, pool: str) -> Object:
    resources = {"requests": {"cpu": serving.cpu, "memory": serving.memory}, "limits": {"memory": serving.memory}}
    container = {
        "image": serving.image,
        "resources": resources,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # The reason of a failure is then in the pod's status, and nobody needs the right to read logs.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "model", "mountPath": "/model"}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }
    fetch = ["--tracking-uri", tracking_uri, "--model", model, "--version", made.version, "--digest", made.digest]
    environment = [{"name": name, "value": value} for name, value in serving.fetch_environment.items()]
    answering = ["--listen", f"0.0.0.0:{PORT}", "--linger", str(LINGER_SECONDS)]
    ready = {"httpGet": {"path": "/ratchet", "port": "http"}, "timeoutSeconds": 5}
    pod: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [
            {
                **container,
                "name": FETCH,
                "command": ["python3", "-m", "kfp_ratchet.components.deploy.fetch", *fetch, "--into", "/model"],
                "env": environment,
                "envFrom": [{"secretRef": {"name": name}} for name in serving.fetch_secrets],
            }
        ],
        "containers": [
            {
                **container,
                "name": SERVER,
                "command": ["python3", "-m", "kfp_ratchet.components.deploy.server", "/model/model", *answering],
                "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
                "startupProbe": {**ready, "periodSeconds": 1, "failureThreshold": serving.startup_seconds},
                "readinessProbe": {**ready, "periodSeconds": 2, "failureThreshold": 2},
                "livenessProbe": {**ready, "httpGet": {"path": "/ping", "port": "http"}, "failureThreshold": 6},
            }
        ],
        "volumes": [{"name": "model", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
        "nodeSelector": serving.node_selector,
        "tolerations": serving.tolerations,
        "imagePullSecrets": [{"name": name} for name in serving.pull_secrets],
    }
    if serving.replicas > 1:
        spread = {"maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {OWN: pool}}}
        keys = ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
        pod["topologySpreadConstraints"] = [{**spread, "topologyKey": key} for key in keys]
    return pod


def _labels(model: str, component: str) -> dict[str, str]:
    name = service_name(model)
    return {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/component": component,
        MANAGED_BY: MANAGER,
        MODEL: name,
    }


def _owned(name: str, model: str, component: str, owner: Object) -> Object:
    owning = {"apiVersion": owner["apiVersion"], "kind": owner["kind"]}
    of = {"name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
    return {"name": name, "labels": _labels(model, component), "ownerReferences": [{**owning, **of}]}


def _label(text: str, length: int, first: str = "a-z") -> str:
    """Text as part of a DNS label; where that changes it, with a digest, so that two texts never give the same."""
    plain = re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")
    plain = plain if re.match(f"[{first}]", plain) or first == "0-9" else f"m-{plain}"
    if plain == text and len(plain) <= length:
        return plain
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{plain[: length - 9].rstrip('-')}-{mark}".lstrip("-")

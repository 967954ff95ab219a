"""The pod of an executor of a compiled pipeline, as the driver of KFP 2.17 makes it.

A test tool: field names come from KFP's own messages, so a misspelt or unknown setting is an error here, not silence.
"""

import re
from collections.abc import Mapping
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2 as messages
from kfp.pipeline_spec import pipeline_spec_pb2

Container = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec
_INPUT = re.compile(r"\{\{\$\.inputs\.parameters\[['\"](.+?)['\"]\]\}\}")


def executors(package: str) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """By label ("exec-train"): the container spec and the Kubernetes settings of each executor in a compiled YAML's text."""
    spec, platform = [*yaml.safe_load_all(package), {}][:2]
    settings = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    return {
        label: (executor["container"], settings.get(label, {}))
        for label, executor in spec["deploymentSpec"]["executors"].items()
    }


def pod_spec(
    container: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    name: str = "step",
) -> dict[str, Any]:
    """The pod, ready for the API server.

    Args:
        container: `container` of an executor.
        settings: What `platforms.kubernetes.deploymentSpec.executors` says of it.
        inputs: Values of the task's input parameters, for settings that name one.
        name: Start of the pod's name.

    Raises:
        ParseError: A field that KFP does not know.
        KeyError: A setting names an input that is not given.
    """
    main = json_format.ParseDict(dict(container), Container())
    config = json_format.ParseDict(dict(settings or {}), messages.KubernetesExecutorConfig())
    values = dict(inputs or {})
    env: list[dict[str, Any]] = [{"name": each.name, "value": each.value} for each in main.env]
    env += _env(config, values)
    volumes, mounts = _volumes(config, values)
    spec: dict[str, Any] = {
        "restartPolicy": "Never",  # Argo's: what is tried again is a new pod
        "containers": [
            {
                "name": "main",
                "image": main.image,
                "command": list(main.command),
                "args": list(main.args),
                "env": env,
                "resources": _resources(main.resources, values),
                "volumeMounts": mounts,
                "securityContext": _security(config),
            }
        ],
        "volumes": volumes,
        "imagePullSecrets": [
            {"name": _given(each.secret_name_parameter, values) or each.secret_name}
            for each in config.image_pull_secret
        ],
        "tolerations": [each for toleration in config.tolerations for each in _tolerations(toleration, values)],
    }
    if config.image_pull_policy:
        spec["containers"][0]["imagePullPolicy"] = config.image_pull_policy
    if config.active_deadline_seconds:
        spec["activeDeadlineSeconds"] = int(config.active_deadline_seconds)
    if selector := _given(config.node_selector.node_selector_json, values) or dict(config.node_selector.labels):
        spec["nodeSelector"] = selector
    if affinity := _affinity(config, values):
        spec["affinity"] = affinity
    labels, annotations = dict(config.pod_metadata.labels), dict(config.pod_metadata.annotations)
    metadata = {"generateName": f"{name}-", "labels": labels, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _given(parameter: Any, values: Mapping[str, Any]) -> Any:
    """Value of an InputParameterSpec: a constant, or a task's input; None when it is not set."""
    match parameter.WhichOneof("kind"):
        case "runtime_value":
            return json_format.MessageToDict(parameter.runtime_value.constant)
        case "component_input_parameter":
            return values[parameter.component_input_parameter]
        case None:
            return None
        case other:
            raise NotImplementedError(f"a Kubernetes setting from {other}")


def _resources(asked: Any, values: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    def text(value: str) -> str:
        return _INPUT.sub(lambda found: str(values[found[1]]), value)

    requests, limits = {}, {}
    for target, kind in ((requests, "request"), (limits, "limit")):
        for resource in ("cpu", "memory"):
            if value := text(getattr(asked, f"resource_{resource}_{kind}")):
                target[resource] = value
    accelerator = asked.accelerator
    if resource := text(accelerator.resource_type or accelerator.type):
        count = text(accelerator.resource_count) or str(accelerator.count)
        if count != "0":
            limits[resource] = count
    return {"requests": requests, "limits": limits}


def _env(config: Any, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    env = []
    for kind, secret in (("secretKeyRef", True), ("configMapKeyRef", False)):
        for each in config.secret_as_env if secret else config.config_map_as_env:
            parameter = each.secret_name_parameter if secret else each.config_map_name_parameter
            source = _given(parameter, values) or (each.secret_name if secret else each.config_map_name)
            for key in each.key_to_env:
                named = {
                    "name": source,
                    "key": key.secret_key if secret else key.config_map_key,
                    "optional": each.optional,
                }
                env.append({"name": key.env_var, "valueFrom": {kind: named}})
    for each in config.field_path_as_env:
        env.append({"name": each.name, "valueFrom": {"fieldRef": {"fieldPath": each.field_path}}})
    return env


def _volumes(config: Any, values: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    volumes: dict[str, dict[str, Any]] = {}
    mounts = []

    def mount(name: str, path: str, source: dict[str, Any], **more: Any) -> None:
        volumes[name] = {"name": name, **source}
        mounts.append({"name": name, "mountPath": path, **more})

    for each in config.secret_as_volume:
        name = _given(each.secret_name_parameter, values) or each.secret_name
        mount(name, each.mount_path, {"secret": {"secretName": name, "optional": each.optional}})
    for each in config.config_map_as_volume:
        name = _given(each.config_map_name_parameter, values) or each.config_map_name
        mount(name, each.mount_path, {"configMap": {"name": name, "optional": each.optional}})
    for each in config.pvc_mount:
        name = _given(each.pvc_name_parameter, values) or each.constant or values[each.component_input_parameter]
        mount(
            name,
            each.mount_path,
            {"persistentVolumeClaim": {"claimName": name}},
            **({"subPath": each.sub_path} if each.sub_path else {}),
        )
    for each in config.empty_dir_mounts:
        folder = {"medium": each.medium, "sizeLimit": each.size_limit}
        source = {"emptyDir": {key: value for key, value in folder.items() if value}}
        mount(each.volume_name, each.mount_path, source)
    if config.HasField("enabled_shared_memory"):
        shared = config.enabled_shared_memory
        folder = {"medium": "Memory", **({"sizeLimit": shared.size} if shared.size else {})}
        mount(shared.volume_name or "shm", "/dev/shm", {"emptyDir": folder})
    for each in config.generic_ephemeral_volume:
        claim: dict[str, Any] = {
            "accessModes": list(each.access_modes),
            "resources": {"requests": {"storage": each.size}},
        }
        if not each.default_storage_class:
            claim["storageClassName"] = each.storage_class_name
        about = {"labels": dict(each.metadata.labels), "annotations": dict(each.metadata.annotations)}
        template = {"metadata": about, "spec": claim}
        mount(each.volume_name, each.mount_path, {"ephemeral": {"volumeClaimTemplate": template}})
    return list(volumes.values()), mounts


def _tolerations(toleration: Any, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    given = _given(toleration.toleration_json, values)
    if given is not None:
        return given if isinstance(given, list) else [given]
    plain = json_format.MessageToDict(toleration)
    if "tolerationSeconds" in plain:
        plain["tolerationSeconds"] = int(plain["tolerationSeconds"])  # Protobuf writes 64-bit numbers as text.
    return [plain]


def _affinity(config: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    required: list[dict[str, Any]] = []
    preferred: list[dict[str, Any]] = []
    for each in config.node_affinity:
        given = _given(each.node_affinity_json, values)
        if given is not None:
            return {"nodeAffinity": given}
        term = {
            key: value
            for key, value in json_format.MessageToDict(each).items()
            if key in ("matchExpressions", "matchFields")
        }
        if each.HasField("weight"):
            preferred.append({"weight": each.weight, "preference": term})
        else:
            required.append(term)
    node: dict[str, Any] = {}
    if required:
        node["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": required}
    if preferred:
        node["preferredDuringSchedulingIgnoredDuringExecution"] = preferred
    return {"nodeAffinity": node} if node else {}


def _security(config: Any) -> dict[str, Any]:
    """What KFP's backend sets on every user container, and what the pipeline asks for besides."""
    asked = config.security_context
    fields = {"runAsUser": "run_as_user", "runAsGroup": "run_as_group", "runAsNonRoot": "run_as_non_root"}
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
        **{key: getattr(asked, field) for key, field in fields.items() if asked.HasField(field)},
    }

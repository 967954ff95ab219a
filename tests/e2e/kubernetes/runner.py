"""Runs a compiled pipeline on a cluster, each executor a pod. A test tool: a real Kubeflow runs the YAML for users.

`kfp.local` walks the graph (conditions, retries, the exit handler); what it would start as a process is made a pod here, with the
settings that the YAML asks for (`pods.py`). Artifacts travel through S3 under the URIs that a Kubeflow server gives them. Stricter than
Kubeflow: the user is 65532 and the root file system read-only.
"""

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import obstore
from kfp import components, local
from kfp.local import executor_input_utils, executor_output_utils, placeholder_utils, status, task_dispatcher
from kubernetes import client, watch
from obstore.store import S3Store
from pods import executors, pod_spec

from kfp_ratchet.components._image import VERSION

_LAUNCHER = Path(__file__).with_name("launcher.py")
_PATIENCE_SECONDS = 300


@dataclass
class PodRun:
    """One pod, and what became of it."""

    step: str
    name: str
    spec: dict[str, Any]
    phase: str = "Pending"
    log: str = ""
    seconds: float = 0.0


@dataclass
class Cluster:
    """Where pods run, and what they reach.

    Args:
        api: Client of the cluster.
        namespace: Of the pods.
        outside: S3 and MLflow, from the fixture.
        images: Reference by kind.
        alter: Changes a pod before it is made; gets its step and attempt, counted from 1.
        watched: Called, in a thread of its own, with each pod once it runs.
    """

    api: client.ApiClient
    namespace: str
    outside: Any
    images: Mapping[str, str]
    alter: Callable[[dict[str, Any], str, int], None] = lambda pod, step, attempt: None
    watched: Callable[[PodRun], None] | None = None
    service_account: str = "default"
    pods: list[PodRun] = field(default_factory=list)
    run: str = ""

    def __post_init__(self) -> None:
        self._core = client.CoreV1Api(self.api)
        self._threads = ThreadPoolExecutor(1)
        launcher = {"metadata": {"name": "launcher"}, "data": {"launcher.py": _LAUNCHER.read_text()}}
        with contextlib.suppress(client.ApiException):  # Another Cluster of this namespace made it.
            self._core.create_namespaced_config_map(self.namespace, launcher)

    def submit(self, package: str, arguments: Mapping[str, Any], folder: Path) -> str:
        """Run a compiled YAML's text to its end; returns the run's id. A step's failure is seen in `pods` and the journal."""
        for kind in ("slim", "train"):
            package = package.replace(f"kfp-ratchet/{kind}:{VERSION}", self.images[kind])
        self.run, self.pods = str(uuid.uuid4()), []
        self._executors = executors(package)
        path = folder / f"{self.run}.yaml"
        path.write_text(package)
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "root"), raise_on_error=False)
        with mock.patch.object(task_dispatcher, "run_single_task_implementation", self._step):
            components.load_component_from_file(str(path))(**arguments)
        return self.run

    def of(self, step: str) -> list[PodRun]:
        """Pods of a step, in order."""
        return [pod for pod in self.pods if pod.step == step]

    def _step(self, **asked: Any) -> tuple[dict[str, Any], status.Status]:
        """In place of `task_dispatcher.run_single_task_implementation`: the same, with a pod."""
        spec, name = asked["component_spec"], asked["component_name"].removeprefix("comp-")
        root = executor_input_utils.construct_local_task_root(
            asked["pipeline_root"], asked["pipeline_resource_name"], name
        )
        called = executor_input_utils.construct_executor_input(spec, asked["arguments"], root, False)
        base = f"{self.outside.bucket}/artifacts/{asked['pipeline_resource_name'].rsplit('-', 7)[0]}/{self.run}"
        base = f"{base}/{name}/{uuid.uuid4()}"
        for output in called.outputs.artifacts.values():
            for artifact in output.artifacts:
                artifact.uri = f"{base}/{artifact.uri.rsplit('/', 1)[1]}"
        for key, parameter in called.outputs.parameters.items():
            parameter.output_file = f"/tmp/kfp/outputs/{key}"
        called.outputs.output_file = "/tmp/kfp/output_metadata.json"
        plain = executor_input_utils.executor_input_to_dict(called, spec)
        container, settings = self._executors[spec.executor_label]
        names = {key: asked[key] for key in ("pipeline_resource_name", "pipeline_root", "unique_pipeline_id")}
        command = placeholder_utils.replace_placeholders(
            full_command=[*container["command"], *container["args"]],
            executor_input_dict=plain,
            task_resource_name=name,
            **names,
        )
        pod = pod_spec(container, settings, plain.get("inputs", {}).get("parameterValues", {}), name)
        self._strict(pod, command, f"{base}/told.json", name)
        if self._wait(pod, name) != "Succeeded":
            return {}, status.Status.FAILURE
        told = json.loads(bytes(obstore.get(self.bucket(), _key(f"{base}/told.json")).bytes()))
        for key, content in told["parameters"].items():
            path = Path(root, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            called.outputs.parameters[key].output_file = str(path)
        called.outputs.output_file = str(Path(root, "executor_output.json"))
        Path(root).mkdir(parents=True, exist_ok=True)
        Path(called.outputs.output_file).write_text(told["metadata"])
        return executor_output_utils.get_outputs_for_task(called, spec), status.Status.SUCCESS

    def _strict(self, pod: dict[str, Any], command: list[str], told: str, step: str) -> None:
        spec = pod["spec"]
        (main,) = spec["containers"]
        main["command"], main["args"] = ["python3", "/launcher/launcher.py"], command
        known = {each["name"] for each in main["env"]}
        more = {**self.outside.environment, "RATCHET_TEST_TOLD": told}
        main["env"] += [{"name": key, "value": value} for key, value in more.items() if key not in known]
        main["volumeMounts"] += [{"name": f"kfp-{one}", "mountPath": f"/{one}"} for one in ("launcher", "s3", "tmp")]
        spec["volumes"] += [
            {"name": "kfp-launcher", "configMap": {"name": "launcher"}},
            {"name": "kfp-s3", "emptyDir": {}},
            {"name": "kfp-tmp", "emptyDir": {}},
        ]
        # Small nodes: what is asked for is tested on the specification, not by having so much. Without any, it would be the limit.
        main["resources"]["requests"] = {"cpu": "10m", "memory": "16Mi"}
        main["securityContext"] |= {"runAsUser": 65532, "runAsNonRoot": True, "readOnlyRootFilesystem": True}
        spec["securityContext"] = {"fsGroup": 65532}
        spec["serviceAccountName"] = self.service_account
        pod["metadata"]["labels"] |= {"pipeline/runid": self.run}
        self.alter(pod, step, len(self.of(step)) + 1)

    def _wait(self, pod: dict[str, Any], step: str) -> str:
        """Make a pod and follow it to its end: "Succeeded", "Failed" or "Deleted"."""
        began = time.monotonic()
        made = self._core.create_namespaced_pod(self.namespace, pod)
        found = PodRun(step, made.metadata.name, pod)
        self.pods.append(found)
        watching = None
        for kind, seen in self._events(made.metadata.name, made.metadata.resource_version):
            found.phase = "Deleted" if kind == "DELETED" else seen.status.phase
            if found.phase == "Running" and self.watched and watching is None:
                watching = self._threads.submit(self.watched, found)
            if found.phase in ("Succeeded", "Failed", "Deleted"):
                break
        else:
            raise AssertionError(f"{found.name} did not end: {found.phase}")
        if watching:
            watching.result()
        found.seconds = time.monotonic() - began
        with contextlib.suppress(client.ApiException):
            found.log = self._core.read_namespaced_pod_log(found.name, self.namespace)
        return found.phase

    def _events(self, name: str, version: str) -> Iterator[tuple[str, Any]]:
        events = watch.Watch().stream(
            self._core.list_namespaced_pod,
            self.namespace,
            field_selector=f"metadata.name={name}",
            resource_version=version,
            timeout_seconds=_PATIENCE_SECONDS,
        )
        for event in events:
            yield event["type"], event["object"]

    def bucket(self) -> S3Store:
        """The bucket, from here."""
        environment = self.outside.environment
        return S3Store(
            self.outside.bucket.removeprefix("s3://"),
            endpoint=self.outside.s3,
            access_key_id=environment["AWS_ACCESS_KEY_ID"],
            secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            region=environment["AWS_REGION"],
            client_options={"allow_http": True},
        )


def _key(uri: str) -> str:
    return uri.removeprefix("s3://").partition("/")[2]

"""One-line helpers that give a task its resources, caching, and everything else that its pod asks of a cluster.

`io_step`, `effect_step` and `fit_step` apply a whole section `kubernetes` of `ratchet.yaml`; the others do one thing each, for pipelines
of one's own:

    train = fit_step(ops.train(...), settings)
    gpu(score(...), Gpu(count=1, shared_memory="4Gi"))

Runs on this machine ignore what they set, caching excepted.
"""

from collections.abc import Mapping
from typing import Any

from kfp_ratchet.pipelines.kubernetes_settings import (
    Affinity,
    ConfigMapFor,
    Gpu,
    Kind,
    KubernetesSettings,
    Pool,
    Scratch,
    SecretEnv,
    SecretFor,
    SecurityContext,
    Spot,
    StepSettings,
    Toleration,
    seconds,
)

__all__ = [
    "TITLES",
    "Affinity",
    "ConfigMapFor",
    "Gpu",
    "KubernetesSettings",
    "Scratch",
    "SecretEnv",
    "SecretFor",
    "SecurityContext",
    "Spot",
    "StepSettings",
    "Toleration",
    "config_map",
    "deployer",
    "effect_step",
    "fit_step",
    "gpu",
    "io_step",
    "labelled",
    "node",
    "pull",
    "resources",
    "retry",
    "scratch",
    "secret",
    "security",
    "spot",
    "timeout",
]
DEPLOYER = "/var/run/ratchet/deployer"
"""Where `deploy` finds the token that it deploys with."""
TITLES = {
    "pin": "pin data and champion",
    "ingest": "ingest tables",
    "validate": "validate rows",
    "prepare": "prepare model rows",
    "tune": "tune hyperparameters",
    "train": "train candidate",
    "evaluate": "evaluate both models",
    "gate": "gate the promotion",
    "register": "register candidate",
    "deploy": "deploy champion",
    "approve": "approve and deploy",
    "notify": "notify and report",
}
"""What a node of the graph in Kubeflow says: the step's own word first, and short, since longer ones are cut off there."""
_SHARED_MEMORY = "/dev/shm"  # noqa: S108
_KEYS = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "mlflow": ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
    "notify": ("RATCHET_NOTIFY_URLS",),
}
_TAKES = {"s3": "store", "mlflow": "tracking_uri", "notify": "notifications"}
"""By kind of secret, the parameter of the steps that need it."""


def effect_step(task: Any, settings: KubernetesSettings | None = None) -> Any:
    """A step that changes something outside the run, or reads a moving reference: never cached."""
    return io_step(task, settings).set_caching_options(False)


def io_step(task: Any, settings: KubernetesSettings | None = None) -> Any:
    """A step that moves or looks at data: little CPU."""
    return _step(task, settings or KubernetesSettings(), "io")


def fit_step(task: Any, settings: KubernetesSettings | None = None) -> Any:
    """A step that fits or scores models."""
    return _step(task, settings or KubernetesSettings(), "fit")


def resources(task: Any, wanted: StepSettings) -> Any:
    """CPU and memory: asked for, and at most."""
    for value, set_it in (
        (wanted.cpu, task.set_cpu_request),
        (wanted.cpu_limit, task.set_cpu_limit),
        (wanted.memory, task.set_memory_request),
        (wanted.memory_limit, task.set_memory_limit),
    ):
        if value:
            set_it(value)
    return task


def timeout(task: Any, duration: str) -> Any:
    """End an attempt that runs longer than 90s, 30m, 6h or 2d; "off" for never."""
    from kfp import kubernetes

    return kubernetes.set_timeout(task, seconds(duration)) if seconds(duration) else task


def retry(task: Any, times: int, backoff: str = "30s") -> Any:
    """Try a failed step again, after 30 s, one minute, two and so on, up to ten."""
    if not times:
        return task
    return task.set_retry(times, f"{seconds(backoff)}s", 2.0, "600s")


def gpu(task: Any, wanted: Gpu | None = None) -> Any:
    """GPUs: their number and type, the nodes that have them, and room in /dev/shm. Fixed when the pipeline is compiled."""
    from kfp import kubernetes

    wanted = wanted or Gpu()
    task.set_accelerator_type(wanted.type).set_accelerator_limit(wanted.count)
    kubernetes.add_toleration(task, key=wanted.type, operator="Exists", effect="NoSchedule")
    if wanted.shared_memory:
        kubernetes.empty_dir_mount(task, "shm", _SHARED_MEMORY, medium="Memory", size_limit=wanted.shared_memory)
    return _pool(task, wanted)


def spot(task: Any, wanted: Spot) -> Any:
    """Nodes that may be taken away at any time, and retries: for steps that go on from a checkpoint."""
    return retry(_pool(task, wanted), wanted.retries, wanted.backoff)


def secret(task: Any, wanted: SecretEnv | SecretFor) -> Any:
    """Keys of a Secret as environment variables; their values never stand in the pipeline."""
    from kfp import kubernetes

    return kubernetes.use_secret_as_env(task, wanted.name, dict(wanted.env), optional=wanted.optional)


def config_map(task: Any, wanted: ConfigMapFor) -> Any:
    """Keys of a ConfigMap as environment variables."""
    from kfp import kubernetes

    return kubernetes.use_config_map_as_env(task, wanted.name, dict(wanted.env), optional=wanted.optional)


def deployer(task: Any, secret_name: str) -> Any:
    """The token of the service account that deploys, as files."""
    from kfp import kubernetes

    return kubernetes.use_secret_as_volume(task, secret_name, DEPLOYER)


def scratch(task: Any, wanted: Scratch) -> Any:
    """Room for temporary files."""
    from kfp import kubernetes

    if wanted.kind == "claim":
        return kubernetes.mount_pvc(task, wanted.claim, wanted.path)
    if wanted.kind == "volume":
        return kubernetes.add_ephemeral_volume(
            task, "scratch", wanted.path, ["ReadWriteOnce"], wanted.size, wanted.storage_class or None
        )
    medium = "Memory" if wanted.kind == "memory" else None
    return kubernetes.empty_dir_mount(task, "scratch", wanted.path, medium=medium, size_limit=wanted.size)


def pull(task: Any, policy: str | None = None, secrets: tuple[str, ...] = ()) -> Any:
    """When the node pulls the image, and with which Secrets."""
    from kfp import kubernetes

    if policy:
        kubernetes.set_image_pull_policy(task, policy)
    return kubernetes.set_image_pull_secrets(task, list(secrets)) if secrets else task


def node(
    task: Any,
    selector: Mapping[str, str] | None = None,
    tolerations: tuple[Toleration, ...] = (),
    affinity: tuple[Affinity, ...] = (),
) -> Any:
    """Which nodes a step may run on."""
    from kfp import kubernetes

    for key, value in (selector or {}).items():
        kubernetes.add_node_selector(task, key, value)
    for each in tolerations:
        kubernetes.add_toleration(task, **{name: value for name, value in each.model_dump().items() if value})
    for term in affinity:
        matches = [match.model_dump(mode="json") for match in term.match]
        kubernetes.add_node_affinity(task, match_expressions=matches, weight=term.weight)
    return task


def labelled(task: Any, labels: Mapping[str, str], annotations: Mapping[str, str] | None = None) -> Any:
    """Labels and annotations of the pod, by which costs are told apart. KFP itself adds the run's id as `pipeline/runid`."""
    from kfp import kubernetes

    for key, value in labels.items():
        kubernetes.add_pod_label(task, key, value)
    for key, value in (annotations or {}).items():
        kubernetes.add_pod_annotation(task, key, value)
    return task


def security(task: Any, wanted: SecurityContext | None = None) -> Any:
    """Who the container runs as. KFP itself forbids more privileges, drops all capabilities and sets the default seccomp profile."""
    from kfp import kubernetes

    return kubernetes.set_security_context(task, **(wanted or SecurityContext()).model_dump())


def _pool(task: Any, wanted: Pool) -> Any:
    return node(task, wanted.node_selector, wanted.tolerations)


def _step(task: Any, settings: KubernetesSettings, kind: Kind) -> Any:
    step = task.component_spec.name
    if settings.display_names and step in TITLES:
        task.set_display_name(TITLES[step])
    own = settings.of(step, kind)
    resources(task, own)
    timeout(task, own.timeout or "off")
    retry(task, own.retries or 0, own.backoff or "30s")
    labelled(task, {"kfp-ratchet/step": step, **settings.labels}, settings.annotations)
    node(task, settings.node_selector, settings.tolerations, settings.node_affinity)
    pull(task, settings.image_pull_policy, settings.image_pull_secrets)
    _environment(task, step, settings)
    if own.scratch:
        scratch(task, own.scratch)
    if settings.security_context:
        security(task, settings.security_context)
    if settings.deployer_secret and "serving" in task.component_spec.inputs:
        deployer(task, settings.deployer_secret)
    if settings.gpu and step in settings.gpu.steps:
        gpu(task, settings.gpu)
    if settings.spot and kind == "fit" and step in settings.spot.steps:
        _pool(task, settings.spot)
    return task


def _environment(task: Any, step: str, settings: KubernetesSettings) -> None:
    for kind, parameter in _TAKES.items():
        given: SecretEnv | None = getattr(settings.secrets, kind)
        if given and parameter in task.component_spec.inputs:
            secret(task, given if given.env else given.model_copy(update={"env": {key: key for key in _KEYS[kind]}}))
    for each in settings.secrets.more:
        if step in each.steps:
            secret(task, each)
    for wanted in settings.config_maps:
        if not wanted.steps or step in wanted.steps:
            config_map(task, wanted)

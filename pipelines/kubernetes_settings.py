"""Section `kubernetes` of `ratchet.yaml`: what the pods of a pipeline ask of a cluster. Imports nothing of KFP."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = Literal["io", "fit"]
"""Class of a step: moves or looks at data, or fits and scores models."""
FIT = ("tune", "train", "evaluate")
STEPS = ("pin", "ingest", "validate", "prepare", *FIT, "gate", "register", "deploy", "approve", "notify")
"""Of both pipelines, known without importing KFP."""
RETRIED = ("pin", "ingest", "register", "notify")
"""Their effects and reads are the same when done twice, and a network's fault may be gone. A check that said no, or a rollout that was
undone, would only say it again."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
SecretKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
StepName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
LabelKey = Annotated[
    str, Field(pattern=r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")
]
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")]
Cpu = Annotated[str, Field(pattern=r"^([0-9]+m|[0-9]+(\.[0-9]+)?)$")]
Memory = Annotated[str, Field(pattern=r"^[1-9][0-9]*([EPTGM]i?|Ki)?$")]
Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]*[smhd]$")]
Timeout = Annotated[str, Field(pattern=r"^off$|^[1-9][0-9]*[smhd]$")]
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_POWERS = "KMGTPE"
_EXTRA_FORBID = ConfigDict(extra="forbid", frozen=True)


def seconds(duration: str) -> int:
    """Seconds of 90s, 30m, 6h or 2d; 0 of "off"."""
    return 0 if duration == "off" else int(duration[:-1]) * _SECONDS[duration[-1]]


def quantity(text: str) -> float:
    """The number that a Kubernetes quantity stands for: 0.5 of 500m, 1e9 of 1G, 2**30 of 1Gi."""
    number = text.rstrip("EPTGMKim")
    suffix = text[len(number) :]
    if suffix == "m":
        return float(number) / 1000
    power = _POWERS.index(suffix[0]) + 1 if suffix else 0
    return float(number) * float((1024 if suffix.endswith("i") else 1000) ** power)


class Toleration(BaseModel):
    """A taint of nodes that pods do not mind."""

    model_config = _EXTRA_FORBID

    key: str = Field(default="", description="Key of the taint; any when empty.")
    operator: Literal["Exists", "Equal"] = Field(default="Exists", description="Equal compares the value as well.")
    value: str = Field(default="", description="Value of the taint, with Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; any when not given."
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.operator == "Exists" and self.value:
            raise ValueError("value needs operator Equal: Exists takes any value")
        if self.operator == "Equal" and not self.key:
            raise ValueError("operator Equal needs a key")
        return self


class Match(BaseModel):
    """A condition on the labels of nodes."""

    model_config = _EXTRA_FORBID

    key: LabelKey = Field(description="Label of the node.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = Field(
        default="In", description="How its value is compared."
    )
    values: tuple[str, ...] = Field(
        default=(), description="Values to compare with; none with Exists and DoesNotExist."
    )

    @model_validator(mode="after")
    def _has_values(self) -> Self:
        if (self.operator in ("Exists", "DoesNotExist")) == bool(self.values):
            raise ValueError(f"operator {self.operator} takes {'no' if self.values else 'some'} values")
        return self


class Affinity(BaseModel):
    """Nodes that pods need or would like."""

    model_config = _EXTRA_FORBID

    match: tuple[Match, ...] = Field(min_length=1, description="Conditions on the node's labels; all must hold.")
    weight: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="How much such a node is preferred; when not given, the node must match this or another entry without weight.",
    )


class Scratch(BaseModel):
    """Room for files of a step that nobody needs afterwards."""

    model_config = _EXTRA_FORBID

    path: Annotated[str, Field(pattern=r"^/.+")] = Field(
        default="/tmp",  # noqa: S108
        description="Where it is mounted. Everything temporary is below /tmp, the files that `ingest` fetches included.",
    )
    kind: Literal["node", "memory", "volume", "claim"] = Field(
        default="node",
        description="node: the node's own disk (emptyDir); memory: counts as memory of the pod; volume: a volume made for the pod and "
        "removed with it; claim: a PersistentVolumeClaim that is there.",
    )
    size: Memory | None = Field(default=None, description="At most so much, e.g. 50Gi; needed for a volume.")
    storage_class: str = Field(default="", description="Class of the volume; the cluster's default when empty.")
    claim: str = Field(default="", description="Name of the claim.")

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if self.kind == "volume" and not self.size:
            raise ValueError("size is needed for kind volume")
        if (self.kind == "claim") != bool(self.claim):
            raise ValueError("claim and kind claim belong together")
        if self.kind == "claim" and self.size:
            raise ValueError("size: the claim has its own")
        if self.storage_class and self.kind != "volume":
            raise ValueError("storage_class is for kind volume")
        return self


class StepSettings(BaseModel):
    """Resources and limits of steps; what is not given is that of the step's class."""

    model_config = _EXTRA_FORBID

    cpu: Cpu | None = Field(default=None, description="CPUs asked for; 500m for io, 2 for fit.")
    cpu_limit: Cpu | None = Field(default=None, description="CPUs at most; no limit when not given.")
    memory: Memory | None = Field(default=None, description="Memory asked for; 1G for io, 4G for fit.")
    memory_limit: Memory | None = Field(default=None, description="Memory at most; 4G for io, 16G for fit.")
    timeout: Timeout | None = Field(
        default=None,
        description="How long one attempt may run on its node, such as 90s, 30m, 6h or 2d, or off; 6h for io, 24h for fit. It also ends "
        "what waits for a secret that does not exist.",
    )
    retries: int | None = Field(
        default=None,
        ge=0,
        le=20,
        description="How often a step that failed is tried again; 2 for pin, ingest, register and notify, else 0. Fit steps are tried "
        "again on a spot pool only, by `spot.retries`.",
    )
    backoff: Duration | None = Field(
        default=None, description="Wait before the first retry, doubled before each further one; 30s when not given."
    )
    scratch: Scratch | None = Field(
        default=None, description="Room for temporary files; the container's own layer when null."
    )


class SecretEnv(BaseModel):
    """Keys of a Kubernetes Secret as environment variables."""

    model_config = _EXTRA_FORBID

    name: Name = Field(description="Name of the Secret, in the namespace of the run.")
    env: dict[SecretKey, EnvName] = Field(default={}, description="Environment variable by key of the Secret.")
    optional: bool = Field(
        default=False,
        description="Whether a step starts without the variable when Secret or key is missing; else it waits until its timeout.",
    )


class _ForSteps(BaseModel):
    model_config = _EXTRA_FORBID

    name: Name = Field(description="Its name, in the namespace of the run.")
    env: dict[SecretKey, EnvName] = Field(min_length=1, description="Environment variable by key.")
    optional: bool = Field(
        default=False, description="Whether a step starts without the variable when it or the key is missing."
    )


class SecretFor(_ForSteps):
    """A Secret of the user's own for some steps."""

    steps: tuple[StepName, ...] = Field(min_length=1, description="The steps that get it.")


class ConfigMapFor(_ForSteps):
    """Keys of a ConfigMap as environment variables."""

    steps: tuple[StepName, ...] = Field(default=(), description="The steps that get it; all when empty.")


class Secrets(BaseModel):
    """Secrets by what they open. Each goes only to the steps that take a parameter of that kind."""

    model_config = _EXTRA_FORBID

    s3: SecretEnv | None = Field(
        default=None,
        description="Of the bucket that holds store and sources: for steps with a parameter `store`. AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY unless `env` says otherwise.",
    )
    mlflow: SecretEnv | None = Field(
        default=None,
        description="Of the registry: for steps with a parameter `tracking_uri`. MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD "
        "unless `env` says otherwise.",
    )
    notify: SecretEnv | None = Field(
        default=None,
        description="Where messages are sent: for steps with a parameter `notifications`. RATCHET_NOTIFY_URLS unless `env` says otherwise.",
    )
    more: tuple[SecretFor, ...] = Field(default=(), description="Others, such as the password of a source's database.")


class Pool(BaseModel):
    """Where pods of some steps go."""

    model_config = _EXTRA_FORBID

    steps: tuple[StepName, ...] = Field(default=FIT, min_length=1, description="The steps that go there.")
    node_selector: dict[LabelKey, LabelValue] = Field(default={}, description="Labels of the pool's nodes.")
    tolerations: tuple[Toleration, ...] = Field(default=(), description="Taints of the pool's nodes.")


class Gpu(Pool):
    """GPUs, and the nodes that have them."""

    steps: tuple[StepName, ...] = Field(default=("tune", "train"), min_length=1, description="The steps that get them.")
    count: int = Field(default=1, ge=1, description="GPUs of one pod; fixed when the pipeline is compiled.")
    type: Annotated[str, Field(pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")] = Field(
        default="nvidia.com/gpu",
        description="Resource of the device plugin. A taint of this name, which such nodes usually carry, is tolerated.",
    )
    shared_memory: Memory | None = Field(
        default="8Gi",
        description="Size of /dev/shm, for data loaders and NCCL; counts as memory of the pod. The container's 64 MB when null.",
    )


class Spot(Pool):
    """Nodes that may be taken away at any time: fit steps go on from their last checkpoint there."""

    retries: int = Field(default=5, ge=1, le=20, description="How often a step that lost its node is started again.")
    backoff: Duration = Field(
        default="30s", description="Wait before the first retry, doubled before each further one."
    )

    @model_validator(mode="after")
    def _only_fit_steps(self) -> Self:
        if others := [step for step in self.steps if step not in FIT]:
            raise ValueError(f"steps: {others[0]!r} is no fit step; only {', '.join(FIT)} go on where they were")
        return self


class SecurityContext(BaseModel):
    """Who the steps' containers run as."""

    model_config = _EXTRA_FORBID

    run_as_user: int = Field(default=65532, ge=0, description="User id; that of the images.")
    run_as_group: int = Field(default=65532, ge=0, description="Group id; that of the images.")
    run_as_non_root: bool = Field(default=True, description="Whether the kubelet refuses to start a container as root.")


class KubernetesSettings(BaseModel):
    """What the pods of a pipeline ask of a cluster. Runs on this machine ignore all of it."""

    model_config = _EXTRA_FORBID

    io: StepSettings = Field(default=StepSettings(), description="Steps that move or look at data.")
    fit: StepSettings = Field(default=StepSettings(), description="tune, train and evaluate.")
    steps: dict[StepName, StepSettings] = Field(default={}, description="Single steps, by name; before their class.")
    gpu: Gpu | None = Field(default=None, description="GPUs for steps; none when not given.")
    spot: Spot | None = Field(default=None, description="A pool of preemptible nodes for fit steps, with retries.")
    secrets: Secrets = Field(default=Secrets(), description="Secrets as environment variables.")
    config_maps: tuple[ConfigMapFor, ...] = Field(
        default=(), description="ConfigMaps as environment variables, such as AWS_REGION and AWS_ENDPOINT_URL."
    )
    deployer_secret: Name | None = Field(
        default=None,
        description="Secret with the token of the service account that deploys; mounted into `deploy` and `approve` alone.",
    )
    display_names: bool = Field(
        default=True,
        description="Whether tasks have names for people in the UI. Servers of Kubeflow Pipelines 2.5 and older do not find the outputs of "
        "a task that has one: set false for them.",
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        default=None, description="When the node pulls the image; Kubernetes' own rule when not given."
    )
    image_pull_secrets: tuple[Name, ...] = Field(default=(), description="Secrets of the image registry.")
    node_selector: dict[LabelKey, LabelValue] = Field(default={}, description="Labels of the nodes for every step.")
    tolerations: tuple[Toleration, ...] = Field(default=(), description="Taints that no step minds.")
    node_affinity: tuple[Affinity, ...] = Field(default=(), description="Nodes that every step needs or would like.")
    labels: dict[LabelKey, LabelValue] = Field(
        default={}, description="Labels of every pod, beside kfp-ratchet/step and kfp-ratchet/model."
    )
    annotations: dict[LabelKey, str] = Field(default={}, description="Annotations of every pod.")
    security_context: SecurityContext | None = Field(
        default=None, description="Who containers run as; whoever the image says when not given, which is 65532."
    )

    def of(self, step: str, kind: Kind) -> StepSettings:
        """Everything that holds for one step: the package's defaults, its class's, its own."""
        defaults: Mapping[str, str | int] = (
            {"cpu": "2", "memory": "4G", "memory_limit": "16G", "timeout": "24h"}
            if kind == "fit"
            else {"cpu": "500m", "memory": "1G", "memory_limit": "4G", "timeout": "6h"}
        )
        retries = 2 if step in RETRIED else 0
        if self.spot and kind == "fit" and step in self.spot.steps:
            retries = self.spot.retries
        own = self.fit if kind == "fit" else self.io
        # Null is "as the class has it", but for scratch it is "none".
        given = {
            key: value
            for settings in (own, self.steps.get(step, StepSettings()))
            for key, value in settings.model_dump(exclude_unset=True).items()
            if value is not None or key == "scratch"
        }
        backoff = self.spot.backoff if self.spot and kind == "fit" else "30s"
        return StepSettings.model_validate({"retries": retries, "backoff": backoff, **defaults, **given})

    def named_steps(self) -> dict[str, str]:
        """Every step that is named somewhere, by the key that names it."""
        pools: dict[str, Pool | None] = {"gpu": self.gpu, "spot": self.spot}
        steps = {f"{key}.steps": pool.steps for key, pool in pools.items() if pool}
        steps |= {f"secrets.more.{index}.steps": each.steps for index, each in enumerate(self.secrets.more)}
        steps |= {f"config_maps.{index}.steps": each.steps for index, each in enumerate(self.config_maps)}
        named = {f"{key}.{index}": step for key, each in steps.items() for index, step in enumerate(each)}
        return {**{f"steps.{step}": step for step in self.steps}, **named}

    def labelled(self, **labels: str) -> "KubernetesSettings":
        """With labels of every pod added under `kfp-ratchet/`; the empty ones are left out."""
        more = {f"kfp-ratchet/{key}": value for key, value in labels.items() if value}
        return self.model_copy(update={"labels": {**more, **self.labels}})

    @model_validator(mode="after")
    def _steps_can_run(self) -> Self:
        for where, step, kind in self._classes():
            merged = self.of(step, kind)
            given = self.steps.get(step) or (self.fit if kind == "fit" else self.io)
            if kind == "fit" and (given.retries or given.backoff):
                raise ValueError(f"{where}: fit steps are tried again on a spot pool only; set spot.retries")
            for resource in ("cpu", "memory"):
                asked, most = getattr(merged, resource), getattr(merged, f"{resource}_limit")
                if asked and most and quantity(asked) > quantity(most):
                    raise ValueError(f"{where}: {resource} {asked} is more than {resource}_limit {most}")
        return self

    def _classes(self) -> list[tuple[str, str, Kind]]:
        named: list[tuple[str, str, Kind]] = [
            (f"steps.{step}", step, "fit" if step in FIT else "io") for step in self.steps
        ]
        return [("io", "", "io"), ("fit", "", "fit"), *named]

"""Where and how a model is served; the section `serving` of `ratchet.yaml`."""

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from kfp_ratchet.components.shared.canonical import loads
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.parameters import parse_parameter

LEASE = timedelta(minutes=10)
"""How long a deploy that does not end keeps others out, by the store's clock."""
_LONGEST = LEASE - timedelta(minutes=1)
"""What a deploy may plan to wait where no lock protects it: the rest is for its requests."""


class Serving(BaseModel):
    """A model server on this machine, replaced without a gap."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: Literal["local"] = Field(default="local", description="Where to serve: a process on this machine.")
    folder: str = Field(
        default=".ratchet/serving", min_length=1, description="Folder of the served versions and of what is live."
    )
    port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Port on 127.0.0.1 that whatever is live answers on; 0 takes a free one for each version.",
    )
    startup_seconds: int = Field(
        default=120, gt=0, description="How long a server may take until it answers, in seconds."
    )
    keep_versions: int = Field(
        default=3, ge=1, description="How many former champions' folders are kept for a quick rollback."
    )


class Canary(BaseModel):
    """A few pods of a new version among those that clients reach, before all of them are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    replicas: int = Field(
        default=1, ge=1, description="How many; clients reach them in the proportion of these to serving.replicas."
    )
    seconds: int = Field(default=30, ge=1, description="How long they are watched.")


class KubernetesServing(BaseModel):
    """A Deployment for each version, and one Service whose selector moves from the old one to the new (blue-green)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: Literal["kubernetes"] = Field(
        default="kubernetes", description="Where to serve: Deployments behind a Service of Kubernetes."
    )
    namespace: str = Field(
        default="",
        pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$",
        description="Namespace; the deployer's own when not given.",
    )
    image: str = Field(default="", description="Image of server and fetcher; the package's own `serve` when not given.")
    pull_secrets: list[str] = Field(default=[], description="Names of the Secrets that the image is pulled with.")
    replicas: int = Field(default=1, ge=1, description="How many pods serve.")
    cpu: str = Field(default="250m", description="Processor share that a pod asks for.")
    memory: str = Field(default="2Gi", description="Memory that a pod asks for and may not exceed.")
    fetch_secrets: list[str] = Field(
        default=[],
        description="Names of the Secrets whose keys only the init container gets as environment: what reaches MLflow and S3.",
    )
    fetch_environment: dict[str, str] = Field(
        default={}, description="More of its environment, nothing secret, such as AWS_ENDPOINT_URL."
    )
    node_selector: dict[str, str] = Field(default={}, description="Labels of the nodes to serve on.")
    tolerations: list[dict[str, Any]] = Field(
        default=[], description="Taints that are tolerated, as Kubernetes has them."
    )
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = Field(
        default="ClusterIP", description="Type of the Service that clients ask."
    )
    startup_seconds: int = Field(
        default=480, gt=0, description="How long pods may take until they are ready, image pull included, in seconds."
    )
    canary: Canary | None = Field(
        default=None, description="Pods that take a share of the clients before the switch; none when not given."
    )
    bake_seconds: int = Field(
        default=30, ge=0, description="How long a version is watched once clients reach it, before it becomes champion."
    )
    max_latency_ms: int = Field(
        default=0, ge=0, description="Longest answer to the probe's rows while it is watched, in ms; 0 for any."
    )
    keep_minutes: int = Field(
        default=10, ge=0, description="How long the former champion's pods are kept for a quick rollback."
    )

    @model_validator(mode="after")
    def _ends_within_the_lease(self) -> Self:
        """A deploy that is alive but slow would be taken over."""
        canary, longest = self.canary.seconds if self.canary else 0, int(_LONGEST.total_seconds())
        together = self.startup_seconds + self.bake_seconds + canary
        if together > longest:
            keys = "startup_seconds, canary.seconds" if canary else "startup_seconds"
            raise ValueError(
                f"{keys} and bake_seconds together are {together}, more than {longest}: "
                f"after {int(LEASE.total_seconds())} s a deploy counts as dead and another may take over"
            )
        return self


def _target(value: Any) -> Any:
    return value.get("target", "local") if isinstance(value, dict) else getattr(value, "target", None)


AnyServing = Annotated[
    Annotated[Serving, Tag("local")] | Annotated[KubernetesServing, Tag("kubernetes")],
    Discriminator(_target, custom_error_type="target", custom_error_message="target must be local or kubernetes"),
]
"""By `target`, which is `local` where it is not given."""


def parse_serving(text: str) -> Serving | KubernetesServing:
    """Read the JSON parameter `serving`; an empty text means all defaults.

    Raises:
        InputError: Not JSON, an unknown target or key, or a bad value.
    """
    kinds: dict[Any, type[Serving] | type[KubernetesServing]] = {"local": Serving, "kubernetes": KubernetesServing}
    try:
        named = _target(loads(text or "{}"))
    except ValueError:
        named = "local"  # Said below.
    if named not in kinds and named is not None:
        raise InputError(f"serving.target: there is no target {named!r}", f"there are {', '.join(kinds)}")
    return parse_parameter(kinds.get(named, Serving), text, "serving")

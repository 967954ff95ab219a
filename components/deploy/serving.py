"""Where and how a model is served; the section `serving` of `ratchet.yaml`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


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

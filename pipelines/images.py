"""Section `images` of `ratchet.yaml`: which container images the steps run in."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from kfp_ratchet.components._image import SERVE, SLIM, TRAIN, VERSION

Kind = Literal["slim", "train", "serve"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_DEFAULTS: Mapping[str, Kind] = MappingProxyType({SLIM: "slim", TRAIN: "train", SERVE: "serve"})
_COMPONENT = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"


class Images(BaseModel):
    """Names of the three images, as in REGISTRY/REPOSITORY/slim:TAG."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    registry: str = Field(
        default="",
        pattern=rf"^$|^[A-Za-z0-9.-]+(:[0-9]+)?(/{_COMPONENT})*$",
        description="Host of the registry, with a port and the first part of the path where it has them; Docker Hub when empty.",
        examples=["registry.example.com:5000/team"],
    )
    repository: str = Field(
        default="kfp-ratchet",
        pattern=rf"^{_COMPONENT}(/{_COMPONENT})*$",
        description="Path of the images there: the image's own name, slim, train or serve, comes after it.",
        examples=["flights"],
    )
    tag: str = Field(
        default=VERSION,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$",
        description="Tag of the images; the version of the package when not given.",
        examples=["2025-06"],
    )

    def reference(self, kind: Kind) -> str:
        """The full reference of an image."""
        prefix = f"{self.registry}/" if self.registry else ""
        return f"{prefix}{self.repository}/{kind}:{self.tag}"

    @property
    def slim(self) -> str:
        """Every step but tune, train and evaluate."""
        return self.reference("slim")

    @property
    def train(self) -> str:
        """Tune, train and evaluate."""
        return self.reference("train")

    @property
    def serve(self) -> str:
        """The model server."""
        return self.reference("serve")

    def in_yaml(self, text: str) -> str:
        """A compiled pipeline with these images in place of the package's own."""
        return _replaced(text, {default: self.reference(kind) for default, kind in _DEFAULTS.items()})

    def used(self, text: str) -> list[str]:
        """Those of the references that a compiled pipeline names."""
        return [each for each in map(self.reference, KINDS) if re.search(_pattern(each), text)]


def pinned(text: str, digests: Mapping[str, str]) -> str:
    """A compiled pipeline with image@sha256:… for each reference, in steps and in defaults of parameters.

    Args:
        text: YAML.
        digests: Digest by reference.
    """
    return _replaced(text, {each: f"{each.rpartition(':')[0]}@{digest}" for each, digest in digests.items()})


def _replaced(text: str, names: Mapping[str, str]) -> str:
    return re.sub("|".join(map(_pattern, names)), lambda found: names[found[0]], text) if names else text


def _pattern(reference: str) -> str:
    # Not the end of another registry's image, nor the start of a longer tag.
    return rf"(?<![\w./:-]){re.escape(reference)}(?![\w-]|\.\w)"

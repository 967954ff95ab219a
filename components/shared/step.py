"""What makes a function a step: a lightweight KFP component in one of the package's images, which must hold this version."""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from kfp_ratchet.components import VERSION_WANTED
from kfp_ratchet.components._image import VERSION


def step(image: str) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: the function's source goes into the YAML, with this package's version, which the image's package is held against.

    Args:
        image: Reference of the container image.
    """

    def made(function: Callable[..., Any]) -> Any:
        component = dsl.component(function, base_image=image, install_kfp_package=False)
        component.component_spec.implementation.container.env = {VERSION_WANTED: VERSION}
        return component

    return made

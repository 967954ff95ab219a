"""The steps. Importing any of them in a container first checks that its image is of the version that its YAML was compiled with."""

import os

from kfp_ratchet.components._image import VERSION

VERSION_WANTED = "RATCHET_VERSION"
"""Environment variable of each step's container: the package version of the compiled YAML."""


def _check_version(wanted: str) -> None:
    # At import, since a step of another version may take other arguments than the ones that it is about to be given.
    if wanted not in ("", VERSION):
        from kfp_ratchet.components.shared.errors import InputError

        image = os.environ.get("RATCHET_IMAGE", "")
        raise InputError(
            f"the YAML was compiled with kfp-ratchet {wanted}, and the image{image and ' '}{image} holds {VERSION}",
            f"build and push the images of {wanted} (`ratchet images build`), or compile again with {VERSION}",
        )


_check_version(os.environ.get(VERSION_WANTED, ""))

"""Git and a server, side by side: compile what is declared, and read what is there."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.names import suggestion
from kfp_ratchet.pipelines.declared import Declared
from kfp_ratchet.pipelines.server.plan import Sides
from kfp_ratchet.pipelines.server.snapshot import take_snapshot
from kfp_ratchet.pipelines.server.wanted import owner_of, wanted_pipelines
from kfp_ratchet.pipelines.time_zones import time_zone

if TYPE_CHECKING:
    from kfp_ratchet.pipelines.server.connection import Server


def both_sides(
    declared: Declared, server: "Server", digest: Callable[[str], str] | None = None, adopt: Iterable[str] = ()
) -> Sides:
    """What Git says, and what is there.

    Args:
        declared: A `pipelines.yaml`.
        server: To read.
        digest: Digest by image reference, to pin the images; without it they keep their tags.
        adopt: Pipelines to take over from someone else.

    Raises:
        InputError: A pipeline cannot be compiled, a parameter does not fit, or a pipeline to adopt is not declared.
    """
    from kfp_ratchet.pipelines.compile import compiled_pipelines

    for name in adopt:
        if name not in declared.pipelines:
            raise InputError(
                f"pipelines.yaml declares no pipeline {name!r} to adopt", suggestion(name, declared.pipelines)
            )
    compiled = compiled_pipelines(declared, digest)
    wanted = wanted_pipelines(declared, {name: one.spec for name, one in compiled.items()})
    owner = owner_of(declared)
    return Sides(
        owner=owner,
        wanted=wanted,
        experiments=declared.experiments,
        snapshot=take_snapshot(server, wanted, owner),
        zone=time_zone(server.settings.time_zone),
        adopt=frozenset(adopt),
    )

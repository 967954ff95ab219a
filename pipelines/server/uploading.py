"""Upload a version so that it is the newest, once, however many do it at the same time."""

import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.declared import as_database
from kfp_ratchet.pipelines.pipeline_text import digest_of
from kfp_ratchet.pipelines.server.errors import ConflictError, ServerError
from kfp_ratchet.pipelines.server.objects import Pipeline, Version
from kfp_ratchet.pipelines.server.snapshot import newest_versions, owner, the_newest
from kfp_ratchet.pipelines.server.wanted import WantedPipeline

if TYPE_CHECKING:
    from datetime import datetime

    from kfp_ratchet.pipelines.pipeline_text import PipelineText
    from kfp_ratchet.pipelines.server.connection import Server

_TRIES = 5
_LOOK = 0.2
"""Seconds between looks at the server's clock."""
_LOOKS = 12
_NUMBER = re.compile(r"([0-9]+)\.([0-9]+)")


def upload(server: "Server", pipeline: Pipeline, wanted: WantedPipeline) -> tuple[Version, bool]:
    """Make the wanted content the newest version of a pipeline.

    Returns:
        The version, and whether this call uploaded it: someone else may have been faster with the same.

    Raises:
        ServerError: Someone uploads other content at the same time.
    """
    present = newest_versions(server, pipeline.id)
    for _ in range(_TRIES):
        if _is_newest(present, wanted) and owner(pipeline, present[:1]) == wanted.owner:
            return present[0], False
        # Of two versions in one second nobody can tell which is newer, and schedules without a version take the newest.
        wait_until_after(server, present[0].created if present else None)
        try:
            made = server.upload_version(
                pipeline.id, free_name(wanted.version_name, present), wanted.version_description, wanted.spec.text
            )
        except ConflictError:
            present = server.versions(pipeline.id)
            continue
        present = newest_versions(server, pipeline.id)
        if _is_newest(present, wanted):
            return made, True
        # Of two in the same second one gives way, and everyone takes the same for it; the other one uploads again.
        if present[0].id != made.id:
            raise ServerError(
                f"{pipeline.name}: someone else uploaded {present[0].name} at the same time as this {made.name}",
                "apply again once it is clear whose is to be the newest",
            )
    raise ServerError(
        f"{pipeline.name}: the name {wanted.version_name} was taken by others {_TRIES} times in a row",
        "find out who else uploads there",
    )


def refuse_what_fails_later(text: "PipelineText", name: str, server_version: str) -> None:
    """Refuse what the server would take now, and fail on at each run, or show to everyone.

    Args:
        text: A pipeline.
        name: Of it, for messages.
        server_version: "" when the server does not say.

    Raises:
        InputError: The graph leads nowhere, a credential is in it, or it was compiled for a newer server.
    """
    from kfp_ratchet.pipelines.lint import graph, lint, secrets

    found = [one for one in lint(text.text, name) if one.rule in (graph.RULE, secrets.RULE)]
    if found:
        raise InputError("; ".join(f"{name}: {one.task}: {one.message}" for one in found), found[0].remedy)
    needs, has = _number(text.sdk_version), _number(server_version)
    if needs and has and needs > has:
        raise InputError(
            f"{name} was compiled by {text.sdk_version}, and the server is of version {server_version}",
            f"compile it with kfp {has[0]}.{has[1]}, or bring the server up to {needs[0]}.{needs[1]}",
        )


def wait_until_after(server: "Server", moment: "datetime | None") -> None:
    """Wait until the server's clock is past a second."""
    for _ in range(_LOOKS if moment else 0):
        now = server.health().now
        if moment is None or (now and now.replace(microsecond=0) > moment.replace(microsecond=0)):
            return
        time.sleep(_LOOK)


def free_name(name: str, taken: Sequence[Version]) -> str:
    """A name that no version has: with -2, -3 and so on where it is taken."""
    names = {as_database(one.name) for one in taken}
    numbered = (f"{name}-{number}" for number in range(2, len(names) + 3))
    return next(each for each in (name, *numbered) if as_database(each) not in names)


def _is_newest(present: Sequence[Version], wanted: WantedPipeline) -> bool:
    newest = the_newest(present)
    return newest is not None and digest_of(newest.spec) == wanted.digest


def _number(version: str) -> tuple[int, int] | None:
    found = _NUMBER.search(version)
    return (int(found[1]), int(found[2])) if found else None

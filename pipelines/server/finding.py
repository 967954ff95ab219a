"""Find a run by what a person says of it."""

import re
from typing import TYPE_CHECKING

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.server.objects import Run

if TYPE_CHECKING:
    from kfp_ratchet.pipelines.server.connection import Server

LAST = "last"
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHORTEST = 4


def find_run(which: str, server: "Server") -> Run:
    """The run that is meant.

    Args:
        which: Its id, a beginning of it that no other run has, or `last`.
        server: Where it is.

    Raises:
        InputError: There is none, or several begin so.
        NotFoundError: There is none of that id.
    """
    if _ID.fullmatch(which):
        return server.run(which)
    if which == LAST:
        newest = server.runs(limit=1)
        if not newest:
            raise InputError("there is no run on the server", "start one: ratchet submit")
        return newest[0]
    if len(which) < _SHORTEST or not re.fullmatch(r"[0-9a-f-]+", which):
        raise InputError(
            f"{which!r} is no id of a run",
            f"give an id, at least {_SHORTEST} of its first characters, or {LAST}; `ratchet runs list` shows them",
        )
    found = [one for one in server.runs() if one.id.startswith(which)]
    if not found:
        raise InputError(f"no run's id begins with {which!r}", "`ratchet runs list --all` shows them")
    if len(found) > 1:
        raise InputError(
            f"{len(found)} runs' ids begin with {which!r}: {', '.join(one.id for one in found[:5])}", "give more of it"
        )
    return server.run(found[0].id)

"""Call a project's feed, in a process of its own: what it prints, changes or breaks stays there."""

import sys
import traceback
from importlib import import_module
from pathlib import Path

from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.log import last_line
from kfp_ratchet.pipelines.project import Project
from kfp_ratchet.pipelines.replay.child import call

_LOG = "feed.log"


def feed(project: Project, name: str, period: str) -> None:
    """Let arrive what had arrived by the end of a period.

    Args:
        project: The replay's copy, where the feed works.
        name: module:function.
        period: As in `replay.yaml`.

    Raises:
        InputError: The feed cannot be imported.
        RatchetError: It failed.
    """
    log = project.folder / _LOG
    done = call(project, __name__, name, period)
    log.write_text(done.stdout + done.stderr)
    if done.returncode:
        told = last_line(done.stderr) or f"it ended with status {done.returncode}"
        kind, failed = (
            (InputError, "cannot be imported") if done.returncode == 2 else (RatchetError, f"failed at {period}")
        )
        raise kind(f"the feed {name} {failed}: {told}", f"see {log}; the replay goes on from here when it is mended")


def _main(name: str, period: str) -> int:
    module, _, attribute = name.partition(":")
    try:
        function = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, SyntaxError):
        traceback.print_exc()
        return 2
    try:
        function(period, Path.cwd())
    except Exception:
        traceback.print_exc()
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))

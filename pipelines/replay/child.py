"""Run a module of this package where a project's steps run: in its folder, with its own modules in reach."""

import subprocess
import sys

from kfp_ratchet.pipelines.project import Project


def call(project: Project, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m module` to its end; an interruption of this process ends it too.

    Returns:
        Its exit status, and what it printed.
    """
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", module, *arguments],
        cwd=project.folder,
        env=project.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )

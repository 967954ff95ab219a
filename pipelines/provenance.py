"""What only the submitter of a run knows: the Git commit of the project, and which compiled YAML runs."""

import os
import subprocess
from collections.abc import Mapping
from getpass import getuser
from pathlib import Path

from kfp_ratchet.components.shared.canonical import dumps
from kfp_ratchet.components.shared.credentials import public_address

_SECONDS = 10
_OURS = ".ratchet"


def provenance(folder: Path) -> dict[str, str | bool]:
    """Commit, whether it is dirty, and repository of a project's folder; only what there is to say.

    Dirty is a project of which a file is not as in the commit, or is new and not ignored. What lies outside its folder, and what runs leave
    in `.ratchet`, does not count. Without Git, a repository or a commit there is nothing to say, and nothing fails.
    """
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    # A folder that the repository around it ignores is none of its own: that commit says nothing about it.
    if not commit or _git(folder, "check-ignore", "--quiet", ".") is not None:
        return {}
    changed = _git(folder, "status", "--porcelain", "--", ".", f":(exclude){_OURS}")
    remote = _git(folder, "remote", "get-url", "origin")
    return {
        "commit": commit,
        **({} if changed is None else {"dirty": bool(changed)}),
        **({"repository": public_address(remote)} if remote else {}),
    }


def authored(folder: Path) -> str:
    """When the commit of a project's folder was written, as ISO text with its author's time zone; "" when there is nothing to say."""
    return _git(folder, "log", "-1", "--format=%aI") or ""


def parameter(told: Mapping[str, str | bool], yaml_digest: str) -> str:
    """The pipeline parameter `provenance`."""
    return dumps({**told, "yaml_digest": yaml_digest, **_user()})


def _user() -> dict[str, str]:
    try:
        return {"submitted_by": getuser()}
    except (OSError, KeyError):  # a container's user may have no name
        return {}


def _git(folder: Path, *arguments: str) -> str | None:
    """What a Git command prints, None when it fails or cannot be run; it changes nothing."""
    # Within a hook, Git's own variables would lead to another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603
            # A repository may name a program of its own there.
            ["git", "-c", "core.fsmonitor=false", *arguments],  # noqa: S607
            cwd=folder,
            env={**environment, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

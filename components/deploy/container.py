"""A model server as a Docker container of its own, beside the container of the step that starts it.

It shares the machine's network and process numbers, so everything else about servers is as if it were a process started here: it is
asked, found, told to take clients, and stopped the same way, also from outside of Docker.
"""

import os
import re
import shlex
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.log import last_line

SERVE_IMAGE = "RATCHET_SERVE_IMAGE"
"""Environment variable: the image that servers run in; "" starts them as processes."""
PASSED = "RATCHET_PASSED"
"""Environment variable: names of further variables that a run hands on to its containers."""
MODEL_LABEL = "kfp-ratchet.model-folder"
_PREFIXES = ("AWS_", "MLFLOW_", "DVC_", "OMP_", "ALLOW_HTTP")
_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "USER", "LOGNAME", "TZ", "GIT_SSH_COMMAND")
_ADDRESS = re.compile(r"^listening on (http://\S+)$", re.MULTILINE)
_POLL_SECONDS = 0.02
_BIND_SECONDS = 60.0


def passed(environment: Mapping[str, str]) -> dict[str, str]:
    """What of an environment containers get: credentials and settings of stores, proxies, the user's name, and what `PASSED` names."""
    named = {*_NAMES, *(name.lower() for name in _NAMES), *environment.get(PASSED, "").split()}
    return {name: value for name, value in environment.items() if name.startswith(_PREFIXES) or name in named}


def start(image: str, command: list[str], log: Path, temporary: Path) -> tuple[int, list[str]]:
    """Start a server; it outlives the step, and is removed when it ends.

    It sees the working directory (read-only, for the user's modules) and the folder of its log, both under their own names.

    Args:
        image: Holds this package and what the model needs.
        command: Of the server; it prints the addresses that it has bound.
        log: File for its output.
        temporary: Folder for its temporary files.

    Returns:
        Its process, and the URLs that it listens on.

    Raises:
        RatchetError: Docker cannot start it, or it ended before it had its addresses.
    """
    try:
        import docker
    except ImportError:
        raise RatchetError(
            f"the model server runs in the image {image}, and the Python package docker is not installed here",
            "pip install 'kfp-ratchet[docker]'",
        ) from None
    log.write_bytes(b"")
    try:
        with closing(docker.from_env()) as client:
            container = client.containers.run(image, **_arguments(command, log, temporary), detach=True)
            container.reload()
            pid = int(container.attrs["State"]["Pid"])
    except docker.errors.DockerException as error:
        raise RatchetError(
            f"Docker cannot start the model server in {image}: {error}", "see docs/docker.md of kfp-ratchet"
        ) from error
    wanted = sum(word in ("--listen", "--public") for word in command)
    deadline = time.monotonic() + _BIND_SECONDS
    while len(urls := _ADDRESS.findall(log.read_text(errors="replace"))) < wanted:
        if not pid or not Path(f"/proc/{pid}").exists() or time.monotonic() > deadline:
            said = last_line(log.read_text(errors="replace")) or "nothing"
            raise RatchetError(f"the model server has no address to serve on; the last it said: {said}", f"see {log}")
        time.sleep(_POLL_SECONDS)
    return pid, urls


def _arguments(command: list[str], log: Path, temporary: Path) -> dict[str, Any]:
    from docker.types import Mount

    here = Path.cwd()
    places = [(here, here, True), (log.parent, log.parent, False), (temporary, Path("/tmp"), False)]  # noqa: S108
    return {
        "entrypoint": ["sh", "-c", f"exec {shlex.join(command)} >{shlex.quote(str(log))} 2>&1"],
        "command": [],
        "environment": {**passed(os.environ), "PYTHONPATH": str(here), "PYTHONUTF8": "1"},
        "mounts": [Mount(str(target), str(source), "bind", read_only=only) for source, target, only in places],
        "working_dir": str(here),
        "user": f"{os.getuid()}:{os.getgid()}",
        "group_add": [str(group) for group in os.getgroups()],
        "labels": {MODEL_LABEL: str(log.parent)},
        "network_mode": "host",
        "pid_mode": "host",
        "userns_mode": "host",
        "read_only": True,
        "security_opt": ["no-new-privileges", "label=disable"],
        "healthcheck": {"test": ["NONE"]},
        # Not restarted either: what live.json says is a process, and `ratchet status --start` starts another.
        "auto_remove": True,
    }

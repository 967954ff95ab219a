"""Steps as Docker containers: what `ratchet run --runner docker` adds to the DockerRunner of `kfp.local`.

A container shares the machine's network and process numbers and sees the project under its own path, as its user: so paths, addresses
and pids mean the same inside and outside, and the journal, the watchdog and `ratchet stop` need not know of Docker.
"""

import codecs
import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict

from kfp_ratchet.components.deploy.container import PASSED, SERVE_IMAGE, passed
from kfp_ratchet.components.deploy.serving import Serving
from kfp_ratchet.components.shared.canonical import digest, digest_file, dumps, loads
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.source import python_files
from kfp_ratchet.pipelines.project import Project

RUN_LABEL = "kfp-ratchet.run"
"""Label of each step's container: the run's folder."""
_OWNER_LABEL = "kfp-ratchet.owner"
"""Pid and creation time of the process that runs the pipeline: with it gone, the container is nobody's."""
_PROJECT_LABEL = "kfp-ratchet.project"
_SOCKET = "/var/run/docker.sock"
_STARTS_SERVERS = ("deploy", "approve")
_IMAGE = re.compile(r"^\s*image: *(\S+)\s*$", re.MULTILINE)
_DVC = re.compile(r"^dvc://([^@:]+)(@[^:]*)?:.*$", re.DOTALL)
"""Of a Git repository in a folder."""
_SHARED_MEMORY = "1g"
"""A bound, not a reservation: Docker's own of 64 MB is too small for workers that hand over tensors."""
_STOP_SECONDS = 5.0


class Containers(BaseModel):
    """How a run's containers are set up; part of `request.json`, so it names environment variables and holds no values."""

    model_config = ConfigDict(frozen=True)

    project: str
    mounts: dict[str, bool]
    """Whether it can be written, by path on this machine, which is also the path in the container."""
    environment: list[str]
    """Names of the variables that are handed on."""
    serve_image: str
    gpu: bool = False


def check(project: Project, device: str, package: str) -> tuple[dict[str, str], bool]:
    """What a run finds in Docker; images that are not here are pulled.

    Args:
        project: The project, with the run's parameters.
        device: What it asks for: auto, cpu, cuda or cuda:N.
        package: Path of a compiled pipeline; "" when the project's own is run.

    Returns:
        Id by reference of the images that the run needs, and whether containers may have GPUs.

    Raises:
        InputError: Docker cannot be used, it has no GPUs though `device` asks for one, or an image cannot be had.
    """
    with connected() as client:
        info = client.info()
        if "name=rootless" in info.get("SecurityOptions") or []:
            raise InputError(
                "this Docker daemon runs rootless: its containers have a network and users of their own",
                "use the system's daemon (DOCKER_HOST=unix:///var/run/docker.sock), or leave out --runner docker",
            )
        has_gpu = "nvidia" in info.get("Runtimes", {})
        if device.startswith("cuda") and not has_gpu:
            raise InputError(
                f"device is {device}, but Docker has no NVIDIA runtime",
                "install the NVIDIA container toolkit, or set device to auto or cpu",
            )
        images = project.config.images
        needed = [images.slim, images.train, images.serve]
        if package:
            named = _IMAGE.findall(Path(package).read_text(encoding="utf-8"))
            needed = [*dict.fromkeys(name.strip("'\"") for name in named), images.serve]
        return {image: _id(client, image) for image in needed}, has_gpu and device != "cpu"


def planned(project: Project, source: str, names: Sequence[str], mounts: Sequence[Path], gpu: bool) -> Containers:
    """How the containers of a run are set up.

    Args:
        project: The project, with the run's parameters.
        source: Where the run's data is.
        names: Environment variables to hand on besides the usual ones.
        mounts: Further files and folders that the steps read.
        gpu: Whether they may have the machine's GPUs.

    Raises:
        InputError: One of them does not exist.
    """
    for name in names:
        if name not in os.environ:
            raise InputError(f"--env {name}: the environment has no such variable", f"write --env {name}=VALUE")
    for path in mounts:
        if not path.exists():
            raise InputError(f"--mount {path}: there is no such file or folder", "check the path")
    folder = project.folder
    places = {str(path.resolve()): False for path in [*mounts, *_local(source, folder)]}
    local_serving = [project.serving.folder] if isinstance(project.serving, Serving) else []
    for uri in (project.store.uri, project.tracking_uri, *local_serving):
        for path in _local(uri, folder):
            # What is not there yet is made here: Docker would make it root's.
            made = path.parent if uri.startswith("sqlite:") else path
            made.mkdir(parents=True, exist_ok=True)
            places[str(made.resolve())] = True
    outside = {path: writable for path, writable in places.items() if not Path(path).is_relative_to(folder)}
    usual = passed(os.environ)
    more = [*names, *filter(None, [project.config.notifications.urls_env])]
    return Containers(
        project=str(folder),
        mounts={**outside, str(folder): True},
        environment=[*usual, *(name for name in more if name not in usual and name in os.environ)],
        serve_image=project.config.images.serve,
        gpu=gpu,
    )


def code_digest(project: Project, images: Mapping[str, str]) -> str:
    """Digest of the code that containers run: the images, and the project's Python files."""
    files = {str(path): digest_file(path) for path in python_files(project.folder)}
    return digest(dumps({"images": dict(images), "files": files}))


def runner(containers: Containers, folder: Path) -> Any:
    """The DockerRunner of `kfp.local` for a run's steps.

    Args:
        containers: How they are set up.
        folder: The run's folder.
    """
    from docker.types import DeviceRequest
    from kfp import local
    from kfp.local import docker_task_handler

    docker_task_handler.run_docker_container = run_container
    own = {
        name: os.environ[name]
        for name in ("RATCHET_DATA", "RATCHET_RUN", "PYTHONUTF8", "PYTHONUNBUFFERED", "USER")
        if name in os.environ
    }
    owner = psutil.Process()
    return local.DockerRunner(
        environment={
            **own,
            **{name: os.environ[name] for name in containers.environment if name in os.environ},
            "PYTHONPATH": containers.project,
            "GIT_PYTHON_REFRESH": "quiet",
            SERVE_IMAGE: containers.serve_image,
            PASSED: " ".join(containers.environment),
        },
        # On disk, not in memory: some steps write large temporary files. The run's own folder for them, which goes with it.
        mounts=[
            _mount(os.environ["TMPDIR"], "/tmp"),  # noqa: S108
            *(_mount(path, path, not rw) for path, rw in containers.mounts.items()),
        ],
        working_dir=containers.project,
        user=f"{os.getuid()}:{os.getgid()}",
        group_add=[str(group) for group in os.getgroups()],
        labels={
            RUN_LABEL: str(folder),
            _PROJECT_LABEL: containers.project,
            _OWNER_LABEL: f"{owner.pid} {owner.create_time()}",
        },
        network_mode="host",
        pid_mode="host",
        userns_mode="host",
        read_only=True,
        security_opt=["no-new-privileges", "label=disable"],
        shm_size=_SHARED_MEMORY,
        device_requests=[DeviceRequest(count=-1, capabilities=[["gpu"]])] if containers.gpu else [],
        # Its output goes to the run's log and nowhere else.
        log_config={"type": "none"},
    )


def run_container(client: Any, image: str, command: list[str], volumes: dict[str, Any], **arguments: Any) -> int:
    """Run a container to its end and print its output; returns its exit code.

    In place of KFP's own, which takes a container that Docker has removed before its exit code was asked for as a success, whatever it
    was, and which fails where a character's bytes come in two pieces.
    """
    if _function(command) in _STARTS_SERVERS:
        # Who may use the socket may do anything on this machine, so no step gets it that runs the user's code.
        arguments["mounts"] = [*arguments["mounts"], _mount(_socket(), _SOCKET)]
        arguments["group_add"] = [*arguments["group_add"], str(Path(_socket()).stat().st_gid)]
    if _over.is_set():
        raise RuntimeError("the run is being ended")
    container = client.containers.create(image=image, command=command, volumes=volumes, **arguments)
    try:
        output = container.attach(stream=True, stdout=True, stderr=True)
        container.start()
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for chunk in output:
            print(decoder.decode(chunk), end="")  # noqa: T201
        return int(container.wait()["StatusCode"])
    finally:
        _remove(container)


_over = threading.Event()
_MAKING_SECONDS = 1.0
"""How long Docker may take to make a container."""


def end_for_good(folder: Path) -> None:
    """End all containers of the run of this process, and let no other begin: also the one that is being made just now."""
    _over.set()
    end(folder)
    time.sleep(_MAKING_SECONDS)
    end(folder)


def end(folder: Path, steps: Sequence[psutil.Process] = ()) -> None:
    """End all containers of a run: asked first, then killed; returns when they are gone.

    Args:
        folder: The run's folder.
        steps: Its processes.
    """
    for step in steps:
        with contextlib.suppress(psutil.Error):
            # A step's shell would take the container with it before Python has come to its end.
            if step.name() != "sh":
                step.terminate()
    psutil.wait_procs(list(steps), timeout=_STOP_SECONDS)
    _end(lambda labels: labels.get(RUN_LABEL) == str(folder), RUN_LABEL)


def sweep(project: Path) -> None:
    """Remove containers of a project whose run has died without removing them. Without Docker there are none."""

    def abandoned(labels: Mapping[str, str]) -> bool:
        pid, _, started = labels.get(_OWNER_LABEL, "0 0").partition(" ")
        try:
            return bool(psutil.Process(int(pid)).create_time() != float(started))
        except psutil.Error:
            return True

    _end(abandoned, f"{_PROJECT_LABEL}={project}")


@contextlib.contextmanager
def connected() -> Iterator[Any]:
    """A client of this machine's Docker daemon.

    Raises:
        InputError: There is none that may be used.
    """
    try:
        import docker
    except ImportError:
        raise InputError(
            "--runner docker: the Python package docker is not installed", "pip install 'kfp-ratchet[docker]'"
        ) from None
    if (host := os.environ.get("DOCKER_HOST", "")) and not host.startswith("unix://"):
        raise InputError(
            f"DOCKER_HOST is {host}: the project's folder can only be mounted by the Docker daemon of this machine",
            "unset DOCKER_HOST, or run where that daemon is",
        )
    socket = Path(_socket())
    if not socket.exists():
        raise InputError(
            f"there is no Docker daemon at {socket}",
            "install Docker (https://docs.docker.com/engine/install) and start it, or leave out --runner docker",
        )
    if not os.access(socket, os.R_OK | os.W_OK):
        raise InputError(
            f"you have no right to use Docker's socket {socket}",
            "become a member of its group (sudo usermod -aG docker $USER), then log in again",
        )
    client = None
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        if client is not None:
            client.close()
        raise InputError(
            f"the Docker daemon at {socket} does not answer: {error}", "start it, then try again"
        ) from error
    with contextlib.closing(client):
        yield client


def _id(client: Any, image: str) -> str:
    """An image's id; what is not here is pulled."""
    import docker

    with contextlib.suppress(docker.errors.ImageNotFound):
        return str(client.images.get(image).id)
    try:
        client.images.pull(image)
        return str(client.images.get(image).id)
    except docker.errors.DockerException as error:
        reason = getattr(error, "explanation", None) or error
        raise InputError(
            f"the image {image} is not on this machine and cannot be pulled: {reason}",
            "build it with `ratchet images build`, or name the registry that has it in the section images of ratchet.yaml",
        ) from error


def _end(wanted: Callable[[Mapping[str, str]], bool], label: str) -> None:
    try:
        with connected() as client:
            for container in client.containers.list(all=True, filters={"label": label}, ignore_removed=True):
                if wanted(container.labels):
                    _remove(container)
    except InputError:
        return


def _remove(container: Any) -> None:
    import docker

    # Somebody else is just doing so, or has.
    with contextlib.suppress(docker.errors.NotFound, docker.errors.APIError):
        container.remove(force=True)


def _function(command: Sequence[str]) -> str:
    """Name of the step's function, as KFP calls it; "" for a container of another kind."""
    pairs = zip(command, [*command[1:], ""], strict=True)
    return next((name for option, name in pairs if option == "--function_to_execute"), "")


def _socket() -> str:
    return os.environ.get("DOCKER_HOST", f"unix://{_SOCKET}").removeprefix("unix://")


def _mount(source: str, target: str, read_only: bool = False) -> Any:
    from docker.types import Mount

    return Mount(target, source, "bind", read_only=read_only)


def _local(value: Any, folder: Path) -> list[Path]:
    """The files and folders on this machine that a parameter's value names."""
    text = str(value)
    uris = [str(uri) for uri in loads(text).values()] if text.lstrip().startswith("{") else [text]
    paths = [_DVC.sub(r"\1", uri).removeprefix("file://").removeprefix("sqlite:///") for uri in uris]
    return [folder / path for path in paths if path and "://" not in path]

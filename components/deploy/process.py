"""Model server processes on this machine: started in a session of their own, and stopped only when they are surely ours."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from kfp_ratchet.components.deploy.probe import get_json
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.log import last_line

HOST = "127.0.0.1"
_MODULE = "kfp_ratchet.components.deploy.server"
_POLL_SECONDS = 0.05
_STOP_SECONDS = 10
_LOG_CHARACTERS = 500


@dataclass(frozen=True)
class Server:
    """A running model server.

    `started` is the process's creation time in seconds; with the pid it identifies a process even when pids are used again. `url` is where
    clients ask, `private_url` where this very process answers. `image` is what it runs in; "" when that is no container.
    """

    pid: int
    started: float
    url: str
    private_url: str
    image: str = ""


def start(model: Path, port: int, log: Path, image: str = "") -> Server:
    """Start a server for a model folder; it outlives this process and is not open to clients of `port` yet.

    Args:
        model: MLflow model folder.
        port: Port for clients; 0 takes a free one.
        log: File for the server's output.
        image: Container image that it runs in; "" for a process of this environment.

    Raises:
        RatchetError: The port belongs to another program, or there is no Docker to run the image.
    """
    temporary = log.with_name("tmp")
    temporary.mkdir(exist_ok=True)
    if image:
        return _start_container(image, model.resolve(), port, log.absolute(), temporary.absolute())
    if find_spec("mlflow") is None:
        raise RatchetError(
            "a model server needs MLflow, which is not installed here",
            "install kfp-ratchet[all]; or `ratchet run --runner docker`, whose servers are containers",
        )
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(_bound(0))]
        if port:
            sockets.append(stack.enter_context(_bound(port)))
        descriptors = [each.fileno() for each in sockets]
        path = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
        output = stack.enter_context(log.open("wb"))
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", _MODULE, str(model.resolve()), *map(str, descriptors)],
            # It outlives the run that starts it, and so the run's folder for temporary files and its mark.
            env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(temporary), "RATCHET_RUN": ""},
            pass_fds=descriptors,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        private, public = (f"http://{HOST}:{each.getsockname()[1]}" for each in (sockets[0], sockets[-1]))
        return Server(process.pid, psutil.Process(process.pid).create_time(), public, private)


def _start_container(image: str, model: Path, port: int, log: Path, temporary: Path) -> Server:
    from kfp_ratchet.components.deploy import container

    command = ["python3", "-m", _MODULE, str(model), "--listen", f"{HOST}:0"]
    if port:
        _bound(port).close()  # That it cannot be had is better said here than in the server's log.
        command += ["--public", f"{HOST}:{port}"]
    pid, urls = container.start(image, command, log, temporary)
    try:
        return Server(pid, psutil.Process(pid).create_time(), urls[-1], urls[0], image)
    except psutil.Error:
        raise RatchetError(f"the model server ended before it answered: {_said(log)}", f"see its log {log}") from None


def wait_ready(server: Server, log: Path, seconds: float) -> float:
    """Wait until a server answers; returns how long that took, in seconds.

    Raises:
        RatchetError: It ended, or did not answer in time; holds the last line of its log.
    """
    began = time.monotonic()
    while True:
        waited = time.monotonic() - began
        if answers(server):
            return round(waited, 1)
        if find(server.pid, server.started) is None:
            raise RatchetError(f"the model server ended before it answered: {_said(log)}", f"see its log {log}")
        if waited > seconds:
            raise RatchetError(
                f"the model server did not answer within {seconds} s; the last it said: {_said(log)}",
                f"see its log {log}, and raise serving.startup_seconds if the model needs longer to load",
            )
        time.sleep(_POLL_SECONDS)


def open_to_clients(server: Server) -> None:
    """Let a server take requests on the clients' port as well.

    Raises:
        RatchetError: It does not.
    """
    if server.url == server.private_url:
        return
    os.kill(server.pid, signal.SIGUSR1)
    deadline = time.monotonic() + _STOP_SECONDS
    while time.monotonic() < deadline:
        if is_open(server):
            return
        time.sleep(_POLL_SECONDS)
    raise RatchetError(f"the model server {server.pid} does not open {server.url}")


def answers(server: Server) -> bool:
    """Whether this very process is healthy and answers."""
    state = get_json(f"{server.private_url}/ratchet")
    return state is not None and state.get("pid") == server.pid


def is_open(server: Server) -> bool:
    """Whether this very process answers, and on the clients' port as well."""
    state = get_json(f"{server.private_url}/ratchet") or {}
    return state.get("pid") == server.pid and bool(state.get("open"))


def find(pid: int, started: float) -> psutil.Process | None:
    """The process, None when it has ended or another one got its pid."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return None
    return process if same else None


def running(folder: Path) -> list[psutil.Process]:
    """All our model servers for models below `folder`, whoever started them: recognised by their command line."""
    inside = f"{folder.resolve()}{os.sep}"
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = process.info["cmdline"] or []
        if _MODULE in command and any(argument.startswith(inside) for argument in command):
            found.append(process)
    return found


def stop(processes: Iterable[psutil.Process]) -> None:
    """Stop servers with all their children: asked first, then killed; returns when they are gone.

    Raises:
        RatchetError: One is still there.
    """
    groups = {process.pid: process for process in processes}
    members = [each for process in groups.values() for each in (process, *_children(process))]
    for request in (signal.SIGTERM, signal.SIGKILL):
        for pid in groups:
            # The server leads its own group, so this reaches its children and nobody else.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, request)
        _, members = psutil.wait_procs(members, timeout=_STOP_SECONDS)
        if not members:
            return
    left = ", ".join(str(each.pid) for each in members)
    raise RatchetError(f"model server processes {left} cannot be stopped", "stop them by hand")


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def _bound(port: int) -> socket.socket:
    """A socket bound to a port but not listening: it gets no clients until the server listens on it."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if port:
        # The old and the new version share the clients' port while one takes over from the other.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made.bind((HOST, port))
    except OSError as error:
        made.close()
        raise RatchetError(
            f"port {port} of {HOST} cannot be used: {error.strerror}",
            "stop the program that has it, or change serving.port",
        ) from None
    return made


def _said(log: Path) -> str:
    return last_line(log.read_text(errors="replace"))[:_LOG_CHARACTERS] or "nothing"

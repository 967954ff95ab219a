"""S3 servers of these benchmarks, each in a process of its own on this machine, and the environment that reaches them."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

BIN = Path(sys.executable).parent


@contextmanager
def rclone(folder: Path) -> Iterator[dict[str, str]]:
    """`rclone serve s3`: each folder in `folder` is a bucket."""
    port = _free_port()
    asked = [
        BIN / "rclone",
        "serve",
        "s3",
        "--addr",
        f"127.0.0.1:{port}",
        "--auth-key",
        "key,secret",
        "--config",
        "",
        folder,
    ]
    with _running(asked, port):
        yield _environment(port)


@contextmanager
def moto() -> Iterator[dict[str, str]]:
    """moto's server, which keeps objects in memory and knows versions."""
    port = _free_port()
    with _running([BIN / "moto_server", "-H", "127.0.0.1", "-p", str(port)], port):
        yield _environment(port)


@contextmanager
def lists(*arguments: object) -> Iterator[dict[str, str]]:
    """list_server.py with arguments."""
    script = Path(__file__).parent / "list_server.py"
    process = subprocess.Popen([sys.executable, script, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield _environment(int(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _running(command: list[object], port: int) -> Iterator[None]:
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def _environment(port: int) -> dict[str, str]:
    present: Mapping[str, str] = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {
        **present,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
    }


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])

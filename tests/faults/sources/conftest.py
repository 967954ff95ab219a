"""A proxy before a real S3 or web server, which fails as told, and the servers themselves."""

import contextlib
import http.client
import io
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import polars as pl
import pytest

from kfp_ratchet.components.ingest.tables import ingest_source
from kfp_ratchet.components.pin.pins import pin_run
from kfp_ratchet.components.shared import buckets
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.sources.fetching import fetched_folder

_STATUS = {
    "SlowDown": 503,
    "InternalError": 500,
    "AccessDenied": 403,
    "ExpiredToken": 400,
    "InvalidAccessKeyId": 403,
    "PermanentRedirect": 301,
}
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass
class Fault:
    """What goes wrong with the next `times` requests whose line (`GET /bucket/key?query`) matches.

    `kind` is an error code of S3; `reset` (before the answer), `reset body` (in its middle), `cut` (the body ends early and the
    connection is closed in good order), `flip` (one byte of the body is another one), or `wait SECONDS`.
    """

    kind: str
    matching: str
    times: int


class Proxy:
    """Passes requests on to a server, and remembers their lines in `seen`."""

    def __init__(self, behind: str) -> None:
        self.behind = urlsplit(behind)
        self.seen: list[str] = []
        self.calls: dict[str, str] = {}
        """What the server calls differently in keys, as in URLs."""
        self._faults: list[Fault] = []
        self._events: list[tuple[int, Callable[[], None]]] = []
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            faulty = proxy

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def fail(self, kind: str, matching: str = "", times: int = 1_000_000) -> None:
        """From now on; see `Fault`."""
        self._faults.append(Fault(kind, matching, times))

    def heal(self) -> None:
        """No faults any more, and nothing seen yet."""
        self._faults.clear()
        self.seen.clear()

    def settle(self) -> None:
        """Wait for requests that were given up, then heal."""
        seen = -1
        while seen != len(self.seen):
            seen = len(self.seen)
            time.sleep(0.3)
        self.heal()

    def after(self, requests: int, do: Callable[[], None]) -> None:
        """Something that happens to the server once that many more requests were seen."""
        self._events.append((len(self.seen) + requests, do))

    def gets(self, matching: str = "") -> list[str]:
        """Requests for objects, not for lists."""
        return [
            line for line in self.seen if line.startswith("GET /") and "?" not in line and re.search(matching, line)
        ]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fault_of(self, line: str) -> str:
        """The kind of fault that this request meets, "" for none."""
        with self._lock:
            self.seen.append(line)
            for event in [event for event in self._events if event[0] == len(self.seen)]:
                event[1]()
            for fault in self._faults:
                if fault.times and re.search(fault.matching, line):
                    fault.times -= 1
                    return fault.kind
        return ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address) -> None:
        """Whoever goes away in the middle is part of the test."""


class _Handler(BaseHTTPRequestHandler):
    faulty: Proxy
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments) -> None: ...

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.faulty.fault_of(f"{self.command} {self.path}")
        if fault == "reset":
            return self._reset()
        if fault in _STATUS:
            return self._refuse(fault)
        if fault.startswith("wait "):
            time.sleep(float(fault.removeprefix("wait ")))
        behind = http.client.HTTPConnection(self.faulty.behind.hostname, self.faulty.behind.port)
        # The signature covers the host that the client named, so it is passed on as it is.
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        path = self.path
        for theirs, ours in self.faulty.calls.items():
            path = path.replace(ours, theirs)
        behind.request(self.command, path, body or None, headers)
        answer = behind.getresponse()
        content = answer.read()
        behind.close()
        if "list-type" in self.path:
            for theirs, ours in self.faulty.calls.items():
                content = content.replace(theirs.encode(), ours.encode())
        if fault == "flip" and content:
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(content)))
        self.end_headers()
        if fault in ("cut", "reset body"):
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            if fault == "reset body":
                self._reset()
            self.close_connection = True
        else:
            self.wfile.write(content)
        return None

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815

    def _refuse(self, code: str) -> None:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>as told</Message></Error>"
        content = b"" if self.command == "HEAD" else text.encode()
        self.send_response_only(_STATUS[code])
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        if code == "PermanentRedirect":
            self.send_header("x-amz-bucket-region", "eu-west-3")
        self.end_headers()
        self.wfile.write(content)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()


@pytest.fixture
def proxy_before() -> Iterator:
    """Makes proxies before servers."""
    with contextlib.ExitStack() as stack:

        def before(behind: str) -> Proxy:
            proxy = Proxy(behind)
            stack.callback(proxy.stop)
            return proxy

        yield before


@pytest.fixture
def faulty(data, s3_endpoint, proxy_before, monkeypatch):
    """A proxy between this process and the S3 server of `bucket`."""
    proxy = proxy_before(s3_endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    return proxy


@pytest.fixture
def rclone(tmp_path, monkeypatch):
    """A folder in which each folder is a bucket of `rclone serve s3`, with the environment that reaches it."""
    import os

    folder = tmp_path / "rclone"
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).parent / "rclone", "serve", "s3", "--addr", f"127.0.0.1:{port}"]
    command += ["--auth-key", "key,secret", "--config", "", "--vfs-cache-mode", "off", "--dir-cache-time", "0s", folder]
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield folder
    finally:
        process.kill()
        process.wait()


class Steps:
    """The two steps that touch a source, as a run calls them, with a store and outputs of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = str(folder / "store")
        self.dataset = folder / "runs" / "ingest" / "dataset"

    def pin(self, source: str) -> str:
        out = str(self.folder / "runs" / "pin" / "pins")
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        return pin_run(source, "model", self.store, "{}", "{}", "", out, out).revision

    def ingest(self, source: str, revision: str) -> pl.DataFrame:
        out = str(self.dataset)
        ingest_source(source, revision, "{}", "{}", "", self.store, out, out)
        return pl.read_parquet(self.dataset / "rows" / "*.parquet")

    def refused(self, source: str, revision: str) -> RatchetError:
        """Ingest's error, after which there is no dataset and nothing half-fetched."""
        with pytest.raises(RatchetError) as caught:
            self.ingest(source, revision)
        assert not (self.dataset / "dataset.json").exists()
        assert not list(fetched_folder().rglob("*.part"))
        return caught.value


@pytest.fixture
def steps(tmp_path, monkeypatch):
    monkeypatch.setenv("RATCHET_DATA", str(tmp_path / "fetched"))
    monkeypatch.setattr(buckets, "_FIRST_PAUSE_S", 0.01)
    return Steps(tmp_path)


class Bucket:
    """What a test does to a bucket."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.name = uri.removeprefix("s3://")
        self.client = boto3.client("s3")

    def keep_versions(self) -> None:
        self.client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": "Enabled"})

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def put_rows(self, files: int, first: int = 0) -> pl.DataFrame:
        """`rows/N.parquet` of ten rows each; all rows."""
        tables = [pl.DataFrame({"file": [number] * 10, "x": range(10)}) for number in range(first, first + files)]
        for number, table in enumerate(tables, first):
            self.put(f"rows/{number:04}.parquet", parquet(table))
        return pl.concat(tables)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)


def parquet(table: pl.DataFrame) -> bytes:
    content = io.BytesIO()
    table.write_parquet(content)
    return content.getvalue()


@pytest.fixture
def data(bucket, s3_endpoint):
    """The bucket, reached around any proxy."""
    return Bucket(bucket)

"""A bucket is trusted only after it has shown that it creates a key once, and one that is away is told soon."""

import socket
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kfp_ratchet.components.shared import store as stores
from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.store import Store, UnsafeStoreError

DRAFT = Draft(kind="promote", version="1", digest="sha256:1", epoch=0, run="r")
RCLONE = Path(sys.executable).with_name("rclone")


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch):
    monkeypatch.setattr(stores, "_proven", set())


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture
def rclone(bucket, monkeypatch, tmp_path):
    """A folder served as S3 by rclone, which does not heed the condition."""
    (tmp_path / "served" / "bucket").mkdir(parents=True)
    port = free_port()
    arguments = ["--addr", f"127.0.0.1:{port}", "--auth-key", "access,secretsecret", "--config", ""]
    server = subprocess.Popen([RCLONE, "serve", "s3", *arguments, str(tmp_path / "served")], stderr=subprocess.DEVNULL)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "access")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secretsecret")
    for _ in range(100):
        with socket.socket() as asked:
            if not asked.connect_ex(("127.0.0.1", port)):
                break
        time.sleep(0.05)
    yield tmp_path / "served" / "bucket"
    server.kill()  # asked to end, it waits seconds for its idle clients
    server.wait()


def test_a_bucket_that_creates_once_is_proven_once_and_left_as_it_was(bucket, monkeypatch):
    tried = []
    real = stores.creates_once
    monkeypatch.setattr(stores, "creates_once", lambda objects: tried.append(1) or real(objects))
    store = Store(f"{bucket}/some/prefix")
    assert list(store.keys("")) == [] and not tried, "who only reads tries nothing"
    assert store.create("a/1", b"x") and not store.create("a/1", b"y")
    assert Store(f"{bucket}/some/prefix").create("a/2", b"")
    assert tried == [1] and sorted(store.keys("")) == ["a/1", "a/2"]


def test_a_store_that_ignores_the_condition_is_refused_and_nothing_is_written_to_the_ledger(rclone):
    with pytest.raises(UnsafeStoreError, match="two runs could both become champion") as told:
        Ledger(Store("s3://bucket"), "flights").append(DRAFT)
    assert "MinIO" in told.value.remedy and told.value.exit_code == 2
    with pytest.raises(UnsafeStoreError):
        Store("s3://bucket").create("a/1", b"")
    assert not [path for path in rclone.rglob("*") if path.is_file()], "the trial left something behind"


def test_of_racing_writers_one_creates_in_a_bucket_too(bucket):
    store = Store(bucket)
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: store.create("a/1", str(i).encode()), range(40)))
    assert sum(won) == 1 and store.get("a/1") == str(won.index(True)).encode()


def test_a_bucket_that_does_not_exist_is_named_by_all_but_a_read_of_one_object(bucket):
    store = Store("s3://elsewhere")
    for act in (lambda: store.create("a/1", b""), lambda: store.put("a/1", b""), lambda: list(store.keys("a"))):
        with pytest.raises(RatchetError, match=r"in the store s3://elsewhere cannot be reached.*NoSuchBucket"):
            act()


class Counted:
    """Requests that reached a server which answers none of them as an S3 would."""

    def __init__(self, answer):
        self.requests = 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.answer = answer
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.requests += 1
            with connection:
                connection.recv(65536)
                connection.sendall(self.answer)


@pytest.mark.slow
@pytest.mark.parametrize("act", [lambda store: store.get("a/1"), lambda store: store.create("a/1", b"")])
def test_an_endpoint_that_is_away_is_tried_again_for_a_bounded_time(bucket, monkeypatch, act):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(RatchetError, match=r"s3://bucket-\w+ cannot be reached: .*after \d+ retries") as told:
        act(Store(bucket))
    assert "credentials" in told.value.remedy


@pytest.mark.slow
def test_an_endpoint_that_fails_for_ever_ends_as_an_error(bucket, monkeypatch):
    broken = Counted(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    monkeypatch.setenv("AWS_ENDPOINT_URL", broken.url)
    with pytest.raises(RatchetError, match="cannot be reached"):
        Store(bucket).get("a/1")
    assert 1 < broken.requests <= 11
    broken.socket.close()


def test_path_style_and_plain_http_come_from_the_environment(bucket, s3_endpoint, monkeypatch):
    Store(f"{bucket}/deep").create("a/1", b"x")
    listed = urllib.request.urlopen(f"{s3_endpoint}/{bucket.removeprefix('s3://')}?list-type=2").read()
    assert b"<Key>deep/a/1</Key>" in listed
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    assert Store(bucket).get("deep/a/1") == b"x"


def test_credentials_that_only_a_profile_holds(bucket, s3_endpoint, monkeypatch, tmp_path):
    (tmp_path / "credentials").write_text("[team]\naws_access_key_id = AKIA1\naws_secret_access_key = secret\n")
    (tmp_path / "config").write_text(f"[profile team]\nregion = eu-west-1\nendpoint_url = {s3_endpoint}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "team")
    Store(bucket).put("a/1", b"x")
    assert Store(bucket).get("a/1") == b"x"

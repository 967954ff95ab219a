"""A file behind an address: against a real web server in this process, which answers as each test says."""

import gzip
import hashlib
import threading
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import polars as pl
import pytest

from kfp_ratchet.components.ingest.tables import ingest_source
from kfp_ratchet.components.pin.watermark import watermark
from kfp_ratchet.components.shared import buckets
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.manifest import list_source
from kfp_ratchet.components.shared.sources import Memory, open_source, web
from kfp_ratchet.components.shared.sources.fetching import fetched_folder

ROWS = b"id,x\n" + b"".join(b"%d,%d\n" % (i, i) for i in range(5000))


class Site:
    """`files` by path: content, headers, and a status to answer with instead; `seen` requests."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.answers: dict[str, list[int]] = {}
        self.seen: list[tuple[str, str | None]] = []
        self.ranges = True
        self.cuts = 0
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments) -> None: ...

            def do_GET(self) -> None:
                site.seen.append((self.path, self.headers.get("Range")))
                if site.answers.get(self.path):
                    return self._send(site.answers[self.path].pop(0), b"no", {})
                if self.path not in site.files:
                    return self._send(404, b"", {})
                content, headers = site.files[self.path]
                wanted = self.headers.get("Range", "").removeprefix("bytes=-")
                if "Location" in headers:
                    return self._send(302, b"", headers)
                if site.ranges and wanted:
                    return self._send(206, content[-int(wanted) :], headers)
                return self._send(200, content, headers)

            def _send(self, code: int, content: bytes, headers: dict[str, str]) -> None:
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Transfer-Encoding" in headers:
                    content = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
                else:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if site.cuts and code == 200:
                    site.cuts -= 1
                    content, self.close_connection = content[: len(content) // 2], True
                self.wfile.write(content)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # whoever goes away in the middle
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setenv("RATCHET_DATA", str(tmp_path / "fetched"))
    monkeypatch.setattr(buckets, "_FIRST_PAUSE_S", 0.001)
    made = Site()
    yield made
    made.stop()


def _fetched(uri: str) -> bytes:
    source = open_source(uri)
    (path,) = source.fetch(source.listing(Memory({})), print)
    return path.read_bytes()


def _leftovers() -> list[str]:
    return [path.name for path in fetched_folder().rglob("*.part")]


def _remembered(uri: str, before: dict[str, str] | None = None) -> Memory:
    memory = Memory(before or {})
    open_source(uri).listing(memory)
    return memory


def test_a_strong_etag_is_the_version_and_the_file_is_fetched_once(site):
    site.files["/data/rows%20of%202013.csv?part=1"] = (ROWS, {"ETag": '"abc"'})
    uri = f"{site.url}/data/rows%20of%202013.csv?part=1"
    listed = open_source(uri).listing(Memory({}))
    assert listed.rows() == [("rows of 2013.csv", len(ROWS), "etag:abc")]
    (path,) = open_source(uri).fetch(listed, print)
    assert path.read_bytes() == ROWS
    assert path.suffix == ".csv"
    seen = len(site.seen)
    assert open_source(uri).fetch(listed, print) == [path]
    assert len(site.seen) == seen


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"abc"'}, {"Transfer-Encoding": "chunked", "ETag": '"abc"'}])
def test_without_a_strong_etag_or_a_length_the_digest_is_the_version(site, headers):
    site.files["/rows.csv"] = (ROWS, headers)
    listed = open_source(f"{site.url}/rows.csv").listing(Memory({}))
    assert listed.rows() == [("rows.csv", len(ROWS), f"sha256:{hashlib.sha256(ROWS).hexdigest()}")]
    assert open_source(f"{site.url}/rows.csv").fetch(listed, print)[0].read_bytes() == ROWS
    assert len(site.seen) == 1, "it was fetched when it was listed"


def test_a_server_that_compresses_unasked_gives_the_file_itself(site):
    site.files["/rows.csv"] = (gzip.compress(ROWS), {"Content-Encoding": "gzip", "ETag": '"abc"'})
    assert _fetched(f"{site.url}/rows.csv") == ROWS


@pytest.mark.parametrize(("ago", "reads"), [(3600, 0), (5, 1)])
def test_an_old_last_modified_saves_reading_and_a_fresh_one_does_not(site, ago, reads, monkeypatch):
    import time

    site.files["/rows.csv"] = (ROWS, {"Last-Modified": formatdate(time.time() - ago, usegmt=True)})
    memory = _remembered(f"{site.url}/rows.csv")
    downloads: list[int] = []
    read = web.Web._read
    monkeypatch.setattr(web.Web, "_read", lambda *arguments: downloads.append(1) or read(*arguments))
    again = _remembered(f"{site.url}/rows.csv", memory.now)
    assert len(downloads) == reads
    assert again.now == memory.now


@pytest.mark.parametrize("headers", [{"ETag": '"1"'}, {}])
def test_a_file_that_changed_after_the_pin_is_named_and_not_kept(site, headers):
    site.files["/rows.csv"] = (ROWS, headers)
    source = open_source(f"{site.url}/rows.csv")
    listed = source.listing(Memory({}))
    for path in fetched_folder().rglob("*.csv"):
        path.unlink()
    site.files["/rows.csv"] = (ROWS[:-2] + b"0\n", {"ETag": '"2"'} if headers else {})
    with pytest.raises(RatchetError, match=r"/rows\.csv has changed since it was pinned; start a new run"):
        source.fetch(listed, print)
    assert not [path for path in fetched_folder().rglob("*") if path.is_file()]


def test_a_file_that_is_gone_after_the_pin_is_named(site):
    site.files["/rows.csv"] = (ROWS, {"ETag": '"1"'})
    source = open_source(f"{site.url}/rows.csv")
    listed = source.listing(Memory({}))
    site.files.clear()
    with pytest.raises(RatchetError, match=r"/rows\.csv is gone since it was pinned"):
        source.fetch(listed, print)


def test_overload_and_broken_answers_are_tried_again(site):
    site.files["/rows.csv"] = (ROWS, {})
    site.answers["/rows.csv"] = [503, 429, 500]
    site.cuts = 2
    assert _fetched(f"{site.url}/rows.csv") == ROWS
    assert not _leftovers()


def test_an_answer_that_always_breaks_off_is_no_file(site):
    site.files["/rows.csv"] = (ROWS, {})
    site.cuts = 100
    with pytest.raises(RatchetError, match=r"/rows\.csv cannot be read: its answer breaks off"):
        _fetched(f"{site.url}/rows.csv")
    assert not [path for path in fetched_folder().rglob("*") if path.is_file()]


def test_redirects_are_followed_and_their_addresses_never_told(site):
    site.files["/latest.csv"] = (b"", {"Location": "/cdn/rows?sig=hunter2"})
    site.files["/cdn/rows?sig=hunter2"] = (ROWS, {"ETag": '"abc"'})
    assert _fetched(f"{site.url}/latest.csv") == ROWS
    site.answers["/cdn/rows?sig=hunter2"] = [403] * 9
    with pytest.raises(RatchetError, match=r"/latest\.csv may not be read: its server answers 403") as caught:
        open_source(f"{site.url}/latest.csv").listing(Memory({}))
    assert "hunter2" not in str(caught.value)
    site.files["/latest.csv"] = (b"", {"Location": "/latest.csv"})
    with pytest.raises(RatchetError, match="redirects without end"):
        open_source(f"{site.url}/latest.csv").listing(Memory({}))


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, "there is nothing at .*404"),
        (410, "there is nothing at .*410"),
        (401, "may not be read: .*401.*netrc"),
        (403, "may not be read: .*403"),
        (418, "cannot be read: its server answers 418"),
        (503, "answers 503 Service Unavailable"),
    ],
)
def test_what_the_server_refuses_is_said(site, status, said):
    site.answers["/rows.csv"] = [status] * 9
    with pytest.raises(RatchetError, match=said):
        open_source(f"{site.url}/rows.csv").listing(Memory({}))


def test_a_server_that_is_not_there_or_never_answers_is_said(site, monkeypatch):
    site.stop()
    with pytest.raises(RatchetError, match=r"rows\.csv cannot be read: it cannot be reached, or breaks off"):
        open_source(f"{site.url}/rows.csv").listing(Memory({}))


def test_a_server_that_never_answers_is_left(monkeypatch):
    import socket

    monkeypatch.setattr(web, "_TIMEOUT_S", (0.2, 0.2))
    monkeypatch.setattr(buckets, "_FIRST_PAUSE_S", 0.001)
    silent = socket.create_server(("127.0.0.1", 0))
    uri = f"http://127.0.0.1:{silent.getsockname()[1]}/rows.csv"
    with silent, pytest.raises(RatchetError, match="it does not answer"):
        open_source(uri).listing(Memory({}))


def test_a_page_instead_of_a_file_is_refused(site):
    site.files["/rows.csv"] = (b"<html>Sign in", {"Content-Type": "text/html; charset=utf-8", "ETag": '"1"'})
    with pytest.raises(InputError, match="is a web page, not a file of data"):
        open_source(f"{site.url}/rows.csv").listing(Memory({}))


def test_http_is_for_this_machine_unless_allowed(monkeypatch):
    with pytest.raises(InputError, match="RATCHET_ALLOW_HTTP=true"):
        open_source("http://example.org/rows.csv")
    monkeypatch.setenv("RATCHET_ALLOW_HTTP", "true")
    open_source("http://example.org/rows.csv")
    for nothing in ("https://example.org", "https://example.org/folder/", "https:///rows.csv"):
        with pytest.raises(InputError, match="names no file"):
            open_source(nothing)


@pytest.mark.parametrize("ranges", [True, False])
def test_the_newest_time_is_read_from_a_parquet_footer(site, tmp_path, ranges):
    from datetime import datetime

    pl.DataFrame({"at": [datetime(2013, 1, 1), datetime(2013, 5, 1)]}).write_parquet(tmp_path / "rows.parquet")
    site.files["/rows.parquet"] = ((tmp_path / "rows.parquet").read_bytes(), {"ETag": '"1"'})
    site.ranges = ranges
    source = open_source(f"{site.url}/rows.parquet")
    assert watermark(source, source.listing(Memory({})), "at") == datetime(2013, 5, 1)


def test_a_truncated_file_of_an_earlier_run_is_fetched_again(site):
    site.files["/rows.csv"] = (ROWS, {"ETag": '"1"'})
    source = open_source(f"{site.url}/rows.csv")
    listed = source.listing(Memory({}))
    (path,) = source.fetch(listed, print)
    path.write_bytes(ROWS[:100])
    assert source.fetch(listed, print)[0].read_bytes() == ROWS


def test_ingest_reads_a_compressed_file_from_the_web(site, tmp_path):
    site.files["/rows.csv.gz"] = (gzip.compress(ROWS), {"ETag": '"1"'})
    uri = f"{site.url}/rows.csv.gz"
    ingest_source(uri, list_source(uri).revision, "{}", "{}", "", "", str(tmp_path / "out"), str(tmp_path / "out"))
    assert pl.read_parquet(tmp_path / "out" / "**" / "*.parquet").height == 5000

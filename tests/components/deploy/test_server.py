"""The server as a container starts it: by address, and ended by a signal."""

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from kfp_ratchet.components.deploy.probe import ask, get_json

pytestmark = pytest.mark.slow


@pytest.fixture
def started(bench):
    """Starts a server for the line of slope 2; ends it."""
    made = []

    def start(*arguments):
        command = [sys.executable, "-m", "kfp_ratchet.components.deploy.server", str(bench.model("2")), *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL)
        made.append(process)
        return process

    yield start
    for process in made:
        process.kill()
        process.wait()


def listening(process):
    said = process.stdout.readline()
    assert said.startswith("listening on http://127.0.0.1:")
    return said.removeprefix("listening on ").strip()


def until(what):
    for _ in range(600):
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError("it does not come")


def status(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status, response.headers.get("connection")
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("connection")


def test_a_server_that_is_to_end_says_so_and_goes_on_answering_for_a_while(started):
    process = started("--listen", "127.0.0.1:0", "--public", "127.0.0.1:0", "--linger", "3")
    private, public = listening(process), listening(process)
    until(lambda: get_json(f"{private}/ratchet"))
    assert get_json(f"{public}/ratchet") is None, "it takes no clients yet"
    process.send_signal(signal.SIGUSR1)
    until(lambda: get_json(f"{public}/ratchet"))
    assert ask(public, {"columns": ["x"], "data": [[1.5]]}) == [3.0]
    process.terminate()
    until(lambda: status(f"{private}/ratchet")[0] == 503)
    assert ask(public, {"columns": ["x"], "data": [[1.5]]}) == [3.0]
    assert status(f"{private}/ping") == (200, "close")
    process.wait(30)
    assert get_json(f"{private}/ratchet") is None


@pytest.mark.parametrize("arguments", [[], ["--public", "127.0.0.1:0"], ["3", "--listen", "127.0.0.1:0"]])
def test_addresses_and_descriptors_are_not_mixed(started, arguments):
    assert started(*arguments).wait(60) == 2

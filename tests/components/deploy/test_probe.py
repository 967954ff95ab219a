"""A server whose answers are wrong, missing or not numbers never passes the probe."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from kfp_ratchet.components.deploy.probe import TOLERANCE, Probe, check
from kfp_ratchet.components.shared.errors import RatchetError


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        status, answer = 200, ""

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(self.status)
            self.end_headers()
            self.wfile.write(self.answer.encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield Handler, f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


def probe(*scores):
    return Probe(rows={"columns": ["x"], "data": [[1]] * len(scores)}, scores=list(scores))


@pytest.mark.parametrize(
    ("predictions", "scores"),
    [
        ([0.5], [0.5 + 2 * TOLERANCE]),
        ([0.5, 0.5], [0.5]),
        ([], [0.5]),
        ([None], [0.5]),
        ([float("nan")], [0.5]),
        ([{"a": 0.2, "b": 0.8}], [[0.8, 0.2]]),
        ([{"a": 0.2}], [[0.2, 0.8]]),
        ([1e6 * (1 + 2 * TOLERANCE)], [1e6]),
    ],
)
def test_a_wrong_answer_fails_the_probe(server, predictions, scores):
    handler, url = server
    handler.answer = json.dumps({"predictions": predictions})
    with pytest.raises(RatchetError, match="model server"):
        check(url, probe(*scores))


@pytest.mark.parametrize(
    ("predictions", "scores"),
    [
        ([0.5], [0.5 + TOLERANCE / 2]),
        ([{"a": 0.2, "b": 0.8}], [[0.2, 0.8]]),
        ([[0.2, 0.8]], [[0.2, 0.8]]),
        ([1e6], [1e6]),
    ],
)
def test_float_noise_and_class_names_pass_the_probe(server, predictions, scores):
    handler, url = server
    handler.answer = json.dumps({"predictions": predictions})
    assert check(url, probe(*scores)).max_difference <= TOLERANCE


@pytest.mark.parametrize(("status", "answer"), [(500, "column x is missing"), (200, "[]"), (200, "<html>")])
def test_an_error_or_nonsense_is_told_and_no_traceback(server, status, answer):
    handler, url = server
    handler.status, handler.answer = status, answer
    with pytest.raises(RatchetError, match="column x is missing" if status == 500 else "does not answer"):
        check(url, probe(0.5))

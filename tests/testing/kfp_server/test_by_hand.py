"""`python -m kfp_ratchet.testing.kfp_server` serves until Ctrl-C."""

import signal
import subprocess
import sys

import requests


def test_it_says_where_it_listens_answers_and_ends_on_ctrl_c() -> None:
    command = [sys.executable, "-m", "kfp_ratchet.testing.kfp_server", "--port", "0", "--prefix", "/pipeline"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[0]
        answer = requests.get(f"{url}/apis/v2beta1/healthz", timeout=10)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert url.endswith("/pipeline")
    assert answer.status_code == 200
    assert (process.returncode, errors) == (0, "")

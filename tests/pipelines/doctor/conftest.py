"""A server, and the command that looks at it."""

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from kfp_ratchet.pipelines.cli import app
from kfp_ratchet.testing.kfp_server import KfpServer


@pytest.fixture
def double() -> Iterator[KfpServer]:
    with KfpServer(pace=1) as server:
        yield server


@pytest.fixture
def doctor(double, tmp_path, monkeypatch):
    """Runs `ratchet doctor --json` in an empty folder; answers checks by name, and the exit code."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, server=None):
        done = CliRunner().invoke(app, ["doctor", "--json", "--server", server or double.url, *arguments])
        assert done.stdout.startswith("["), done.output
        return {one["name"]: one for one in json.loads(done.stdout)}, done.exit_code

    return run

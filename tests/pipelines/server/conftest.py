"""A server that answers as a recorded real one did."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kfp_ratchet.pipelines.server.connection import Server
from kfp_ratchet.pipelines.server.settings import ServerSettings
from kfp_ratchet.testing.kfp_server import KfpServer

sys.path.insert(0, str(Path(__file__).parent))
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def double() -> Iterator[KfpServer]:
    with KfpServer(pace=1) as server:
        yield server


@pytest.fixture
def connect(double: KfpServer) -> Callable[..., Server]:
    """A connection to it, with other settings where they are given."""
    return lambda **settings: Server.connect(ServerSettings(**{"url": double.url, "patience": 5, **settings}))


@pytest.fixture
def server(connect) -> Server:
    return connect()


@pytest.fixture(scope="session")
def text() -> str:
    """A small compiled pipeline."""
    return (ROOT / "compiled" / "approve.yaml").read_text()


@pytest.fixture
def parameters() -> dict[str, str]:
    """What it needs."""
    return {"model_name": "m", "version": "1", "by": "a", "reason": "r", "store": "s", "tracking_uri": "t"}

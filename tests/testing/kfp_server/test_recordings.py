"""The double answers every recorded call as the real server did; see replay.py for what is compared and what is not."""

import sys
from pathlib import Path

import pytest

from kfp_ratchet.testing.kfp_server import KfpServer

sys.path.insert(0, str(Path(__file__).parent))
from recording import NAMES, recording
from replay import Replay


@pytest.mark.parametrize("name", NAMES)
def test_the_double_answers_as_the_real_server_did(name: str) -> None:
    story = recording(name)
    with KfpServer() as server:
        replay = Replay(story, server)
        for exchange in story.exchanges:
            recorded, answered = replay.play(exchange)
            assert answered == recorded, (
                f"{name} record {exchange.n}: {exchange.method} {exchange.path} {exchange.query}"
            )


def test_no_recording_is_left_out() -> None:
    assert len(NAMES) == 61
    assert sum(len(recording(name).exchanges) for name in NAMES) > 500

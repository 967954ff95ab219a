"""When a checkpoint is written, and what happens when it cannot be."""

import time

import pytest

from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.components.train.checkpoints import Checkpoints


def test_a_store_that_is_away_for_a_while_costs_no_fit(tmp_path):
    place, away = tmp_path / "store", tmp_path / "away"
    checkpoints = Checkpoints(Store(str(place)), "key", every_seconds=0)

    def goes():
        place.rename(away)
        place.write_text("no folder")

    def returns():
        place.unlink()
        away.rename(place)

    checkpoints.save(lambda: b"first")
    goes()
    checkpoints.save(lambda: b"second")
    checkpoints.save(lambda: b"third")
    returns()
    assert checkpoints.load() == b"first"
    checkpoints.save(lambda: b"fourth")
    assert checkpoints.load() == b"fourth"
    goes()
    for _ in range(2):
        checkpoints.save(lambda: b"fifth")
    with pytest.raises(RatchetError, match="key"):
        checkpoints.save(lambda: b"fifth")


def test_checkpoints_take_most_of_the_time_of_a_fit(tmp_path):
    store = Store(str(tmp_path))
    checkpoints = Checkpoints(store, "key", every_seconds=0.01)
    written = []

    def slow():
        written.append(time.monotonic())
        time.sleep(0.05)
        return b"state"

    until = time.monotonic() + 1.2
    while time.monotonic() < until:
        checkpoints.save(slow)
        time.sleep(0.001)
    assert 1 <= len(written) <= 3, "nine times as long as the last one took lie between two"

"""The store creates at most once, whoever races and whatever answer is lost."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


def test_of_racing_writers_one_creates(store):
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: store.create("a/1", str(i).encode()), range(40)))
    assert sum(won) == 1 and store.get("a/1") == str(won.index(True)).encode()


def test_a_write_whose_answer_was_lost_is_not_written_twice(store, monkeypatch):
    """The bucket took the entry, the connection broke, the client asked again and is told that it exists."""
    import obstore

    put = obstore.put

    def put_and_put_again(*arguments, **keywords):
        put(*arguments, **keywords)
        return put(*arguments, **keywords)

    monkeypatch.setattr(obstore, "put", put_and_put_again)
    ledger = Ledger(store, "flights")
    written = ledger.append(Draft(kind="promote", version="1", digest="sha256:1", epoch=0, run="r"))
    assert ledger.entries() == [written]


def test_a_store_that_cannot_be_written_is_named_with_a_remedy(store, tmp_path):
    (tmp_path / "a").write_text("no folder")
    for act in (lambda: store.put("a/1", b""), lambda: store.create("a/1", b"")):
        with pytest.raises(
            RatchetError, match=f"a/1 in the store {tmp_path} cannot be reached.*; check that it exists"
        ):
            act()


def test_reading_a_store_that_is_not_there_made_its_folder(tmp_path):
    store = Store(str(tmp_path / "none" / "here"))
    store.delete("a/1")
    assert store.get("a/1") is None and list(store.keys("a")) == []
    assert list(tmp_path.iterdir()) == []
    store.put("a/1", b"x")
    assert (tmp_path / "none" / "here" / "a" / "1").read_bytes() == b"x" and list(store.keys("a")) == ["a/1"]


def test_a_file_where_the_store_should_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"the store .*/file' cannot be opened") as told:
        Store(str(tmp_path / "file"))
    assert "Debug source" not in str(told.value)


def test_what_was_created_in_a_folder_was_lost_with_the_power(tmp_path, monkeypatch):
    """The name of a file is on the disk only when its folder is, and that of a new folder when the one it lies in is."""
    synced, fsync = [], os.fsync

    def told(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", told)
    assert Store(str(tmp_path / "new")).create("ledger/m/000001.json", b"{}")
    there = tmp_path / "new" / "ledger" / "m" / "000001.json"
    assert synced == [there, *list(there.parents)[:3]]

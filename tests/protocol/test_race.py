"""Fifty processes promote at once, against a bucket and against a folder: one history, one winner an epoch, every loser told why."""

import multiprocessing
import os
import re
from datetime import timedelta

import pytest

from kfp_ratchet.components.shared.entry import MAKES_CHAMPION, Draft
from kfp_ratchet.components.shared.ledger import Ledger, LostDeployError, StaleEpochError
from kfp_ratchet.components.shared.store import Store

PROCESSES = 50
ROUNDS = 2


def promote(uri, number, environment, barrier, results):
    """What a deploy does, with a target that is ready at once: an intent of its own, then the promotion."""
    os.environ.update(environment)  # the fork server has that of the first test
    ledger = Ledger(Store(uri), "m")
    told = []
    for attempt in range(ROUNDS):
        barrier.wait()
        champion, held = ledger.champion(), ledger.open_intent()
        draft = Draft(
            kind="promote",
            version=f"{number}-{attempt}",
            digest=f"sha256:{number}-{attempt}",
            epoch=champion.epoch if champion else 0,
            run=f"run-{number}",
        )
        try:
            # Its lease counts as run out, so that there is something to take over.
            intent = ledger.append(
                draft.model_copy(update={"kind": "deploy-started", "intent": held.number if held else 0})
            )
            made = ledger.append(draft.model_copy(update={"intent": intent.number}))
            told.append(("won", str(made.number), draft.epoch))
        except (StaleEpochError, LostDeployError) as error:
            told.append((type(error).__name__, error.message, draft.epoch))
    results.put((number, told))


def race(uri):
    """Runs them; returns what each was told, in all rounds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["kfp_ratchet.components.shared.ledger"])
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    barrier, results = context.Barrier(PROCESSES), context.Queue()
    processes = [
        context.Process(target=promote, args=(uri, number, environment, barrier, results))
        for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    told = dict(results.get(timeout=timedelta(minutes=3).total_seconds()) for _ in processes)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    return [each for number in range(PROCESSES) for each in told[number]]


def check(uri, told):
    ledger = Ledger(Store(uri), "m")
    entries = ledger.entries()
    assert ledger.verify() == [] and [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    champion, intent = 0, 0
    for entry in entries:
        assert entry.epoch == champion, "judged against a champion that was not there any more"
        if entry.kind in MAKES_CHAMPION:
            assert entry.intent == intent, "committed a deploy that was taken over"
            champion, intent = entry.number, 0
        else:
            assert entry.intent == intent, "took over a deploy that was not open"
            intent = entry.number
    made = [entry for entry in entries if entry.kind in MAKES_CHAMPION]
    won = [(int(text), epoch) for how, text, epoch in told if how == "won"]
    assert sorted(won) == [(entry.number, entry.epoch) for entry in made]
    assert len({epoch for _, epoch in won}) == len(won) >= ROUNDS, (
        "two winners in one epoch, or a round without a winner"
    )
    by_number = {entry.number: entry for entry in entries}
    lost = [text for how, text, _ in told if how != "won"]
    assert len(lost) + len(won) == ROUNDS * PROCESSES
    for text in lost:
        named = re.search(r"entry (\d+) \((?:(promote) of version (\S+) by )?(run-\d+)", text)
        if named is None:
            assert "none is open now" in text, text
            continue
        entry = by_number[int(named[1])]
        assert entry.run == named[4] and (named[2] is None or (entry.kind, entry.version) == (named[2], named[3])), text


@pytest.mark.slow
def test_fifty_promotions_at_once_in_a_folder(tmp_path):
    uri = str(tmp_path / "store")
    check(uri, race(uri))


@pytest.mark.slow
def test_fifty_promotions_at_once_in_a_bucket(bucket):
    check(bucket, race(bucket))

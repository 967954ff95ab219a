"""The ledger keeps one linear history, whoever writes, and says so when someone tampers with it."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_ratchet.components.shared.entry import Champion, Draft
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.ledger import Ledger, LostDeployError, StaleEpochError
from kfp_ratchet.components.shared.store import Store


def draft(kind="reject", version="1", epoch=0, run="run-a", **fields):
    return Draft(kind=kind, version=version, digest=f"sha256:{version}", epoch=epoch, run=run, **fields)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(Store(str(tmp_path)), "flights")


def test_an_empty_ledger_has_no_champion_and_no_rows(ledger):
    assert ledger.champion() is None
    assert ledger.accepted_rows(other_than="") == 0
    assert ledger.entries() == ledger.verify() == ledger.lineage() == []


def test_a_reject_after_a_promotion_does_not_move_the_epoch(ledger):
    ledger.append(draft("promote", "1"))
    ledger.append(draft("reject", "2", epoch=1))
    assert ledger.champion() == Champion(version="1", digest="sha256:1", epoch=1)
    assert ledger.append(draft("promote", "3", epoch=1)).number == 3


def test_a_promotion_judged_against_an_old_champion_is_refused_and_told_what_moved_it(ledger):
    ledger.append(draft("promote", "1"))
    ledger.append(draft("promote", "2", epoch=1, run="run-b"))
    with pytest.raises(StaleEpochError, match=r"champion epoch 1, but entry 2 \(promote of version 2 by run-b\)"):
        ledger.append(draft("promote", "3", epoch=1))
    with pytest.raises(StaleEpochError):
        ledger.append(draft("deploy-started", "3", epoch=1))
    assert len(ledger.entries()) == 2


def test_a_deploy_that_was_taken_over_cannot_commit(ledger):
    slow = ledger.append(draft("deploy-started", "1", run="slow"))
    with pytest.raises(LostDeployError, match=r"entry 1 \(slow"):
        ledger.append(draft("deploy-started", "2", run="fast"))
    fast = ledger.append(draft("deploy-started", "2", run="fast", intent=slow.number))
    with pytest.raises(LostDeployError, match=r"entry 2 \(fast"):
        ledger.append(draft("promote", "1", run="slow", intent=slow.number))
    ledger.append(draft("promote", "2", run="fast", intent=fast.number))
    assert ledger.open_intent() is None


def test_an_intent_is_open_until_it_is_ended_by_its_own_number(ledger):
    intent = ledger.append(draft("deploy-started", "1"))
    ledger.append(draft("reject", "2"))
    assert ledger.open_intent() == intent
    ledger.append(draft("deploy-failed", "1", intent=intent.number))
    assert ledger.open_intent() is None


def test_rows_of_a_rerun_on_the_same_revision_are_not_its_own_baseline(ledger):
    ledger.append(draft(revision="old", rows=100))
    ledger.append(draft(revision="new", rows=7))
    ledger.append(draft("deploy-failed", revision="other", rows=1))
    ledger.append(draft("inconclusive"))
    assert ledger.accepted_rows(other_than="new") == 100
    assert ledger.accepted_rows(other_than="next") == 7


def test_what_is_written_is_found_again_by_any_run_until_decision_champion_or_kind_differ(ledger):
    judged = draft("promote", "1", decision_digest="d1")
    written = ledger.append(judged)
    again = judged.model_copy(update={"run": "run-b"})
    assert ledger.find(again) == written
    for other in ({"decision_digest": "d2"}, {"digest": "sha256:9"}, {"epoch": 1}, {"kind": "rollback"}):
        assert ledger.find(again.model_copy(update=other)) is None


def test_a_refusal_is_written_again_only_when_the_decision_or_the_champion_is_another(ledger):
    def refuse(decision, epoch=0, run="run-a", kind="reject"):
        return ledger.append(draft(kind, "2", epoch=epoch, run=run, decision_digest=decision)).number

    assert [refuse("d1"), refuse("d1", run="run-b")] == [1, 1]
    ledger.append(draft("reject", "3", decision_digest="d3"))
    assert refuse("d1", run="run-c") == 1
    assert refuse("d2", kind="inconclusive") == 3
    assert refuse("d1") == 4, "the newest verdict is the one that counts"
    ledger.append(draft("promote", "4"))
    assert [refuse("d1", epoch=5), refuse("d1", epoch=5)] == [6, 6]
    assert len(ledger.entries()) == 6


def test_identical_runs_at_once_write_one_refusal(ledger):
    with ThreadPoolExecutor(8) as pool:
        refusals = [draft("reject", "2", run=f"run-{number}", decision_digest="d1") for number in range(16)]
        assert {entry.number for entry in pool.map(ledger.append, refusals)} == {1}


def test_rolling_back_twice_goes_two_champions_back(ledger):
    for epoch, version in enumerate("123"):
        ledger.append(draft("promote", version, epoch=epoch))
    ledger.append(draft("rollback", "2", epoch=3))
    assert [entry.version for entry in ledger.lineage()] == ["1", "2"]
    ledger.append(draft("rollback", "1", epoch=4))
    assert [entry.version for entry in ledger.lineage()] == ["1"]
    assert ledger.champion() == Champion(version="1", digest="sha256:1", epoch=5)


@pytest.mark.parametrize("name", ["", "../x", "a/b", "-x", "a b", "é", "x" * 101])
def test_a_name_that_could_leave_its_folder_is_refused(tmp_path, name):
    with pytest.raises(InputError):
        Ledger(Store(str(tmp_path)), name)


def fill(ledger, count=3):
    for number in range(count):
        ledger.append(draft(version=str(number)))


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        (lambda folder: (folder / "000002.json").unlink(), "000002.json is missing"),
        (lambda folder: (folder / "000001.json").unlink(), "000001.json is missing"),
        (lambda folder: (folder / "notes.txt").write_text("x"), "notes.txt is not an entry"),
        (lambda folder: (folder / "000000.json").write_text("{}"), "000000.json is not an entry"),
        (lambda folder: (folder / "999999.json").write_text("{}"), "000004.json to ledger/flights/999998.json"),
        (lambda folder: (folder / "000003.json").write_text("{"), "000003.json is not readable"),
        (lambda folder: (folder / "000003.json").write_text(""), "000003.json is not readable"),
        (
            lambda folder: (folder / "000002.json").write_text(
                (folder / "000002.json").read_text().replace("reject", "promote")
            ),
            "000002.json was changed after",
        ),
        (
            lambda folder: (folder / "000003.json").write_text((folder / "000002.json").read_text()),
            "000003.json holds entry 2",
        ),
    ],
)
def test_tampering_is_named_and_never_written_over(ledger, tmp_path, tamper, named):
    fill(ledger)
    folder = tmp_path / "ledger" / "flights"
    tamper(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert any(named in problem for problem in ledger.verify()), ledger.verify()
    for read in (Ledger.entries, lambda fresh: list(fresh.newest())):
        with pytest.raises(RatchetError, match=r"is corrupt: .*restore that object"):
            read(Ledger(Store(str(tmp_path)), "flights"))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_file_that_a_killed_writer_left_is_no_corruption(ledger, tmp_path):
    fill(ledger)
    (tmp_path / "ledger" / "flights" / "000004.json#1").write_text("half")
    assert ledger.verify() == []
    assert ledger.append(draft()).number == 4


def test_reading_the_champion_does_not_read_thousands_of_entries(ledger, monkeypatch):
    fill(ledger, 50)
    ledger.append(draft("promote", "x"))
    fill(ledger, 50)
    read = []
    get = Store.get
    monkeypatch.setattr(Store, "get", lambda self, key: read.append(key) or get(self, key))
    fresh = Ledger(ledger._store, "flights")
    assert fresh.champion().version == "x" and fresh.anchor() is fresh.open_intent() is None
    assert [key[-11:] for key in read if get(ledger._store, key)] == ["000101.json", "000051.json"]


RACE = """
import sys
from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.ledger import Ledger, StaleEpochError
from kfp_ratchet.components.shared.store import Store

folder, *runs = sys.argv[1:]
ledger = Ledger(Store(folder), "flights")
for run in runs:
    fields = {"version": run, "digest": run, "epoch": 0, "run": run}
    ledger.append(Draft(kind="reject", **fields))
    try:
        print(ledger.append(Draft(kind="promote", **fields)).number)
    except StaleEpochError as error:
        print(error)
"""


def race_in_processes(folder):
    commands = [[sys.executable, "-c", RACE, folder, f"{p}a", f"{p}b", f"{p}c"] for p in range(3)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    return [line for process in processes for line in process.communicate()[0].splitlines()]


def race_in_threads(folder):
    ledger = Ledger(Store(folder), "flights")

    def promote(run):
        ledger.append(draft("reject", run, run=run))
        try:
            return str(ledger.append(draft("promote", run, run=run)).number)
        except StaleEpochError as error:
            return str(error)

    with ThreadPoolExecutor(9) as pool:
        return list(pool.map(promote, [str(number) for number in range(9)]))


@pytest.mark.parametrize("race", [race_in_threads, race_in_processes])
def test_of_racing_promotions_exactly_one_wins_and_each_loser_is_told_why(tmp_path, race):
    results = race(str(tmp_path))
    ledger = Ledger(Store(str(tmp_path)), "flights")
    assert ledger.verify() == []
    winners = [int(result) for result in results if result.isdigit()]
    losers = [result for result in results if not result.isdigit()]
    assert winners == [ledger.champion().epoch]
    assert len(losers) == 8 and all(f"entry {winners[0]} (promote" in told for told in losers)
    assert [entry.number for entry in ledger.entries()] == list(range(1, 11))


@settings(max_examples=25, deadline=None)
@given(kinds=st.lists(st.sampled_from(["promote", "reject", "rollback", "inconclusive"]), max_size=12))
def test_the_champion_is_always_the_last_promote_or_rollback(tmp_path_factory, kinds):
    ledger = Ledger(Store(str(tmp_path_factory.mktemp("store"))), "m")
    for number, kind in enumerate(kinds):
        champion = ledger.champion()
        ledger.append(draft(kind, str(number), epoch=champion.epoch if champion else 0))
    made = [number for number, kind in enumerate(kinds, 1) if kind in ("promote", "rollback")]
    champion = ledger.champion()
    assert (champion.epoch if champion else 0) == (made[-1] if made else 0)
    assert [entry.number for entry in ledger.newest()] == list(range(len(kinds), 0, -1))

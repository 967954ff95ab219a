"""Who may write what, and what follows from it: approvals, forced versions, lineage and anchor, looks, times."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_ratchet.components.shared import ledger as ledgers
from kfp_ratchet.components.shared.canonical import digest
from kfp_ratchet.components.shared.decision import Evaluation
from kfp_ratchet.components.shared.entry import MAKES_CHAMPION, Draft, Entry
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.ledger import ApprovalError, Ledger, LostDeployError, StaleEpochError
from kfp_ratchet.components.shared.store import Store


def draft(kind="reject", version="1", epoch=0, run="run-a", **fields):
    return Draft(kind=kind, version=version, epoch=epoch, run=run, **{"digest": f"sha256:{version}"} | fields)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(Store(str(tmp_path)), "flights")


def again(ledger):
    """The same ledger as another process reads it."""
    return Ledger(ledger._store, ledger.model)


def test_a_pending_entry_is_written_once_by_whichever_run(ledger):
    wanted = draft("pending", "1", decision_digest="d")
    first = ledger.append(wanted)
    assert again(ledger).append(wanted.model_copy(update={"run": "run-b"})) == first
    assert [entry.number for entry in again(ledger).pending()] == [1]


def test_an_approval_ends_the_waiting_and_lasts_until_the_champion_moves(ledger):
    pending = ledger.append(draft("pending", "2", decision_digest="d"))
    assert ledger.answer(pending) is None
    approved = ledger.append(draft("approve", "2", epoch=7, digest="", by="ann", reason="looks good"))
    assert (approved.answers, approved.digest, approved.epoch) == (1, "sha256:2", 0), "filled in from what it answers"
    assert again(ledger).pending() == [] and again(ledger).approved() == [approved]
    assert again(ledger).answer(pending) == approved
    intent = ledger.append(draft("deploy-started", "2"))
    ledger.append(draft("promote", "2", intent=intent.number))
    assert again(ledger).approved() == []


def test_an_answer_repeated_is_not_written_twice_and_a_contrary_one_is_refused(ledger):
    ledger.append(draft("pending", "2", decision_digest="d"))
    approved = ledger.append(draft("approve", "2", by="ann"))
    assert again(ledger).append(draft("approve", "2", by="bob")) == approved
    with pytest.raises(ApprovalError, match=r"version 2 of flights was approved by ann already \(entry 2\)"):
        ledger.append(draft("deny", "2", by="bob"))
    ledger.append(draft("pending", "3", decision_digest="e"))
    denied = ledger.append(draft("deny", "3", by="ann", reason="too bold"))
    assert ledger.append(draft("deny", "3", by="ann")) == denied
    with pytest.raises(ApprovalError, match=r"was denied by ann already \(entry 4\): too bold") as told:
        ledger.append(draft("approve", "3", by="bob"))
    assert "--force" in told.value.remedy
    assert [entry.kind for entry in ledger.entries()] == ["pending", "approve", "pending", "deny"]


def test_a_denied_candidate_is_not_asked_about_again_by_a_later_run(ledger):
    wanted = draft("pending", "2", decision_digest="d")
    first = ledger.append(wanted)
    ledger.append(draft("deny", "2", by="ann"))
    assert again(ledger).append(wanted.model_copy(update={"run": "run-b"})) == first
    assert again(ledger).pending() == []


def test_what_does_not_wait_cannot_be_approved(ledger):
    ledger.append(draft("reject", "2"))
    with pytest.raises(ApprovalError, match="version 2 of flights does not wait for approval"):
        ledger.append(draft("approve", "2", by="ann"))


@pytest.mark.parametrize("kind", ["promote", "force", "rollback"])
@pytest.mark.parametrize("answer", ["approve", "deny"])
def test_an_approval_expires_when_the_champion_moves_and_says_who_moved_it(ledger, kind, answer):
    ledger.append(draft("pending", "2", decision_digest="d"))
    ledger.append(draft(kind, "3", run="run-b", by="bob" if kind == "force" else ""))
    who = "bob" if kind == "force" else "run-b"
    told = rf"approval of version 2 of flights has expired.*entry 2 \({kind} of version 3 by {who}\) has since moved it"
    with pytest.raises(StaleEpochError, match=told):
        ledger.append(draft(answer, "2", by="ann"))
    assert ledger.pending() == [] and len(ledger.entries()) == 2


def test_nothing_waits_against_a_champion_that_has_moved(ledger):
    ledger.append(draft("promote", "1"))
    with pytest.raises(StaleEpochError, match=r"entry 1 \(promote of version 1"):
        ledger.append(draft("pending", "2", epoch=0, decision_digest="d"))


def test_two_decisions_about_one_version_are_answered_together(ledger):
    ledger.append(draft("pending", "2", decision_digest="d"))
    newer = ledger.append(draft("pending", "2", decision_digest="e"))
    assert ledger.append(draft("approve", "2", by="ann")).answers == newer.number
    assert again(ledger).pending() == []


@pytest.mark.parametrize("kind", ["promote", "force", "rollback"])
def test_no_champion_is_made_beside_an_open_deploy_or_against_an_old_champion(ledger, kind):
    held = ledger.append(draft("deploy-started", "2", run="run-b"))
    for intent in (0, 9):
        with pytest.raises(LostDeployError, match=r"entry 1 \(run-b, version 2"):
            ledger.append(draft(kind, "3", intent=intent, by="ann"))
    ledger.append(draft(kind, "2", intent=held.number, by="ann"))
    with pytest.raises(StaleEpochError, match=rf"entry 2 \({kind} of version 2 by ann\)"):
        ledger.append(draft(kind, "3", by="ann"))


def test_the_entry_behind_the_champion_says_who_made_it(ledger):
    assert ledger.made() is None
    forced = ledger.append(draft("force", "4", by="ann", reason="the old one is broken", sets_anchor=False))
    ledger.append(draft("reject", "5", epoch=1))
    assert again(ledger).made() == forced
    assert again(ledger).champion().epoch == 1


def defined_lineage(entries):
    """The definition, over the whole list."""
    line = []
    for entry in entries:
        if entry.kind == "rollback":
            at = max((i for i, made in enumerate(line) if made.version == entry.version), default=len(line))
            line = [*line[:at], entry]
        elif entry.kind in MAKES_CHAMPION:
            line.append(entry)
    return line


CHAMPIONS = st.tuples(
    st.sampled_from(["promote", "promote", "force", "rollback", "reject", "deploy-failed"]),
    st.sampled_from("12345"),
    st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(CHAMPIONS, max_size=14))
def test_lineage_and_anchor_are_those_of_the_whole_history_in_every_mix(tmp_path_factory, steps):
    ledger = Ledger(Store(str(tmp_path_factory.mktemp("store"))), "m")
    written, last_set = [], {}
    for kind, version, sets in steps:
        if kind == "rollback" and version not in last_set:
            continue
        sets = last_set[version] if kind == "rollback" else sets and kind != "force"
        champion = ledger.champion()
        entry = draft(kind, version, epoch=champion.epoch if champion else 0, sets_anchor=sets)
        written.append(ledger.append(entry))
        if kind in MAKES_CHAMPION:
            last_set[version] = sets
    line = defined_lineage(written)
    other = again(ledger)
    assert other.lineage() == line and other.verify() == []
    shown = [made for made in line if made.sets_anchor] or line[:1]
    expected = shown[-1].version if shown and shown[-1].digest != line[-1].digest else None
    anchor = other.anchor()
    assert (anchor.version if anchor else None) == expected
    assert other.made() == (line[-1] if line else None)


def test_losses_within_the_margin_are_held_against_the_last_champion_shown_to_be_better(ledger):
    def then(kind, version, sets_anchor):
        champion = ledger.champion()
        ledger.append(draft(kind, version, epoch=champion.epoch if champion else 0, sets_anchor=sets_anchor))
        anchor = ledger.anchor()
        return anchor.version if anchor else None

    assert then("promote", "1", True) is None
    assert then("promote", "2", False) == "1"
    assert then("promote", "3", False) == "1"
    assert then("force", "4", False) == "1"
    assert then("promote", "5", True) is None
    assert then("promote", "6", False) == "5"
    assert then("rollback", "3", False) == "1"
    assert then("rollback", "1", True) is None


def test_behind_a_forced_first_model_losses_within_the_margin_added_up(ledger):
    """Nothing had ever been shown to be better, so each was held against the champion alone."""
    ledger.append(draft("force", "1", sets_anchor=False))
    assert ledger.anchor() is None
    for version in "234":
        ledger.append(draft("promote", version, epoch=ledger.champion().epoch, sets_anchor=False))
        assert again(ledger).anchor().version == "1"
    ledger.append(draft("promote", "5", epoch=ledger.champion().epoch, sets_anchor=True))
    assert again(ledger).anchor() is None


def test_what_was_taken_back_is_told_until_someone_makes_it_champion_again(ledger):
    def then(kind, version, **fields):
        champion = ledger.champion()
        return ledger.append(draft(kind, version, epoch=champion.epoch if champion else 0, **fields))

    def taken_back():
        found = {version: again(ledger).taken_back(f"sha256:{version}") for version in "1234"}
        return {version: entry.number for version, entry in found.items() if entry}

    for version in "123":
        then("promote", version)
    assert taken_back() == {}
    back = then("rollback", "1", by="ann").number
    assert taken_back() == {"2": back, "3": back}, "all that it went back behind"
    then("promote", "2")
    then("pending", "4", decision_digest="d")
    denied = then("deny", "4", by="bob").number
    assert taken_back() == {"3": back, "4": denied}
    last = then("rollback", "3", by="ann").number
    assert taken_back() == {"2": last, "4": denied}, "going back to what was taken back before takes the top away"
    then("force", "4", by="bob")
    assert taken_back() == {"2": last}


def test_an_old_entry_that_was_changed_let_the_next_champion_be_made(ledger):
    for version in "123":
        ledger.append(draft("promote", version, epoch=int(version) - 1))
    path = next(ledger._store._folder.rglob("000001.json"))
    path.write_text(path.read_text().replace("run-a", "run-b"))
    with pytest.raises(RatchetError, match=r"000001.json"):
        again(ledger).append(draft("deploy-started", "4", epoch=3))
    assert len(list(path.parent.iterdir())) == 3


def at(ledger, monkeypatch, time, entry):
    """Write an entry by a clock that shows `time`."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromisoformat(time).replace(tzinfo=UTC)

    with monkeypatch.context() as patch:
        patch.setattr(ledgers, "datetime", Clock)
        return ledger.append(entry)


def test_who_was_champion_at_a_time_counts_in_the_order_of_the_ledger(ledger, monkeypatch):
    at(ledger, monkeypatch, "2026-03-01T12:00", draft("promote", "1"))
    at(ledger, monkeypatch, "2026-03-01T11:00", draft("promote", "2", epoch=1))  # an hour behind
    at(ledger, monkeypatch, "2026-03-01T13:00", draft("promote", "3", epoch=2))

    def version(moment):
        made = ledger.champion_at(moment)
        return made.version if made else None

    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert version(noon - timedelta(minutes=1)) is None, "version 2 cannot have been live before version 1"
    assert version(noon) == "2" and version(noon + timedelta(minutes=59)) == "2"
    assert version(noon + timedelta(hours=1)) == "3"
    assert version(datetime(2026, 3, 1, 12)) == "2", "no zone means UTC"
    assert version(datetime(2026, 3, 1, 14, 30, tzinfo=timezone(timedelta(hours=2)))) == "2"
    assert ledger.verify() == [], "a clock that goes backwards is no corruption"


def judged(version, day_from=None, day_to=None, rows="", kind="reject"):
    day = "2026-01-{:02d}T00:00:00".format
    window = {"start": day(day_from), "end": day(day_to)} if day_from else {}
    return draft(kind, version, evaluation=Evaluation(digest=rows, **window))


def looks(ledger, entry):
    return ledger.append(entry).evaluation.looks


def test_looks_count_other_models_on_the_same_rows_or_half_of_the_window(ledger):
    assert looks(ledger, judged("1", 1, 11, "a")) == 0
    assert looks(ledger, judged("1", 1, 11, "a")) == 0, "the same model again is no other look"
    assert looks(ledger, judged("2", rows="a")) == 1
    assert looks(ledger, judged("3", 6, 16, "b")) == 1, "half of the window"
    assert looks(ledger, judged("4", 20, 21, "c")) == 0
    assert looks(ledger, judged("5", 7, 17, "d")) == 1, "the first window shares 4 days of 10, the second 9"
    assert looks(ledger, judged("6", 8, 8, "e")) == 3, "a moment within the windows"
    assert looks(ledger, judged("7", rows="")) == 0, "rows that are not known are not the same"


def test_a_model_that_waited_and_was_promoted_is_one_look(ledger):
    ledger.append(judged("1", rows="a", kind="pending"))
    ledger.append(judged("1", rows="a", kind="promote"))
    ledger.append(draft("deploy-failed", "9", evaluation=Evaluation(digest="a")))
    assert looks(ledger, draft("reject", "2", epoch=2, evaluation=Evaluation(digest="a"))) == 1


def test_half_of_the_shorter_window_is_enough_and_touching_is_not(ledger):
    ledger.append(judged("1", 1, 31))
    assert looks(ledger, judged("2", 30, 31)) == 1
    ledger = Ledger(ledger._store, "other")
    ledger.append(judged("1", 1, 5))
    assert looks(ledger, judged("2", 5, 9)) == 0


def test_an_entry_says_which_code_wrote_it_and_in_which_image(ledger, monkeypatch):
    monkeypatch.setenv("RATCHET_IMAGE", "registry/slim:1@sha256:ab")
    entry = ledger.append(draft("reject", "1"))
    assert entry.code.startswith("sha256:") and entry.image == "registry/slim:1@sha256:ab"
    assert ledger.append(draft("reject", "2", code="sha256:other")).code == "sha256:other"


def rewrite(ledger, number, change):
    """Change an entry and everything that guards it, as someone who knows the format would, up to the newest."""
    for each in range(number, len(ledger.entries()) + 1):
        path = ledger._key(each)
        entry = Entry.parse(ledger._store.get(path))
        before = ledger._store.get(ledger._key(each - 1)) if each > 1 else None
        entry = (change(entry) if each == number else entry).model_copy(
            update={"previous": digest(before) if before else ""}
        )
        ledger._store.put(path, entry.written())


def test_a_standing_that_does_not_follow_from_the_entries_is_corruption(ledger):
    for epoch, version in enumerate("123"):
        ledger.append(draft("promote", version, epoch=epoch))
    forged = ledger.entries()[1].standing
    rewrite(ledger, 3, lambda entry: entry.model_copy(update={"standing": forged}))
    assert again(ledger).champion().version == "2"
    assert again(ledger).verify() == ["ledger/flights/000003.json does not stand where the entries before it lead to"]


def test_a_ledger_written_before_entries_said_where_it_stands_goes_on(ledger):
    for number in range(1, 5):
        entry = Entry(
            **draft("promote", str(number), epoch=number - 1).model_dump(),
            number=number,
            model="flights",
            time="2026-01-01T00:00:00.000+00:00",
            previous=digest(ledger._store.get(ledger._key(number - 1))) if number > 1 else "",
        )
        said = json.loads(entry.written())
        for new in ("standing", "checksum", "answers", "sets_anchor", "evaluation", "code", "image"):
            said.pop(new, None)
        ledger._store.put(ledger._key(number), json.dumps(said).encode())
    assert again(ledger).champion().epoch == 4 and [made.version for made in again(ledger).lineage()] == list("1234")
    ledger = again(ledger)
    ledger.append(draft("rollback", "2", epoch=4))
    assert [made.version for made in again(ledger).lineage()] == ["1", "2"] and ledger.verify() == []

"""Whoever asks why is shown the decision that was taken, or told where it went."""

import pytest

from kfp_ratchet.components.shared.decision import Decision, Interval
from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.journal import journal
from kfp_ratchet.pipelines.judgements import differences, find_judgement


@pytest.fixture
def past(past):
    past.judged("1", 2.0)
    past.judged("2", 1.0)
    past.judged("3", 3.0)
    return past


def entry_of(past, which):
    return find_judgement(past.store, "mine", which).entry.number


def test_a_judgement_is_found_by_entry_version_run_and_last(past):
    kinds = [(entry.number, entry.kind) for entry in past.ledger.entries()]
    assert kinds == [(1, "deploy-started"), (2, "promote"), (3, "deploy-started"), (4, "promote"), (5, "reject")]
    asked = {"4": 4, "#4": 4, "v2": 4, "run-2": 4, "3": 3, "last": 5, "v3": 5}
    assert {which: entry_of(past, which) for which in asked} == asked
    assert find_judgement(past.store, "mine", "v2").decision.verdict == "promote"


def test_a_rollback_was_shown_as_the_last_judgement_or_as_that_of_its_version(past):
    """Its deploy-started entry names a decision, too: that of the promotion it goes back to."""
    rollback = past.rolled_back("1")
    assert entry_of(past, "last") == 5 and entry_of(past, "v1") == 2
    found = find_judgement(past.store, "mine", str(rollback.number))
    assert (found.asked.kind, found.entry.number, found.decision.champion_digest) == ("rollback", 2, "")
    assert entry_of(past, str(rollback.number - 1)) == 2


def test_a_promotion_whose_deploy_was_killed_had_no_judgement(past):
    killed = past.ledger.entries()[2]
    started = {"version": "9", "digest": "sha256:9", "epoch": 4}
    past.ledger.append(Draft.model_validate({**killed.model_dump(), **started}))
    assert entry_of(past, "v9") == entry_of(past, "last") == 6


def test_a_decision_lost_from_the_archive_was_lost_though_the_journal_had_it(past):
    past.judged("5", 3.0, keep=False)
    with pytest.raises(RatchetError, match=r"the decision of entry 6 is kept nowhere: .* nor in the journal of run-5"):
        find_judgement(past.store, "mine", "6")
    decision = past.decisions["5"]
    with journal(past.store.uri, "/root/run-5/gate/decision") as step:
        step.found(decision.reason, decision=decision.model_dump(mode="json"))
    assert find_judgement(past.store, "mine", "6").decision == decision


def test_a_journal_that_says_something_else_was_shown_as_the_decision(past):
    past.judged("5", 3.0, keep=False)
    with journal(past.store.uri, "/root/run-5/gate/decision") as step:
        step.found("", decision=Decision(verdict="promote", reason="Promoted: so it says.").model_dump(mode="json"))
    with pytest.raises(RatchetError, match="is kept nowhere"):
        find_judgement(past.store, "mine", "6")


@pytest.mark.parametrize(
    ("which", "told", "remedy"),
    [
        ("0", "has no entry 0", "its entries are 1 to 5"),
        ("99", "has no entry 99", "its entries are 1 to 5"),
        ("v4", "has no judgement about v4", "there are v1, v2, v3"),
        ("v33", "has no judgement about v33", "did you mean 'v3'?"),
        ("run-2x", "has no run 'run-2x'", "give an entry's number"),
        ("../../etc", "has no run '../../etc'", "give an entry's number"),
        ("", "has no run ''", "give an entry's number"),
    ],
)
def test_what_is_not_there_is_named_with_the_nearest(past, which, told, remedy):
    with pytest.raises(InputError) as refused:
        find_judgement(past.store, "mine", which)
    assert told in refused.value.message and remedy in refused.value.remedy


def test_the_nearest_run_is_named(past):
    with journal(past.store.uri, "/root/continuous-training-7/pin/pins"):
        pass
    with pytest.raises(InputError, match="did you mean 'continuous-training-7'"):
        find_judgement(past.store, "mine", "continuous-trainig-7")
    with pytest.raises(InputError, match="the run continuous-training-7 took no decision: "):
        find_judgement(past.store, "mine", "continuous-training-7")


def test_a_version_that_no_gate_judged_says_who_put_it_live(past):
    forced = Draft(
        kind="rollback", version="7", digest="sha256:7", epoch=4, run="forced by ann", by="ann", reason="now"
    )
    entry = past.ledger.append(forced)
    with pytest.raises(InputError, match="rollback of v7 by ann, and no gate had judged that version; now"):
        find_judgement(past.store, "mine", str(entry.number))


def test_an_empty_ledger_said_index_out_of_range(tmp_path):
    from kfp_ratchet.components.shared.store import Store

    with pytest.raises(InputError, match="nothing was judged yet"):
        find_judgement(Store(str(tmp_path / "none")), "mine", "last")


def test_differences_name_what_changed_and_nothing_else():
    then = Decision(verdict="promote", reason="a", gain=Interval(value=1.0, low=0.5), policy={"margin": 0.0})
    now = then.model_copy(update={"verdict": "reject", "gain": Interval(value=1.0), "policy_digest": "sha256:x"})
    found = [(one.what, one.then, one.now) for one in differences(then, now)]
    assert found == [("verdict", "promote", "reject"), ("gain.low", "0.5", None)]
    assert differences(then, then) == []

"""A backtest says what another policy would have had live, and never claims more than the evidence shows."""

import json

import pytest

from kfp_ratchet.components.deploy.approval import Waiting
from kfp_ratchet.components.gate import Policy
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.backtest import backtest


def policy(**asked):
    return Policy.parse(json.dumps({"resamples": 200, **asked}))


def replayed(past, **asked):
    return backtest(past.ledger, past.store, policy(**asked))


def _live(done):
    return f"v{done.replayed[-1].would_be.version}" if done.replayed[-1].would_be else "nothing"


def live(done):
    return [one.would_be.version if one.would_be else None for one in done.replayed]


@pytest.fixture
def past(past):
    """v1, v2 better by 0.12, v3 much worse."""
    for version, noise in (("1", 2.0), ("2", 1.0), ("3", 3.0)):
        past.judged(version, noise)
    return past


def test_the_same_policy_decides_the_same_and_has_the_same_live(past):
    done = replayed(past)
    assert [(one.entry.number, one.entry.kind) for one in done.replayed] == [
        (2, "promote"),
        (4, "promote"),
        (5, "reject"),
    ]
    assert not any(one.changed or one.note for one in done.replayed)
    assert live(done) == ["1", "2", "2"]
    assert done.headline == "3 decisions taken again, none with another verdict; v2 would be live, as it is"


def test_a_verdict_against_a_champion_that_would_not_have_been_live_passed_for_sound(past):
    """With a large margin v2 is not promoted, so what v3 was judged against would not have been there."""
    done = replayed(past, margin=0.2)
    _, second, third = done.replayed
    assert second.changed and not second.note and live(done)[1:] == live(done)[:2]
    assert third.note == f"judged against v2, though {_live(done)} would have been live"
    assert done.headline.endswith(
        f"{_live(done)} would be live, not v2; 1 not judged against what would have been live"
    )


def test_a_promotion_on_a_guess_was_not_marked_as_one(past):
    """v5 beats v4 by far; under a large margin v4 would not have been there, and how v5 does against v2 nobody saw."""
    past.rows = 3000
    past.judged("4", 0.7)
    past.judged("5", 0.01)
    kinds = [entry.kind for entry in past.ledger.entries() if entry.kind != "deploy-started"]
    assert kinds == ["promote", "promote", "reject", "promote", "promote"]
    asked = {"margin": past.ledger.entries()[6].metric.gain + 0.001}
    fourth, fifth = replayed(past, **asked).replayed[3:]
    assert fourth.now.verdict == "inconclusive" and fourth.would_be.version == "2" and not fourth.note
    assert fifth.now.champion_version == "4" and fifth.note == "judged against v4, though v2 would have been live"
    assert (fifth.now.verdict, fifth.would_be.version, fifth.would_be.guessed) == ("promote", "5", True)


def test_fresh_was_judged_without_the_anchor_there_would_have_been(blank):
    """v2 was shown to be better at low confidence only: at 95 % v1 would have stayed the anchor, and v3's evidence does not score v1."""
    past, unsure = blank, policy(confidence=0.6)
    for version, noise in (("1", 1.0), ("2", 0.95), ("3", 0.3)):
        assert past.judged(version, noise, policy=unsure).kind == "promote"
    second, third = replayed(past, preset="fresh", non_inferiority_margin=0.2).replayed[1:]
    assert (second.now.verdict, second.now.sets_anchor, second.note) == ("promote", False, "")
    assert third.now.verdict == "promote" and third.would_be.guessed and "not judged against the anchor" in third.note


def test_a_decision_without_evidence_stays_as_it_was(past):
    past.judged("4", 0.3, keep=False)
    past.judged("5", 4.0)
    done = replayed(past)
    fourth, fifth = done.replayed[3:]
    assert fourth.skipped and fourth.now is None and fourth.would_be.version == "4"
    assert fifth.now.verdict == "reject" and not fifth.note, "it was judged against v4, which stayed as it was"
    assert "1 skipped for want of evidence" in done.headline


def test_a_rollback_is_followed_only_where_it_was_about_what_would_be_live(past):
    past.rolled_back("1")
    past.judged("4", 0.3)
    same = replayed(past)
    assert live(same) == ["1", "2", "2", "1", "4"] and not any(one.note for one in same.replayed)
    other = replayed(past, margin=0.2)
    assert other.replayed[3].note == "not followed: v1 would have been live, not v2"
    # The rollback made the champion of the ledger the one that would have been live all along.
    assert not other.replayed[4].note


def test_a_failed_deploy_would_have_gone_live(past):
    entries = past.ledger.entries()
    draft = past.draft("6", 0.3)
    started = past.ledger.append(draft.model_copy(update={"kind": "deploy-started"}))
    past.ledger.append(draft.model_copy(update={"kind": "deploy-failed", "intent": started.number}))
    done = replayed(past)
    assert len(past.ledger.entries()) == len(entries) + 2 and len(done.replayed) == 4
    last = done.replayed[-1]
    assert (last.entry.kind, last.now.verdict, last.changed, last.would_be.version) == (
        "deploy-failed",
        "promote",
        False,
        "2",
    )


@pytest.mark.parametrize(
    ("answer", "kind", "live_now"), [("approve", "promote", "6"), ("deny", "deny", "2"), ("", "pending", "2")]
)
def test_a_promotion_that_waited_was_counted_twice_or_went_live_unasked(past, answer, kind, live_now):
    """pending, approve and promote are one decision."""
    pending = past.waiting("6", 0.3)
    if answer:
        past.ledger.append(Waiting(pending, None).says(answer, "command", "ann", ""))
    if answer == "approve":
        past.promoted(Waiting(pending, past.ledger.answer(pending)).promotion("command"))
    asked = replayed(past, approval="required")
    assert [one.entry.kind for one in asked.replayed[3:]] == [kind]
    assert asked.replayed[-1].would_be.version == live_now and not asked.replayed[-1].changed
    unasked = replayed(past)
    assert unasked.replayed[-1].would_be.version == ("2" if answer == "deny" else "6")


def test_what_was_judged_while_another_waited_was_marked_as_a_guess(past):
    """v6 waits, v7 is judged against v2, then v6 is approved: until then v2 was live, unless nothing has to wait."""
    pending = past.waiting("6", 0.3)
    past.judged("7", 3.0)
    past.ledger.append(Waiting(pending, None).says("approve", "command", "ann", ""))
    past.promoted(Waiting(pending, past.ledger.answer(pending)).promotion("command"))
    seventh, sixth = replayed(past, approval="required").replayed[3:]
    assert (seventh.entry.version, seventh.note, seventh.was.version) == ("7", "", "2")
    assert (sixth.entry.version, sixth.was.version, sixth.would_be.version) == ("6", "6", "6")
    sixth, seventh = replayed(past).replayed[3:]
    assert sixth.would_be.version == "6" and seventh.was.version == "2"
    assert seventh.note == "judged against v2, though v6 would have been live"


def test_a_rollback_left_the_anchor_of_what_it_undid(blank):
    """v3 became the anchor and is undone: v4 is judged against v2 and the anchor beneath it, v1, and that is right."""
    past, fresh = blank, {"preset": "fresh", "non_inferiority_margin": 0.2}
    for version, noise in (("1", 1.0), ("2", 0.95), ("3", 0.3)):
        past.judged(version, noise, policy=policy(**fresh))
    assert [past.decisions[version].sets_anchor for version in "123"] == [True, False, True]
    past.rolled_back("2")
    past.judged("4", 0.3, policy=policy(**fresh))
    assert past.decisions["4"].anchor_version == "1"
    done = replayed(past, **fresh)
    assert live(done) == ["1", "2", "3", "2", "4"] and not any(one.note for one in done.replayed)


def test_changed_evidence_in_the_archive_was_taken_for_evidence_or_ended_the_backtest(past):
    entry = past.ledger.entries()[-1]
    rows = past.folder / ".ratchet/store/evidence" / entry.evidence_digest.removeprefix("sha256:") / "rows.parquet"
    rows.write_bytes(rows.read_bytes()[:-1])
    *_, last = replayed(past).replayed
    assert last.now is None
    assert "the archive is damaged at" in last.note and "rows.parquet was changed" in last.note


def test_a_policy_that_does_not_fit_the_evidence_is_an_error(past):
    with pytest.raises(InputError, match="rmse does not fit a binary target"):
        replayed(past, metric="rmse")


def test_an_empty_ledger_has_nothing_to_say(tmp_path):
    from kfp_ratchet.components.shared.ledger import Ledger
    from kfp_ratchet.components.shared.store import Store

    store = Store(str(tmp_path / "none"))
    done = backtest(Ledger(store, "mine"), store, policy())
    assert done.replayed == () and "0 decisions" in done.headline

"""Where the policy wants a person's word nothing goes live without it, and what a person forces live is never hidden."""

import json
import os
import shutil
import time

import pytest

from kfp_ratchet.components.approve.approving import approve_version
from kfp_ratchet.components.deploy import rollout
from kfp_ratchet.components.deploy.approval import BY_TAG
from kfp_ratchet.components.deploy.by_hand import Place, answer, force_live, put_live, rollback
from kfp_ratchet.components.deploy.deployment import deploy_version
from kfp_ratchet.components.shared import registry
from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.forced import forced, warning
from kfp_ratchet.components.shared.journal import read_run
from kfp_ratchet.components.shared.ledger import ApprovalError, StaleEpochError
from kfp_ratchet.components.shared.model import model_digest
from kfp_ratchet.components.shared.store import Store


@pytest.fixture(scope="module")
def filled(new_bench, tmp_path_factory):
    """A registry with versions 1 to 3 of the line."""
    place = tmp_path_factory.mktemp("registry")
    made = new_bench(place)
    for version in "123":
        folder = made.model(version)
        digest = model_digest(folder)
        registry.register(f"sqlite:///{place}/mlflow.db", "line", folder, digest, {"ratchet.run": "r"}, {}, {}, version)
    return place / "mlflow.db"


@pytest.fixture
def office(bench, filled, tmp_path):
    """A copy of that registry, and the two steps that an approval is about."""
    tracking_uri = f"sqlite:///{shutil.copy(filled, tmp_path)}"

    def deploy(version, run="run-a", epoch=None, approval="required", against=None):
        made = bench.ledger.champion()
        epoch = (made.epoch if made else 0) if epoch is None else epoch
        folder = tmp_path / run
        (folder / "evidence").mkdir(parents=True, exist_ok=True)
        (folder / "evidence" / "probe.json").write_text(bench.probe(version).model_dump_json())
        decided = Decision(
            verdict="promote",
            reason="Promoted: better by 0.1",
            candidate_digest=model_digest(bench.model(version)),
            champion_digest=(bench.ledger.entry(epoch).digest if epoch else "") if against is None else against,
            policy={"approval": approval},
        )
        (folder / "decision").write_text(decided.model_dump_json())
        return deploy_version(
            str(folder / "evidence"),
            f"{folder}/evaluate/evidence",
            str(folder / "decision"),
            f"{folder}/gate/decision",
            "line",
            version,
            tracking_uri,
            bench.store,
            epoch,
            bench.serving.model_dump_json(),
            f"{folder}/deploy/deployment",
            f"{folder}/deploy/deployment",
        )

    def approve(version="", by="", run="run-approve"):
        path = f"{tmp_path}/{run}/approve/deployment"
        serving = bench.serving.model_dump_json()
        return approve_version("line", version, by, "fine", bench.store, tracking_uri, serving, path, path)

    def tag(version, value):
        with registry.connected(tracking_uri) as client:
            client.set_model_version_tag("line", version, registry.APPROVAL_TAG, value)

    deploy.approve, deploy.tag, deploy.bench = approve, tag, bench
    deploy.place = Place(bench.store, "line", tracking_uri, bench.serving)
    deploy.kinds = lambda: [(entry.kind, entry.version) for entry in bench.ledger.entries()]
    deploy.details = lambda run, step="deploy": read_run(Store(bench.store), run)[step].details
    return deploy


def moved_by_another(bench, version):
    started = bench.ledger.append(bench.draft(version, run="elsewhere", kind="deploy-started"))
    return bench.ledger.append(bench.draft(version, run="elsewhere").model_copy(update={"intent": started.number}))


def test_a_version_that_waits_is_noted_once_and_nothing_starts(office, tmp_path):
    assert [office("1", run=run) for run in ("run-a", "run-a", "run-b")] == ["", "", ""]
    assert office.kinds() == [("pending", "1")]
    details = office.details("run-b")
    assert (details["approval"], details["version"], details["entry"], details["url"]) == ("pending", "1", 1, "")
    assert "ratchet model approve line 1" in details["remedy"]
    assert json.loads((tmp_path / "run-a/deploy/deployment").read_text())["url"] == ""
    assert office.bench.running() == [] and office.bench.target.live() is None


def test_what_was_denied_stays_denied_whoever_asks_again(office):
    office("1")
    said = answer(office.place, "1", "deny", "ann", "worse at night")
    assert (said.state, said.answer.by) == ("denied", "ann")
    assert answer(office.place, "1", "deny", "bob", "").answer.number == said.answer.number
    with pytest.raises(ApprovalError, match=r"was denied by ann already .*worse at night"):
        answer(office.place, "1", "approve", "bob", "")
    office.tag("1", "approved")
    assert office("1", run="run-b") == "" and office.details("run-b")["approval"] == "denied"
    assert office.kinds() == [("pending", "1"), ("deny", "1")]


def test_an_approval_expires_when_the_champion_moves_and_says_who_moved_it(office):
    office("1")
    answer(office.place, "1", "approve", "ann", "")
    office("2", run="run-b")
    moved_by_another(office.bench, "3")
    for version in "12":
        with pytest.raises(StaleEpochError, match=r"expired.*entry 5 \(promote of version 3 by elsewhere\)"):
            answer(office.place, version, "approve", "ann", "")
    assert office.approve() == "" and office.details("run-approve", "approve")["approval"] == ""
    assert office.bench.running() == []


def test_a_tag_of_an_earlier_wait_approved_the_next(office):
    """The version is judged again, against another champion: what was said of it then does not count now."""
    office("1")
    moved_by_another(office.bench, "3")
    office.tag("1", "approved")
    assert office("1", run="run-b") == "" and office.details("run-b")["approval"] == "pending"
    assert office.kinds()[-1] == ("pending", "1") and office.bench.running() == []
    assert registry.approval(office.place.tracking_uri, "line", "1") == ""


def test_a_tag_from_before_anything_waited_approved_what_nobody_had_seen(office):
    office.tag("1", "approved")
    assert office("1") == "" and office.kinds() == [("pending", "1")]
    assert registry.approval(office.place.tracking_uri, "line", "1") == ""


def test_a_decision_against_no_champion_was_committed_over_one(office):
    """A first model need only beat the trivial one."""
    moved_by_another(office.bench, "3")
    with pytest.raises(RatchetError, match=r"judged against no champion, but the champion of epoch 2 is sha256:"):
        office("1", against="", approval="none")
    with pytest.raises(RatchetError, match=r"judged against sha256:.*, but the champion of epoch 0 is none"):
        office("1", epoch=0, against=office.bench.ledger.champion().digest)
    assert len(office.kinds()) == 2


def test_what_was_rolled_back_came_back_live_with_the_next_run(office):
    bench = office.bench
    moved_by_another(bench, "3")
    moved_by_another(bench, "1")
    back = bench.draft("3", run="rollback by ann", kind="rollback").model_copy(update={"by": "ann", "reason": "worse"})
    started = bench.ledger.append(back.model_copy(update={"kind": "deploy-started"}))
    entry = bench.ledger.append(back.model_copy(update={"intent": started.number}))
    assert [office("1", run=run, approval="none") for run in ("run-b", "run-c")] == ["", ""]
    details = office.details("run-c")
    assert (details["approval"], details["entry"]) == ("pending", entry.number + 1)
    said = f"v1 waits for approval (entry {entry.number + 1}): it was rolled back by ann (entry {entry.number}): worse"
    assert read_run(Store(bench.store), "run-c")["deploy"].line == said
    answer(office.place, "1", "deny", "bob", "still worse")
    moved_by_another(bench, "2")
    assert office("1", run="run-d", approval="none") == ""
    assert "it was denied by bob" in bench.ledger.entries()[-1].reason
    assert bench.running() == []


@pytest.mark.slow
def test_what_was_rolled_back_and_is_approved_goes_live_and_waits_no_more(office):
    office("1", approval="none")
    office("2", run="run-b", approval="none")
    rollback(office.place, None, "ann", "worse")
    assert office("2", run="run-c", approval="none") == ""
    put_live(office.place, answer(office.place, "2", "approve", "bob", ""), "r")
    assert office.bench.ledger.champion().version == "2"
    assert office.bench.ledger.taken_back(office.bench.ledger.champion().digest) is None


def test_a_tag_with_another_value_or_a_registry_that_is_away_approves_nothing(office, monkeypatch):
    office("1")
    office.tag("1", "yes")
    assert office("1") == ""

    def away(*_):
        raise registry.RegistryError("MLflow is away")

    monkeypatch.setattr(registry, "approval", away)
    assert office("1") == "" and office.kinds() == [("pending", "1")]


def test_what_does_not_wait_is_refused_and_what_does_is_named(office):
    office("2")
    with pytest.raises(ApprovalError, match="version 1 of line does not wait") as caught:
        answer(office.place, "1", "approve", "ann", "")
    assert "version 2" in caught.value.remedy
    with pytest.raises(InputError, match="ann approves, but no version is named"):
        office.approve(by="ann")


def test_the_pipeline_without_a_person_approves_nothing(office):
    assert office.approve() == "" and office.details("run-approve", "approve")["version"] == ""
    office("1")
    assert office.approve(run="run-2") == ""
    assert office.details("run-2", "approve")["approval"] == "pending" and office.kinds() == [("pending", "1")]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["by the pipeline", "by a tag and the pipeline", "by a tag and a later run", "by hand"])
def test_what_is_approved_goes_live_once(office, how):
    office("1")
    by = "ann"
    if "tag" in how:
        office.tag("1", "approved")
        by = BY_TAG
    for _ in range(2):
        if how == "by hand":
            done, unprojected = put_live(office.place, answer(office.place, "1", "approve", by, ""), "r")
            assert (done.live.url, unprojected) == (office.bench.target.live().url, "")
        else:
            office("1", run="run-b", epoch=0) if "later run" in how else office.approve(
                "1", "" if "tag" in how else "ann"
            )
    assert office.kinds() == [("pending", "1"), ("approve", "1"), ("deploy-started", "1"), ("promote", "1")]
    assert [entry.by for entry in office.bench.ledger.entries()][1::2] == [by, by]
    assert office.bench.running() == [office.bench.target.live().pid] and office.bench.ledger.pending() == []


def test_a_forced_promotion_without_a_person_a_reason_or_a_version_is_refused(office):
    for by, reason in (("", "demo"), ("ann", " ")):
        with pytest.raises(InputError, match="needs a person and a reason"):
            force_live(office.place, "1", by, reason)
    with pytest.raises(RatchetError, match="no version 7"):
        force_live(office.place, "7", "ann", "demo")
    moved_by_another(office.bench, "3")
    with pytest.raises(InputError, match="version 3 of line is the champion already"):
        force_live(office.place, "3", "ann", "demo")
    assert len(office.kinds()) == 2


@pytest.mark.slow
def test_a_forced_version_is_named_as_long_as_it_is_live_and_no_longer(office):
    ledger = office.bench.ledger
    office("1", approval="none")
    assert forced(ledger) is None
    entry = force_live(office.place, "2", "ann", "demo")
    assert (entry.kind, entry.by, entry.sets_anchor) == ("force", "ann", False)
    assert warning(forced(ledger)).startswith("v2 was forced live by ann on 20") and "demo" in warning(forced(ledger))
    office("3", run="run-c", approval="none")
    assert forced(ledger) is None
    rollback(office.place, None, "bob", "")
    assert forced(ledger).number == entry.number, "a rollback to it does not make it a promoted one"
    rollback(office.place, None, "bob", "")
    assert ledger.champion().version == "1" and forced(ledger) is None


@pytest.mark.parametrize(
    ("minutes", "is_taken"), [(0, False), (9, False), (11, True), (-9, False), (-11, True)], ids="{} min".format
)
def test_an_intent_is_as_old_as_the_store_says_whatever_the_writers_clock_said(bench, minutes, is_taken):
    """A writer's clock that is years ahead kept others out for years; one that is behind let two deploy at once."""
    intent = bench.ledger.append(bench.draft("1", run="other", kind="deploy-started"))
    (path,) = (bench.folder / "store").rglob(f"{intent.number:06d}.json")
    past = time.time() - 60 * minutes
    os.utime(path, (past, past))
    with bench.target.lock():
        if is_taken:
            assert rollout._claim(bench.ledger, bench.target, bench.draft("2")).intent == intent.number
        else:
            with pytest.raises(RatchetError, match="other has been deploying version 1"):
                rollout._claim(bench.ledger, bench.target, bench.draft("2"))


def test_a_deploy_that_died_just_after_its_intent_does_not_keep_others_out(bench):
    """It was noted in the lock only after it was in the ledger."""
    dead = bench.draft("1", run="dead", kind="deploy-started")
    with bench.target.lock():
        bench.target.hold(dead)
        bench.ledger.append(dead)
    with bench.target.lock():
        assert rollout._claim(bench.ledger, bench.target, bench.draft("2")).version == "2"

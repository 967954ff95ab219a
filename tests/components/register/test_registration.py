"""Whatever the verdict, the candidate is kept once, and the ledger has one entry for what was decided."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from kfp_ratchet.components.gate.decision import unverifiable
from kfp_ratchet.components.gate.policy import Policy
from kfp_ratchet.components.register.registration import register_model
from kfp_ratchet.components.shared.archive import fetch_evidence, read_decision
from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.decision import Decision, Evaluation, Interval
from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.errors import InconclusiveError, InputError, RatchetError
from kfp_ratchet.components.shared.evidence import evidence_digest
from kfp_ratchet.components.shared.journal import read_run
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.lineage import Lineage
from kfp_ratchet.components.shared.model import Card, model_digest
from kfp_ratchet.components.shared.store import Store


@pytest.fixture(scope="module")
def tracking_uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "artifacts" / "workload").mkdir(parents=True)
    (folder / "artifacts" / "workload" / "weights.json").write_text("{}")
    Card(
        workload="tabular",
        parameters={"width": 8},
        columns=Columns(target="y"),
        features={"x": "Float64"},
        revision="sha256:r",
        window={},
        split_rule="time",
        rows=90,
        seed=0,
        device="cpu",
        metrics={"loss": 0.5},
    ).write(folder)
    return folder


@pytest.fixture
def run_step(tmp_path, model, tracking_uri, request):
    name = f"m{abs(hash(request.node.name))}"

    evidence = tmp_path / "evidence"
    evidence.mkdir()
    for file in ("rows.parquet", "evidence.json", "probe.json"):
        (evidence / file).write_text("{}")

    def step(run="run-a", epoch=0, **decided):
        fields = {
            "verdict": "reject",
            "reason": "not better",
            "candidate_digest": model_digest(model),
            "metric": "roc_auc",
            "candidate": Interval(value=0.7),
            "gain": Interval(value=-0.01, low=-0.02, high=0.0),
            "accepted_rows": 120,
            "revision": "sha256:r",
        }
        path = tmp_path / f"{run}.json"
        path.write_text(Decision(**{**fields, **decided}).model_dump_json())
        return register_model(
            str(model),
            f"{tmp_path}/{run}/train/model",
            str(evidence),
            f"{tmp_path}/{run}/evaluate/evidence",
            str(path),
            f"{tmp_path}/{run}/gate/decision",
            name,
            tracking_uri,
            str(tmp_path / "store"),
            epoch,
            step.provenance,
            str(tmp_path / run / "register" / "registration"),
            f"{tmp_path}/{run}/register/registration",
        )

    step.provenance = "{}"
    step.ledger = Ledger(Store(str(tmp_path / "store")), name)
    step.details = lambda run="run-a": read_run(Store(str(tmp_path / "store")), run)["register"]
    return step


@pytest.mark.parametrize("verdict", ["reject", "inconclusive"])
def test_a_step_run_twice_writes_one_version_and_one_entry(run_step, verdict):
    assert [run_step(verdict=verdict) for _ in range(2)] == ["1", "1"]
    (entry,) = run_step.ledger.entries()
    assert (entry.kind, entry.version, entry.rows, entry.run) == (verdict, "1", 120, "run-a")
    assert (entry.metric.name, entry.metric.gain_low) == ("roc_auc", -0.02)
    assert entry.decision_digest.startswith("sha256:")


def versions(tracking_uri, run_step):
    from kfp_ratchet.components.shared import registry

    with registry.connected(tracking_uri) as client:
        return client.search_model_versions(f"name = '{run_step.ledger.model}'")


@pytest.mark.parametrize("verdict", ["promote", "reject"])
def test_another_run_with_the_same_candidate_and_decision_doubles_nothing(run_step, verdict, tracking_uri):
    assert [run_step(run=run, verdict=verdict) for run in ("run-a", "run-b", "run-c")] == ["1"] * 3
    assert len(versions(tracking_uri, run_step)) == 1
    assert len(run_step.ledger.entries()) == (verdict == "reject")
    assert run_step.details("run-c").details["entry"] == (1 if verdict == "reject" else None)


def test_another_decision_about_the_same_model_is_a_new_entry_on_the_same_version(run_step, tracking_uri):
    run_step()
    assert run_step(run="run-b", verdict="inconclusive", reason="too few rows") == "1"
    (version,) = versions(tracking_uri, run_step)
    assert (version.tags["ratchet.run"], version.tags["ratchet.verdict"]) == ("run-b", "inconclusive")
    assert [entry.kind for entry in run_step.ledger.entries()] == ["reject", "inconclusive"]


def test_identical_runs_at_once_make_one_version_and_one_entry(run_step, tracking_uri, monkeypatch):
    from mlflow import MlflowClient

    search = MlflowClient.search_runs

    def then_pause(self, *arguments, **keywords):
        found = search(self, *arguments, **keywords)
        time.sleep(0.3)
        return found

    monkeypatch.setattr(MlflowClient, "search_runs", then_pause)
    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(lambda run: run_step(run=run), ["run-b", "run-c", "run-d"])) == {"1"}
    assert len(versions(tracking_uri, run_step)) == 1
    assert len(run_step.ledger.entries()) == 1


def test_a_ledger_that_was_lost_is_not_begun_anew(run_step, tmp_path):
    """An unmounted store or a wrong prefix looks like a model that was never judged."""
    run_step()
    shutil.rmtree(tmp_path / "store" / "ledger")
    for verdict in ("promote", "reject"):
        with pytest.raises(RatchetError, match=r"MLflow has shown entry 1 of .*, but this ledger has 0") as refused:
            run_step(run="run-b", verdict=verdict)
        assert "check `store`" in refused.value.remedy
    assert not (tmp_path / "store" / "ledger").exists()


def test_a_promoted_candidate_gets_a_version_and_leaves_the_entry_to_deploy(run_step):
    assert run_step(verdict="promote") == "1"
    assert run_step.ledger.entries() == []
    assert run_step.details().details["entry"] is None


def test_an_inconclusive_verdict_fails_the_run_where_the_policy_says_so_and_all_is_kept(run_step, tracking_uri):
    for _ in range(2):
        with pytest.raises(InconclusiveError, match="too few rows") as caught:
            run_step(verdict="inconclusive", reason="too few rows", policy={"on_inconclusive": "fail"})
    assert caught.value.exit_code == 4
    (entry,) = run_step.ledger.entries()
    assert entry.kind == "inconclusive" and len(versions(tracking_uri, run_step)) == 1
    assert run_step.details().details["decision"]["verdict"] == "inconclusive"


def test_evidence_and_decision_are_kept_before_the_ledger_speaks_of_them(run_step, tmp_path, monkeypatch):
    archived = evidence_digest(tmp_path / "evidence")

    def away(*_):
        raise RatchetError("the ledger is away")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", away)
        with pytest.raises(RatchetError, match="the ledger is away"):
            run_step(evidence_digest=archived)
    run_step(evidence_digest=archived)
    (entry,) = run_step.ledger.entries()
    store = Store(str(tmp_path / "store"))
    assert fetch_evidence(store, entry.evidence_digest, tmp_path / "fetched").is_dir()
    assert read_decision(store, entry.decision_digest).reason == "not better"


def test_rows_that_judged_other_models_before_are_counted_whatever_the_verdict(run_step):
    seen = Evaluation(digest="sha256:rows")
    run_step.ledger.append(
        Draft(kind="reject", version="9", digest="sha256:other", epoch=0, run="old", evaluation=seen)
    )
    run_step(verdict="promote", evaluation=seen)
    assert run_step.details().details["looks"] == 1 and "warning: look 2 at these rows" in run_step.details().line
    run_step(run="run-b", evaluation=seen)
    assert run_step.details("run-b").details["looks"] == 1


def test_the_champion_again_makes_no_version_and_needs_no_mlflow(run_step, model, monkeypatch):
    from kfp_ratchet.components.shared import registry

    run_step.ledger.append(Draft(kind="promote", version="7", digest=model_digest(model), epoch=0, run="old"))
    monkeypatch.setattr(registry, "register", None)
    assert run_step(unchanged=True, champion_version="7", epoch=1) == "7"
    assert [(entry.kind, entry.version) for entry in run_step.ledger.entries()] == [("promote", "7"), ("reject", "7")]
    assert "is the champion already" in run_step.details().line


def test_a_decision_about_another_model_registers_nothing(run_step):
    with pytest.raises(RatchetError, match="is about model sha256:other"):
        run_step(candidate_digest="sha256:other")
    assert run_step.ledger.entries() == []


def test_a_candidate_whose_evidence_cannot_be_read_is_kept_as_inconclusive(run_step, model, tmp_path):
    blind = json.loads(unverifiable(Policy(), "rows.parquet is not what evidence.json speaks of").model_dump_json())
    assert run_step(**blind) == "1"
    (entry,) = run_step.ledger.entries()
    assert (entry.kind, entry.version, entry.digest) == ("inconclusive", "1", model_digest(model))
    with pytest.raises(RatchetError, match=r"is about model \(none\)"):
        run_step(run="run-b", verdict="promote", candidate_digest="")


def test_the_journal_has_what_the_report_draws_and_where_the_inputs_came_from(run_step, tmp_path):
    run_step()
    record = run_step.details()
    assert record.details["decision"]["verdict"] == record.details["verdict"] == "reject"
    assert record.details["card"]["parameters"] == {"width": 8} and record.details["entry"] == 1
    made_by = {"model": "train", "evidence": "evaluate", "decision": "gate"}
    assert {name: origin.step for name, origin in record.inputs.items()} == made_by
    written = json.loads((tmp_path / "run-a" / "register" / "registration").read_text())
    assert (written["version"], written["entry"]) == ("1", 1)


def lineage_of(run_step, tmp_path, version="1"):
    return Lineage.load(Store(str(tmp_path / "store")), run_step.ledger.model, version)


@pytest.mark.parametrize("verdict", ["promote", "reject"])
def test_what_made_a_version_is_kept_by_the_first_run_that_made_it(run_step, tmp_path, tracking_uri, verdict):
    run_step.provenance = json.dumps({"commit": "abc", "dirty": True, "yaml_digest": "sha256:y"})
    run_step(verdict=verdict)
    run_step.provenance = json.dumps({"commit": "def", "dirty": False})
    run_step(run="run-b", verdict=verdict)
    kept = lineage_of(run_step, tmp_path)
    assert (kept.run, kept.version, kept.verdict, kept.provenance.commit) == ("run-a", "1", verdict, "abc")
    assert kept.decision_digest.startswith("sha256:") and kept.revision == "sha256:r"
    assert [made.step for made in kept.steps] == ["train", "evaluate", "gate"], "they left no records, and are told"
    (version,) = versions(tracking_uri, run_step)
    assert (version.tags["ratchet.run"], version.tags["ratchet.commit"], version.tags["ratchet.dirty"]) == (
        "run-b",
        "def",
        "false",
    )
    assert run_step.details().details["lineage"]["commit"] == "abc and changes that were not committed"


def test_a_commit_that_nobody_told_has_no_tag(run_step, tracking_uri):
    run_step()
    (version,) = versions(tracking_uri, run_step)
    assert not {"ratchet.commit", "ratchet.dirty", "ratchet.yaml_digest"} & set(version.tags)
    assert "commit" not in run_step.details().details["lineage"]


@pytest.mark.parametrize("place", ["keep", "append"])
def test_a_kill_between_registry_lineage_and_ledger_loses_none_of_them(run_step, tmp_path, monkeypatch, place):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Lineage if place == "keep" else Ledger, place, killed)
        with pytest.raises(KeyboardInterrupt):
            run_step()
    assert (lineage_of(run_step, tmp_path) is not None) == (place == "append"), "before an entry speaks of the version"
    run_step(run="run-b")
    kept = lineage_of(run_step, tmp_path)
    assert kept is not None and kept.run == ("run-a" if place == "append" else "run-b")
    assert [entry.version for entry in run_step.ledger.entries()] == ["1"]


def test_provenance_with_a_key_that_nobody_reads(run_step):
    run_step.provenance = '{"comit": "abc"}'
    with pytest.raises(InputError, match=r"provenance\.comit is not a setting"):
        run_step()
    assert run_step.ledger.entries() == []

"""The whole step: registry, server, ledger, aliases, journal and the deployment file tell the same story."""

import json

import pytest

from kfp_ratchet.components.deploy.deployment import deploy_version
from kfp_ratchet.components.shared import projection, registry
from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.journal import read_run
from kfp_ratchet.components.shared.model import model_digest
from kfp_ratchet.components.shared.store import Store


@pytest.fixture
def step(bench, tmp_path):
    tracking_uri = f"sqlite:///{tmp_path}/mlflow.db"

    def run(version="1", verdict="promote", epoch=0, serving=None, tracking=tracking_uri, name="run-a"):
        digest = model_digest(bench.model(version))
        evidence, decision = tmp_path / "evidence", tmp_path / "decision.json"
        evidence.mkdir(exist_ok=True)
        (evidence / "probe.json").write_text(bench.probe(version).model_dump_json())
        decided = Decision(verdict=verdict, reason="better", candidate_digest=digest, accepted_rows=9)
        decision.write_text(decided.model_dump_json())
        return deploy_version(
            str(evidence),
            f"{tmp_path}/{name}/evaluate/evidence",
            str(decision),
            f"{tmp_path}/{name}/gate/decision",
            "line",
            version,
            tracking,
            bench.store,
            epoch,
            serving or bench.serving.model_dump_json(),
            f"{tmp_path}/{name}/deploy/deployment",
            f"{tmp_path}/{name}/deploy/deployment",
        )

    def register(version):
        folder = bench.model(version)
        tags = {"ratchet.run": f"run-{version}"}
        return registry.register(tracking_uri, "line", folder, model_digest(folder), tags, {}, {}, version)

    run.register = register
    run.record = lambda name="run-a": read_run(Store(bench.store), name)["deploy"]
    run.tracking_uri = tracking_uri
    return run


@pytest.mark.slow
def test_deployment_file_ledger_aliases_and_journal_agree(step, bench, tmp_path):
    step.register("1")
    url = step()
    written = json.loads((tmp_path / "run-a" / "deploy" / "deployment").read_text())
    details = step.record().details
    assert written == {"model": "line", "url": url, "version": "1", "entry": 2}
    assert {
        "url": url,
        "version": "1",
        "entry": 2,
        "previous_version": "",
        "aliases_error": "",
    }.items() <= details.items()
    assert details["probe"] == {"rows": 2, "max_difference": 0.0}
    assert step.record().line == f"v1 live at {url} · 2 answers checked · entry 2"
    with registry.connected(step.tracking_uri) as client:
        assert {k: str(v) for k, v in client.get_registered_model("line").aliases.items()} == {"champion": "1"}


@pytest.mark.slow
def test_a_registry_that_fails_after_the_commit_does_not_fail_the_deploy(step, bench, monkeypatch):
    step.register("1")

    monkeypatch.setattr(projection, "project", lambda *_: "MLflow is away")
    step()
    assert bench.ledger.champion().version == "1"
    assert step.record().details["aliases_error"] == "MLflow is away"


def test_only_the_verdict_promote_goes_live(step, bench):
    with pytest.raises(RatchetError, match="verdict on version 1 is inconclusive"):
        step(verdict="inconclusive")
    assert bench.ledger.entries() == [] and step.record().state == "failed"


def test_an_unknown_serving_setting_is_an_input_error_that_names_it(step):
    with pytest.raises(InputError, match="prot"):
        step(serving='{"prot": 80}')


@pytest.mark.slow
def test_a_version_whose_bytes_changed_since_it_was_judged_never_starts(step, bench, tmp_path):
    step.register("1")
    (weights,) = (tmp_path / "mlartifacts").rglob("weights.json")
    weights.write_text('{"slope": 5}')
    with pytest.raises(RatchetError, match="as the ledger says"):
        step()
    assert bench.running() == [] and bench.ledger.entries()[-1].kind == "deploy-failed"
    with registry.connected(step.tracking_uri) as client:
        assert list(client.get_registered_model("line").aliases) == ["challenger"]

"""The registry keeps one version a model digest, whatever was killed, and gives back exactly the bytes that were registered."""

import json

import pytest

from kfp_ratchet.components.shared import registry
from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.model import Card, model_digest


@pytest.fixture(scope="module")
def tracking_uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/deeper/mlflow.db"


@pytest.fixture
def model(tmp_path):
    workload = tmp_path / "model" / "artifacts" / "workload"
    workload.mkdir(parents=True)
    (workload / "weights.json").write_text(json.dumps({"slope": 1}))
    Card(
        workload="tabular",
        parameters={},
        columns=Columns(target="y"),
        features={"x": "Float64"},
        revision="sha256:r",
        window={},
        split_rule="time",
        rows=90,
        seed=0,
        device="cpu",
    ).write(tmp_path / "model")
    return tmp_path / "model"


def register(tracking_uri, name, model, run="run-a"):
    return registry.register(
        tracking_uri,
        name,
        model,
        model_digest(model),
        tags={"ratchet.run": run, "ratchet.verdict": "reject"},
        metrics={"auc": 0.7},
        parameters={"width": 8, "text": "x" * 7000},
        run_name=run,
    )


def versions(tracking_uri, name):
    with registry.connected(tracking_uri) as client:
        return client.search_model_versions(f"name = '{name}'")


def change(model, slope):
    (model / "artifacts" / "workload" / "weights.json").write_text(json.dumps({"slope": slope}))


def test_a_digest_has_one_version_whichever_run_asks_and_another_digest_another(tracking_uri, model):
    assert [register(tracking_uri, "twice", model, run=run) for run in ("run-a", "run-a", "run-b")] == ["1"] * 3
    change(model, 2)
    assert register(tracking_uri, "twice", model, run="run-b") == "2"
    assert len(versions(tracking_uri, "twice")) == 2


def test_a_version_judged_again_carries_the_newest_tags_and_metrics(tracking_uri, model):
    register(tracking_uri, "again", model)
    tags = {"ratchet.run": "run-b", "ratchet.verdict": "promote"}
    registry.register(tracking_uri, "again", model, model_digest(model), tags, {"auc": 0.9}, {"width": 9}, "run-b")
    (version,) = versions(tracking_uri, "again")
    with registry.connected(tracking_uri) as client:
        run = client.get_run(version.run_id)
    assert tags.items() <= version.tags.items() and tags.items() <= run.data.tags.items()
    assert run.data.metrics == {"auc": 0.9} and run.data.params["width"] == "8"


@pytest.mark.parametrize(
    "last", ["create_run", "log_artifacts", "create_registered_model", "create_model_version", "set_model_version_tag"]
)
def test_a_registration_killed_anywhere_is_completed_and_not_doubled(tracking_uri, model, monkeypatch, last):
    from mlflow import MlflowClient

    name = f"killed-{last}"
    real = getattr(MlflowClient, last)

    class Killed(BaseException):
        pass

    def killed(self, *arguments, **keywords):
        real(self, *arguments, **keywords)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, last, killed)
        if last == "set_model_version_tag":
            create = MlflowClient.create_model_version
            # As if killed before the version got its tags.
            patch.setattr(
                MlflowClient, "create_model_version", lambda self, *a, tags, **k: create(self, *a, tags={}, **k)
            )
        with pytest.raises(Killed):
            register(tracking_uri, name, model)
    assert register(tracking_uri, name, model) == "1"
    (version,) = versions(tracking_uri, name)
    with registry.connected(tracking_uri) as client:
        experiment = client.get_experiment_by_name(name)
        (run,) = client.search_runs([experiment.experiment_id])
    assert version.tags["ratchet.verdict"] == "reject" and version.tags["ratchet.digest"] == model_digest(model)
    assert run.info.status == "FINISHED" and run.data.metrics == {"auc": 0.7} and run.data.params["width"] == "8"


def test_artifacts_lie_beside_the_database_and_not_in_the_working_directory(tracking_uri, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    register("sqlite:///.ratchet/mlflow.db", "beside", model)
    assert list((tmp_path / ".ratchet" / "mlartifacts" / "beside").rglob("weights.json"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".ratchet", "model"]


def test_a_fetched_model_is_the_registered_one_and_a_changed_one_is_refused(tracking_uri, model, tmp_path):
    digest = model_digest(model)
    version = register(tracking_uri, "fetched", model)
    folder = registry.fetch(tracking_uri, "fetched", version, digest, tmp_path / "a")
    assert model_digest(folder) == digest and (folder / "ratchet.json").is_file()
    (stored,) = versions(tracking_uri, "fetched")
    weights = tmp_path.__class__(stored.source) / "artifacts" / "workload" / "weights.json"
    weights.write_text("{}")
    with pytest.raises(RatchetError, match=r"version 1 of fetched .* not sha256:"):
        registry.fetch(tracking_uri, "fetched", version, digest, tmp_path / "b")
    with pytest.raises(RatchetError, match="no version 9 of fetched"):
        registry.fetch(tracking_uri, "fetched", "9", digest, tmp_path / "c")


def test_a_server_that_is_away_is_named_without_its_password(model, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RatchetError, match=r"MLflow at http://\*\*\*@127\.0\.0\.1:1 failed") as caught:
        register("http://ann:secret@127.0.0.1:1", "away", model)
    assert "secret" not in str(caught.value) and "tracking_uri" in caught.value.remedy


def test_no_tracking_uri_is_an_input_error(model):
    with pytest.raises(InputError, match="tracking URI is not set"):
        register("", "none", model)


def test_an_error_without_words_is_told_by_its_kind(tmp_path):
    with pytest.raises(RatchetError, match="failed: TimeoutError"), registry.connected(f"sqlite:///{tmp_path}/m.db"):
        raise TimeoutError

"""Each check sees what it is for, and says what to do."""

import time
from datetime import timedelta
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.pipelines.doctor import cluster, places
from kfp_ratchet.pipelines.doctor.check import look, ok
from kfp_ratchet.pipelines.pipeline_text import PipelineText
from kfp_ratchet.testing.kfp_server import KfpServer

ROOT = Path(__file__).resolve().parents[3]
APPROVE = (ROOT / "compiled" / "approve.yaml").read_text()


def test_a_healthy_server_is_called_so(doctor):
    found, _ = doctor("--no-kubernetes")
    states = {name: one["state"] for name, one in found.items()}
    assert {name: states[name] for name in ("server", "credentials", "clock", "schedules", "runs")} == dict.fromkeys(
        ("server", "credentials", "clock", "schedules", "runs"), "ok"
    )
    assert found["Kubernetes"]["said"] == "not asked for"


def test_a_server_that_is_away_is_told_once(doctor):
    found, code = doctor("--no-kubernetes", server="http://127.0.0.1:9")
    failed = [name for name, one in found.items() if one["state"] == "failed" and not name.startswith("image")]
    assert failed == ["server"]
    assert code == 1


def test_a_wrong_token_is_named(doctor, double, monkeypatch):
    double.token = "right"
    monkeypatch.setenv("KFP_TOKEN", "wrong-token")
    found, code = doctor("--no-kubernetes")
    assert (found["credentials"]["state"], code) == ("failed", 1)
    assert "KFP_TOKEN" in found["credentials"]["remedy"]
    assert "wrong-token" not in str(found)


def test_a_clock_that_is_wrong_goes_unseen(doctor, double):
    double.advance(timedelta(minutes=2).total_seconds())
    found, _ = doctor("--no-kubernetes")
    assert found["clock"]["state"] == "failed"


def test_several_users_and_no_namespace(tmp_path, monkeypatch, doctor):
    with KfpServer(namespaces=["mine"]) as double:
        found, _ = doctor("--no-kubernetes", server=double.url)
    assert found["namespace"]["state"] == "failed"


def test_schedules_of_a_deleted_pipeline_fire_on_unseen(doctor, double):
    from kfp_ratchet.pipelines.server.connection import Server
    from kfp_ratchet.pipelines.server.objects import NewSchedule, Trigger
    from kfp_ratchet.pipelines.server.settings import ServerSettings

    server = Server.connect(ServerSettings(url=double.url))
    pipeline = server.create_pipeline("p", "")
    version = server.upload_version(pipeline.id, "v", "", APPROVE)
    given = dict.fromkeys(("model_name", "version", "by", "reason", "store", "tracking_uri"), "x")
    new = NewSchedule(
        "orphan", "", server.experiment("e").id, pipeline.id, version.id, Trigger(cron="0 3 * * *"), given, enabled=True
    )
    server.create_schedule(new)
    assert doctor("--no-kubernetes")[0]["schedules"]["state"] == "ok"
    server.delete_pipeline(pipeline.id)
    found, code = doctor("--no-kubernetes")
    assert "orphan" in found["schedules"]["said"]
    assert (found["schedules"]["state"], code) == ("failed", 1)


def test_a_run_that_waits_for_ever_is_named(doctor, double):
    from kfp_ratchet.pipelines.server.connection import Server
    from kfp_ratchet.pipelines.server.settings import ServerSettings

    server = Server.connect(ServerSettings(url=double.url))
    given = dict.fromkeys(("model_name", "version", "by", "reason", "store", "tracking_uri"), "x")
    run = server.create_run(
        name="stuck",
        description="",
        experiment_id=server.experiment("e").id,
        parameters=given,
        spec=PipelineText.parse(APPROVE).spec,
    )
    double.set_run(run.id, "RUNNING")
    double.advance(timedelta(days=1, minutes=1).total_seconds())
    found, _ = doctor("--no-kubernetes")
    assert run.id in found["runs"]["said"]


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("python", ("registry-1.docker.io", "library/python", "latest")),
        ("kfp-ratchet/slim:0.1.0", ("registry-1.docker.io", "kfp-ratchet/slim", "0.1.0")),
        ("localhost:5000/a/b:1", ("localhost:5000", "a/b", "1")),
        ("ghcr.io/a/b@sha256:00", ("ghcr.io", "a/b", "sha256:00")),
    ],
)
def test_references_are_read_as_docker_reads_them(reference, parts):
    assert places._parts(reference) == parts


def test_a_store_is_tried_and_not_only_found(monkeypatch, tmp_path):
    import boto3

    from kfp_ratchet.pipelines.project import Project

    moto = ThreadedMotoServer(port=0)
    moto.start()
    try:
        url = "http://{}:{}".format(*moto.get_host_and_port())
        keys = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "k",
            "AWS_SECRET_ACCESS_KEY": "s",
            "AWS_REGION": "us-east-1",
        }
        for name, value in keys.items():
            monkeypatch.setenv(name, value)
        boto3.Session().client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket="there")
        config = Project.open(ROOT / "examples/flights/ratchet.yaml").config

        def state(store):
            return places._store(Project(tmp_path, config.model_copy(update={"store": store}))).state

        assert state("s3://there/x") == "ok"
        assert state("s3://missing/x") == "failed"
        assert state("folder") == "warning"
    finally:
        moto.stop()


def test_what_pods_ask_for_is_read_from_the_yaml():
    platform = {
        "exec-train": {
            "secretAsEnv": [{"secretName": "s3", "optional": True, "keyToEnv": []}],
            "configMapAsVolume": [{"configMapNameParameter": {"runtimeValue": {"constant": "settings"}}}],
        },
        "exec-pin": {"secretAsEnv": [{"secretNameParameter": {"runtimeValue": {"constant": "s3"}}}]},
    }
    spec = {"platform_spec": {"platforms": {"kubernetes": {"deploymentSpec": {"executors": platform}}}}}
    found = cluster.needed([PipelineText("", spec)])
    assert [(one.kind, one.name, one.optional, one.steps) for one in found] == [
        ("ConfigMap", "settings", False, ("train",)),
        # One step can do without it, the other not.
        ("Secret", "s3", False, ("train", "pin")),
    ]


def test_a_check_that_hangs_or_breaks_hides_no_other():
    def broken():
        raise RatchetError("it is broken", "mend it")

    def missing():
        import no_such_module_at_all  # noqa: F401

    looks = {"hangs": lambda: time.sleep(60), "broken": broken, "missing": missing, "fine": lambda: ok("fine")}
    found = {one.name: one.state for one in look(looks, 1)}
    assert found == {"hangs": "failed", "broken": "failed", "missing": "skipped", "fine": "ok"}

"""Kubeflow's own client works against the double, and raises and keeps silent where it was recorded to."""

from pathlib import Path

import pytest
from kfp_server_api.exceptions import ApiException

from kfp_ratchet.testing.kfp_server import KfpServer


def test_the_client_uploads_runs_waits_and_schedules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import kfp

    monkeypatch.setattr(kfp.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    package = Path(__file__).parent / "one_step.yaml"
    with KfpServer(pace=100) as server:
        client = kfp.Client(host=server.url)
        pipeline = client.upload_pipeline(str(package), "one", description="Say it.")
        assert client.get_pipeline_id("one") == pipeline.pipeline_id
        assert client.get_pipeline_id("none") is None
        version = client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions[0]
        assert version.pipeline_spec["pipelineInfo"]["name"] == "one"
        newer = client.upload_pipeline_version(str(package), "v2", pipeline_id=pipeline.pipeline_id)
        experiment = client.create_experiment("first")
        assert client.create_experiment("first").experiment_id == experiment.experiment_id

        run = client.run_pipeline(
            experiment.experiment_id,
            "once",
            params={"text": "hello"},
            pipeline_id=pipeline.pipeline_id,
            version_id=version.pipeline_version_id,
        )
        assert run.state == "PENDING"
        ended = client.wait_for_run_completion(run.run_id, timeout=60, sleep_duration=0.1)
        assert ended.state == "SUCCEEDED"
        assert {"root-driver", "root", "say-driver", "say", "executor"} <= {
            task.display_name for task in ended.run_details.task_details
        }
        assert [each.run_id for each in client.list_runs(experiment_id=experiment.experiment_id).runs] == [run.run_id]

        schedule = client.create_recurring_run(
            experiment.experiment_id,
            "nightly",
            cron_expression="0 3 * * *",
            pipeline_id=pipeline.pipeline_id,
            version_id=newer.pipeline_version_id,
            params={"text": "again"},
        )
        assert client.get_recurring_run(schedule.recurring_run_id).status == "ENABLED"
        client.disable_recurring_run(schedule.recurring_run_id)
        assert client.get_recurring_run(schedule.recurring_run_id).status == "DISABLED"
        client.delete_recurring_run(schedule.recurring_run_id)
        assert client.list_recurring_runs().recurring_runs is None

        with pytest.raises(ApiException) as taken:
            client.upload_pipeline(str(package), "ONE")
        assert taken.value.status == 409
        with pytest.raises(ApiException) as wrong:
            client.run_pipeline(
                experiment.experiment_id,
                "wrong",
                params={"text": 3},
                pipeline_id=pipeline.pipeline_id,
                version_id=version.pipeline_version_id,
            )
        assert wrong.value.status == 400
        assert "text" in wrong.value.body
        with pytest.raises(ApiException) as gone:
            client.get_recurring_run(schedule.recurring_run_id)
        assert gone.value.status == 404

"""From a server's JSON to `objects`, and back."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kfp_ratchet.pipelines.server.objects import (
    Experiment,
    NewSchedule,
    Pipeline,
    Run,
    Schedule,
    Task,
    Trigger,
    Version,
)

Json = Mapping[str, Any]
_NEVER = 1971
"""Of a time that has not come the server says 1970, or year 1."""


def pipeline(said: Json) -> Pipeline:
    """A pipeline."""
    return Pipeline(said["pipeline_id"], _name(said), said.get("description", ""), _moment(said, "created_at"))


def version(said: Json) -> Version:
    """A version of a pipeline."""
    return Version(
        said["pipeline_version_id"],
        said.get("pipeline_id", ""),
        _name(said),
        said.get("description", ""),
        _moment(said, "created_at"),
        said.get("pipeline_spec", {}),
    )


def experiment(said: Json) -> Experiment:
    """An experiment."""
    return Experiment(
        said["experiment_id"], _name(said), said.get("description", ""), said.get("storage_state") == "ARCHIVED"
    )


def schedule(said: Json) -> Schedule:
    """A recurring run."""
    reference, config = said.get("pipeline_version_reference", {}), said.get("runtime_config", {})
    trigger = said.get("trigger", {})
    cron, interval = trigger.get("cron_schedule", {}), trigger.get("periodic_schedule", {})
    when = cron or interval
    return Schedule(
        id=said["recurring_run_id"],
        name=_name(said),
        description=said.get("description", ""),
        experiment_id=said.get("experiment_id", ""),
        pipeline_id=reference.get("pipeline_id", ""),
        version_id=reference.get("pipeline_version_id", ""),
        trigger=Trigger(
            cron.get("cron", ""),
            int(interval.get("interval_second", 0)),
            _time(when, "start_time"),
            _time(when, "end_time"),
        ),
        parameters=config.get("parameters", {}),
        pipeline_root=config.get("pipeline_root", ""),
        catch_up=not said.get("no_catchup", False),
        max_concurrency=int(said.get("max_concurrency", 1)),
        enabled=said.get("mode") == "ENABLE" or said.get("status") == "ENABLED",
        service_account=said.get("service_account", ""),
        created=_time(said, "created_at"),
    )


def run(said: Json) -> Run:
    """A run."""
    reference, config = said.get("pipeline_version_reference", {}), said.get("runtime_config", {})
    return Run(
        id=said["run_id"],
        name=_name(said),
        description=said.get("description", ""),
        state=said.get("state", ""),
        experiment_id=said.get("experiment_id", ""),
        pipeline_id=reference.get("pipeline_id", ""),
        version_id=reference.get("pipeline_version_id", ""),
        recurring_run_id=said.get("recurring_run_id", ""),
        parameters=config.get("parameters", {}),
        pipeline_root=config.get("pipeline_root", ""),
        created=_moment(said, "created_at"),
        scheduled=_time(said, "scheduled_at"),
        finished=_time(said, "finished_at"),
        archived=said.get("storage_state") == "ARCHIVED",
        tasks=tuple(_task(one) for one in said.get("run_details", {}).get("task_details", [])),
        spec=said.get("pipeline_spec"),
    )


def as_json(new: NewSchedule) -> dict[str, Any]:
    """What the server wants to create a recurring run."""
    trigger = new.trigger
    when = {
        name: moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for name, moment in (("start_time", trigger.start), ("end_time", trigger.end))
        if moment
    }
    return {
        "display_name": new.name,
        "description": new.description,
        "experiment_id": new.experiment_id,
        "pipeline_version_reference": reference(new.pipeline_id, new.version_id),
        "trigger": {"cron_schedule": {"cron": trigger.cron, **when}}
        if trigger.cron
        else {"periodic_schedule": {"interval_second": str(trigger.interval_seconds), **when}},
        # Without a mode it would be disabled, without a trigger enabled.
        "mode": "ENABLE" if new.enabled else "DISABLE",
        "max_concurrency": str(new.max_concurrency),
        "no_catchup": not new.catch_up,
        "runtime_config": runtime(new.parameters, new.pipeline_root),
        **({"service_account": new.service_account} if new.service_account else {}),
    }


def reference(pipeline_id: str, version_id: str) -> dict[str, str]:
    """Which version is meant; without one the newest."""
    return {"pipeline_id": pipeline_id, **({"pipeline_version_id": version_id} if version_id else {})}


def runtime(parameters: Json, pipeline_root: str) -> dict[str, Any]:
    """Values of a run's parameters, and where its artifacts go."""
    return {"parameters": dict(parameters), **({"pipeline_root": pipeline_root} if pipeline_root else {})}


def _task(said: Json) -> Task:
    return Task(
        said.get("display_name", ""),
        said.get("state", ""),
        _time(said, "start_time"),
        _time(said, "end_time"),
        tuple(each["pod_name"] for each in said.get("child_tasks", []) if each.get("pod_name")),
    )


def _name(said: Json) -> str:
    return str(said.get("display_name") or said.get("name") or "")


def _moment(said: Json, key: str) -> datetime:
    return _time(said, key) or datetime.fromtimestamp(0, UTC)


def _time(said: Json, key: str) -> datetime | None:
    text = said.get(key, "")
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return None if moment is None or moment.year < _NEVER else moment.astimezone(UTC)

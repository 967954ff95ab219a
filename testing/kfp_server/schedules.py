"""Recurring runs: created, enabled, disabled, deleted; there is no call to change one."""

from typing import Any

from kfp_ratchet.testing.kfp_server.answers import INVALID, Json, Refusal, internal, missing, refusal
from kfp_ratchet.testing.kfp_server.calls import Call
from kfp_ratchet.testing.kfp_server.experiments import find as find_experiment
from kfp_ratchet.testing.kfp_server.firing import cron_problem, timing_of
from kfp_ratchet.testing.kfp_server.graph import check_graph, check_parameters
from kfp_ratchet.testing.kfp_server.listing import Fields, page
from kfp_ratchet.testing.kfp_server.objects import Schedule
from kfp_ratchet.testing.kfp_server.runs import SERVICE_ACCOUNT, spec_to_run
from kfp_ratchet.testing.kfp_server.state import SINGLE_USER_NAMESPACE, State, reference_ids, workflow_name

FIELDS: Fields = {
    "id": lambda each: each.id,
    "name": lambda each: each.name,
    "display_name": lambda each: each.name,
    "created_at": lambda each: each.created,
    "updated_at": lambda each: each.updated,
    "status": lambda each: "ENABLED" if each.enabled else "DISABLED",
}
DOING = "Failed to create a recurring run"
MOST_AT_ONCE = 10


def create(state: State, call: Call) -> Json:
    """POST /recurringruns."""
    body = call.json("V2beta1RecurringRun")
    trigger = _trigger(body.get("trigger") or {})
    at_once = _at_once(body.get("max_concurrency"))
    name = str(body.get("display_name") or "")
    if not name:
        raise internal(f"{DOING}: InternalServerError: Invalid input error: Recurring run name cannot be empty")
    experiment_id = str(body.get("experiment_id") or "")
    if experiment_id:
        find_experiment(state, experiment_id, DOING)
    inline: Json = body.get("pipeline_spec") or {}
    reference: Json = body.get("pipeline_version_reference") or {}
    spec, resolved = spec_to_run(state, inline, reference, f"{DOING}: InternalServerError")
    config = body.get("runtime_config") or {}
    check_parameters(spec, config.get("parameters") or {}, f"{DOING} during scheduled workflow creation")
    check_graph(spec)
    pinned = bool(inline or reference_ids(reference)[1])
    made = Schedule(
        id=state.new_id(),
        name=name,
        description=str(body.get("description") or ""),
        reference=resolved if pinned else reference,
        inline=inline,
        runtime_config=config,
        service_account=str(body.get("service_account") or (SERVICE_ACCOUNT if pinned else "")),
        max_concurrency=at_once,
        trigger=trigger,
        enabled=body.get("mode") == "ENABLE",
        no_catchup=bool(body.get("no_catchup")),
        namespace=state.namespace(str(body.get("namespace") or "")) or SINGLE_USER_NAMESPACE,
        experiment_id=experiment_id or state.default_experiment().id,
        created=state.second,
        updated=state.second,
        spec=spec if pinned else None,
        timing=timing_of(trigger, state.second),
        workflow=workflow_name(name),
    )
    state.schedules[made.id] = made
    return made.shown()


def listed(state: State, call: Call) -> Json:
    """GET /recurringruns."""
    experiment_id = call.query.get("experiment_id", "")
    entries: Any = state.schedules.values()
    if experiment_id:
        find_experiment(state, experiment_id, "Failed to list recurring runs")
        entries = [each for each in entries if each.experiment_id == experiment_id]
    elif state.namespaces:
        namespace = state.namespace(call.query.get("namespace", ""))
        entries = [each for each in entries if each.namespace == namespace]
    return page("recurringRuns", "RecurringRun", entries, FIELDS, call.query)


def get(state: State, call: Call, schedule_id: str) -> Json:
    """GET /recurringruns/ID."""
    return _schedule(state, schedule_id, "fetch").shown()


def delete(state: State, call: Call, schedule_id: str) -> Json:
    """DELETE /recurringruns/ID; its runs stay."""
    _schedule(state, schedule_id, "delete")
    del state.schedules[schedule_id]
    return {}


def enable(state: State, call: Call, schedule_id: str) -> Json:
    """POST /recurringruns/ID:enable."""
    return _switch(state, schedule_id, enabled=True)


def disable(state: State, call: Call, schedule_id: str) -> Json:
    """POST /recurringruns/ID:disable."""
    return _switch(state, schedule_id, enabled=False)


def _switch(state: State, schedule_id: str, *, enabled: bool) -> Json:
    schedule = _schedule(state, schedule_id, "enable" if enabled else "disable")
    schedule.enabled = enabled
    schedule.updated = state.second
    return {}


def _schedule(state: State, schedule_id: str, doing: str) -> Schedule:
    if schedule_id not in state.schedules:
        raise missing(f"Failed to {doing} a recurring run", "Job", schedule_id)
    return state.schedules[schedule_id]


def _invalid(detail: str) -> Refusal:
    return refusal(INVALID, f"{DOING} due to conversion error: Invalid input error: {detail}", detail)


def _at_once(given: Any) -> int:
    at_once = int(given or 0)
    if not 1 <= at_once <= MOST_AT_ONCE:
        raise _invalid(f"Max concurrency of a recurring run must be at least 1 and at most 10. Received {at_once}")
    return at_once


def _trigger(given: Json) -> Json:
    """A trigger as it is kept: whole numbers as strings."""
    if cron := given.get("cron_schedule"):
        if problem := cron_problem(str(cron.get("cron") or "")):
            raise _invalid(
                f"Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron). Error: {problem}"
            )
        return {"cron_schedule": cron}
    if periodic := given.get("periodic_schedule"):
        interval = int(periodic.get("interval_second") or 0)
        if interval < 1:
            raise _invalid(f"Found invalid period schedule interval {interval}. Set at interval to least 1 second")
        return {"periodic_schedule": periodic}
    return {}

"""Runs."""

from typing import Any

from kfp_ratchet.testing.kfp_server.answers import ABORTED, INVALID, Json, internal, missing, refusal
from kfp_ratchet.testing.kfp_server.calls import Call
from kfp_ratchet.testing.kfp_server.experiments import find as find_experiment
from kfp_ratchet.testing.kfp_server.graph import check_graph, check_parameters, inside, pipeline_of
from kfp_ratchet.testing.kfp_server.listing import Fields, page
from kfp_ratchet.testing.kfp_server.objects import Run
from kfp_ratchet.testing.kfp_server.state import State, reference_ids, workflow_name
from kfp_ratchet.testing.kfp_server.uploads import ShapeError, check_shape
from kfp_ratchet.testing.kfp_server.workflow import plan

SERVICE_ACCOUNT = "pipeline-runner"
FIELDS: Fields = {
    "id": lambda each: each.id,
    "name": lambda each: each.name,
    "display_name": lambda each: each.name,
    "created_at": lambda each: each.created,
    "scheduled_at": lambda each: each.scheduled,
    "finished_at": lambda each: each.finished,
    "experiment_id": lambda each: each.experiment_id,
    "state": lambda each: each.state,
    "status": lambda each: each.state,
    "storage_state": lambda each: "ARCHIVED" if each.archived else "AVAILABLE",
}
MANIFEST = "InternalServerError: Failed to create a run due to error fetching manifest"


def create(state: State, call: Call) -> Json:
    """POST /runs."""
    body = call.json("V2beta1Run")
    doing = "Failed to create a new run"
    name = str(body.get("display_name") or "")
    if not name:
        raise internal(f"{doing}: InternalServerError: Invalid input error: Run name cannot be empty")
    experiment_id = str(body.get("experiment_id") or "")
    if experiment_id:
        find_experiment(state, experiment_id, f"{doing}: Failed to create a run due to invalid experimentId")
    inline: Json = body.get("pipeline_spec") or {}
    spec, reference = spec_to_run(state, inline, body.get("pipeline_version_reference") or {}, f"{doing}: {MANIFEST}")
    config = body.get("runtime_config") or {}
    check_parameters(spec, config.get("parameters") or {}, f"{doing}: Failed to generate the ExecutionSpec")
    check_graph(spec)
    run = Run(
        id=state.new_id(),
        name=name,
        description=str(body.get("description") or ""),
        experiment_id=experiment_id or state.default_experiment().id,
        reference=reference,
        inline=inline,
        runtime_config=config,
        service_account=str(body.get("service_account") or SERVICE_ACCOUNT),
        spec=spec,
        created=state.second,
        scheduled=state.second,
        workflow=workflow_name(inner_name(spec) + "-"),
    )
    run.enter("PENDING", state.clock.now)
    start(state, run)
    return run.shown()


def inner_name(spec: Json) -> str:
    """The pipeline's own name, inside its spec."""
    return str(inside(pipeline_of(spec), "pipelineInfo").get("name") or "workflow")


def start(state: State, run: Run) -> None:
    """File a new run and let it begin."""
    run.rows = plan(run)
    state.runs[run.id] = run
    if experiment := state.experiments.get(run.experiment_id):
        experiment.last_run = run.created
    begin(state, run)


def begin(state: State, run: Run) -> None:
    """Hand a run to whoever executes it; if nobody does, the clock moves it on, unless a test has said how it stands."""
    run.changed = state.clock.now
    if state.started is not None and state.started(run):
        run.simulated = False


def spec_to_run(state: State, inline: Json, reference: Json, doing: str) -> tuple[Json, Json]:
    """What a run or schedule runs, and its reference with the version that was chosen.

    Raises:
        Refusal: 500 for a version that is not there, belongs to another pipeline, or a spec that is none.
    """
    if inline:
        try:
            check_shape(pipeline_of(inline))
        except ShapeError:
            raise internal(
                f"{doing}: Failed to fetch a template with an invalid pipeline spec manifest: InvalidInputError: unknown "
                "template format: pipeline spec is invalid"
            ) from None
        return inline, {}
    pipeline_id, version_id = reference_ids(reference)
    if not pipeline_id and not version_id:
        raise internal(f"{doing}: Invalid input error: Failed to fetch a template with an empty pipeline spec manifest")
    if not version_id:
        newest = state.newest_version(pipeline_id)
        if newest is None:
            raise internal(f"{doing}: ResourceNotFoundError: PipelineVersion of pipeline {pipeline_id} not found")
        return newest.spec, {"pipeline_id": pipeline_id, "pipeline_version_id": newest.id}
    version = next((each[version_id] for each in state.versions.values() if version_id in each), None)
    if version is None:
        raise internal(f"{doing}: ResourceNotFoundError: PipelineVersion {version_id} not found")
    if pipeline_id and version.pipeline_id != pipeline_id:
        raise internal(
            f"{doing}: Invalid input error: Pipeline version {version_id} belongs to pipeline {version.pipeline_id} (not "
            f"{pipeline_id})"
        )
    return version.spec, {"pipeline_id": version.pipeline_id, "pipeline_version_id": version_id}


def listed(state: State, call: Call) -> Json:
    """GET /runs."""
    experiment_id = call.query.get("experiment_id", "")
    entries: Any = state.runs.values()
    if experiment_id:
        find_experiment(state, experiment_id, "Failed to list runs")
        entries = [each for each in entries if each.experiment_id == experiment_id]
    elif state.namespaces:
        namespace = state.namespace(call.query.get("namespace", ""))
        inside = {each.id for each in state.experiments.values() if each.namespace == namespace}
        entries = [each for each in entries if each.experiment_id in inside]
    return page("runs", "Run", entries, FIELDS, call.query)


def get(state: State, call: Call, run_id: str) -> Json:
    """GET /runs/ID."""
    return _run(state, run_id, "get").shown()


def delete(state: State, call: Call, run_id: str) -> Json:
    """DELETE /runs/ID, also of one that runs."""
    _run_with_experiment(state, run_id, "delete")
    del state.runs[run_id]
    return {}


def archive(state: State, call: Call, run_id: str) -> Json:
    """POST /runs/ID:archive; the run goes on."""
    _run(state, run_id, "archive").archived = True
    return {}


def unarchive(state: State, call: Call, run_id: str) -> Json:
    """POST /runs/ID:unarchive."""
    _run(state, run_id, "unarchive").archived = False
    return {}


def terminate(state: State, call: Call, run_id: str) -> Json:
    """POST /runs/ID:terminate: CANCELING at once, FAILED when the pods have ended. The history gets CANCELING with the next beat."""
    run = _run_with_experiment(state, run_id, "terminate")
    if run.state not in ("PENDING", "RUNNING"):
        text = f"Failed to terminate a run {run_id}. Row not found"
        raise refusal(INVALID, f"Failed to terminate a run: Invalid input error: {text}", text)
    run.state = "CANCELING"
    run.changed = state.clock.now
    return {}


def retry(state: State, call: Call, run_id: str) -> Json:
    """POST /runs/ID:retry of a failed run: finished steps are kept."""
    run = _run_with_experiment(state, run_id, "retry")
    if run.state not in ("FAILED", "CANCELED"):
        text = "Workflow must be Failed/Error to retry: workflow cannot be retried"
        raise refusal(ABORTED, f"Failed to retry a run: Failed to retry run {run_id}: BadRequestError: {text}", text)
    run.enter("RUNNING", state.clock.now)
    begin(state, run)
    return {}


def _run(state: State, run_id: str, doing: str) -> Run:
    if run_id not in state.runs:
        raise missing(f"Failed to {doing} a run: Failed to fetch run {run_id}", "Run", run_id)
    return state.runs[run_id]


def _run_with_experiment(state: State, run_id: str, doing: str) -> Run:
    """A run whose experiment is still there; without it the server cannot tell whether the caller may."""
    run = _run(state, run_id, doing)
    find_experiment(state, run.experiment_id, f"Failed to {doing} a run")
    return run

"""Pipelines and their versions."""

from kfp_ratchet.testing.kfp_server.answers import (
    INVALID,
    PLAIN,
    TAKEN,
    Json,
    Refusal,
    missing,
    refusal,
    upload_refusal,
)
from kfp_ratchet.testing.kfp_server.calls import Call
from kfp_ratchet.testing.kfp_server.listing import Fields, page
from kfp_ratchet.testing.kfp_server.objects import Pipeline, Version
from kfp_ratchet.testing.kfp_server.state import State, by_name
from kfp_ratchet.testing.kfp_server.uploads import checked_name, spec_of_upload

FIELDS: Fields = {
    "id": lambda each: each.id,
    "name": lambda each: each.name,
    "display_name": lambda each: each.name,
    "description": lambda each: each.description,
    "created_at": lambda each: each.created,
}
NO_PIPELINE_WITH_VERSION = "Failed to create a pipeline and a pipeline version"
NO_VERSION = "Failed to create a pipeline version"


def create(state: State, call: Call) -> Json:
    """POST /pipelines: a pipeline without a version."""
    body = call.json("V2beta1Pipeline")
    name = str(body.get("display_name") or body.get("name") or "")
    if not name:
        raise refusal(INVALID, "Failed to create a pipeline: Invalid input error: pipeline's name cannot be empty", "")
    checked_name(name)
    namespace = state.namespace(str(body.get("namespace") or ""))
    if by_name(state.pipelines, name, namespace):
        text = f"Failed to create a new pipeline. The name {name} already exists. Please specify a new name"
        raise refusal(TAKEN, f"Failed to create a pipeline: Already exist error: {text}", text)
    return _added(state, name, str(body.get("description") or ""), namespace).shown()


def upload(state: State, call: Call) -> Json:
    """POST /pipelines/upload: a pipeline and its first version, of the same name."""
    name = checked_name(_name(call))
    spec = spec_of_upload(call.filename, call.upload, NO_PIPELINE_WITH_VERSION)
    namespace = state.namespace(call.query.get("namespace", ""))
    if by_name(state.pipelines, name, namespace):
        raise upload_refusal(409, NO_PIPELINE_WITH_VERSION)
    made = _added(state, name, call.query.get("description", ""), namespace)
    _add_version(state, Version(state.new_id(), made.id, name, made.description, made.created, spec))
    return made.shown()


def upload_version(state: State, call: Call) -> Json:
    """POST /pipelines/upload_version: another version of a pipeline."""
    name = checked_name(_name(call))
    pipeline_id = call.query.get("pipelineid", "")
    spec = spec_of_upload(call.filename, call.upload, NO_VERSION)
    if pipeline_id not in state.pipelines:
        raise upload_refusal(400, NO_VERSION, plain=True)
    if by_name(state.versions[pipeline_id], name):
        raise upload_refusal(409, NO_VERSION)
    made = Version(state.new_id(), pipeline_id, name, call.query.get("description", ""), state.second, spec)
    return _add_version(state, made).shown()


def listed(state: State, call: Call) -> Json:
    """GET /pipelines."""
    namespace = state.namespace(call.query.get("namespace", ""))
    entries = [each for each in state.pipelines.values() if each.namespace == namespace]
    return page("pipelines", "Pipeline", entries, FIELDS, call.query)


def get(state: State, call: Call, pipeline_id: str) -> Json:
    """GET /pipelines/ID."""
    if pipeline_id not in state.pipelines:
        raise missing(f"Failed to get a pipeline {pipeline_id}", "Pipeline", pipeline_id)
    return state.pipelines[pipeline_id].shown()


def get_by_name(state: State, call: Call, name: str) -> Json:
    """GET /pipelines/names/NAME."""
    namespace = state.namespace(call.query.get("namespace", ""))
    found = by_name(state.pipelines, name, namespace)
    if found is None:
        raise missing(f"Failed to get a pipeline with name {name}", "Namespace/Pipeline", f"{namespace}/{name}")
    return found.shown()


def delete(state: State, call: Call, pipeline_id: str) -> Json:
    """DELETE /pipelines/ID; schedules of it stay."""
    get(state, call, pipeline_id)
    versions = state.versions[pipeline_id]
    if versions and call.query.get("cascade", "").lower() != "true":
        text = (
            f"Failed to delete pipeline with id {pipeline_id} as it has existing pipeline versions (e.g. "
            f"{next(iter(versions))}). Set cascade to true to delete the pipeline and its versions"
        )
        raise refusal(INVALID, f"Failed to delete pipeline {pipeline_id}: Invalid input error: {text}", text)
    del state.pipelines[pipeline_id], state.versions[pipeline_id]
    return {}


def listed_versions(state: State, call: Call, pipeline_id: str) -> Json:
    """GET /pipelines/ID/versions."""
    entries = state.versions.get(pipeline_id, {}).values()
    return page("pipeline_versions", "PipelineVersion", entries, FIELDS, call.query)


def get_version(state: State, call: Call, pipeline_id: str, version_id: str) -> Json:
    """GET /pipelines/ID/versions/ID."""
    return _version(state, "get", pipeline_id, version_id).shown()


def delete_version(state: State, call: Call, pipeline_id: str, version_id: str) -> Json:
    """DELETE /pipelines/ID/versions/ID, also of one in use."""
    _version(state, "delete", pipeline_id, version_id)
    del state.versions[pipeline_id][version_id]
    return {}


def _version(state: State, doing: str, pipeline_id: str, version_id: str) -> Version:
    found = state.versions.get(pipeline_id, {}).get(version_id)
    if found is None:
        raise missing(f"Failed to {doing} a pipeline version {version_id}", "PipelineVersion", version_id)
    return found


def _name(call: Call) -> str:
    name = call.query.get("display_name") or call.query.get("name") or call.filename
    if not name:
        raise Refusal(400, "Invalid input error: a name is needed\n", PLAIN)
    return name


def _added(state: State, name: str, description: str, namespace: str) -> Pipeline:
    made = Pipeline(state.new_id(), name, description, namespace, state.second)
    state.pipelines[made.id] = made
    state.versions[made.id] = {}
    return made


def _add_version(state: State, version: Version) -> Version:
    state.versions[version.pipeline_id][version.id] = version
    return version

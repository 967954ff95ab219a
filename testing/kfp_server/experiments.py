"""Experiments."""

from kfp_ratchet.testing.kfp_server.answers import TAKEN, Json, internal, missing, refusal
from kfp_ratchet.testing.kfp_server.calls import Call
from kfp_ratchet.testing.kfp_server.listing import Fields, page
from kfp_ratchet.testing.kfp_server.objects import Experiment
from kfp_ratchet.testing.kfp_server.state import State, by_name

FIELDS: Fields = {
    "id": lambda each: each.id,
    "name": lambda each: each.name,
    "display_name": lambda each: each.name,
    "created_at": lambda each: each.created,
    "last_run_created_at": lambda each: each.last_run,
    "storage_state": lambda each: "ARCHIVED" if each.archived else "AVAILABLE",
}


def create(state: State, call: Call) -> Json:
    """POST /experiments."""
    body = call.json("V2beta1Experiment")
    name = str(body.get("display_name") or "")
    if not name:
        raise internal(
            "Failed to create a experiment due to conversion error: Invalid input error: Experiment must have a name"
        )
    namespace = state.namespace(str(body.get("namespace") or ""))
    if by_name(state.experiments, name, namespace):
        text = f"Failed to create a new experiment. The name {name} already exists. Please specify a new name"
        raise refusal(TAKEN, f"Failed to create a experiment: Already exist error: {text}", text)
    made = Experiment(state.new_id(), name, str(body.get("description") or ""), namespace, state.second)
    state.experiments[made.id] = made
    return made.shown()


def listed(state: State, call: Call) -> Json:
    """GET /experiments."""
    namespace = state.namespace(call.query.get("namespace", ""))
    entries = [each for each in state.experiments.values() if each.namespace == namespace]
    return page("experiments", "Experiment", entries, FIELDS, call.query)


def get(state: State, call: Call, experiment_id: str) -> Json:
    """GET /experiments/ID."""
    return find(state, experiment_id, "Failed to fetch experiment").shown()


def archive(state: State, call: Call, experiment_id: str) -> Json:
    """POST /experiments/ID:archive; new runs are taken all the same."""
    find(state, experiment_id, "Failed to archive an experiment").archived = True
    return {}


def unarchive(state: State, call: Call, experiment_id: str) -> Json:
    """POST /experiments/ID:unarchive."""
    find(state, experiment_id, "Failed to unarchive an experiment").archived = False
    return {}


def delete(state: State, call: Call, experiment_id: str) -> Json:
    """DELETE /experiments/ID; its runs stay and can no longer be ended or deleted."""
    find(state, experiment_id, "Failed to delete experiment")
    del state.experiments[experiment_id]
    return {}


def find(state: State, experiment_id: str, doing: str) -> Experiment:
    """The experiment of an id; 404 if there is none."""
    if experiment_id not in state.experiments:
        raise missing(doing, "Experiment", experiment_id)
    return state.experiments[experiment_id]

"""Which call is answered by which function."""

from collections.abc import Callable

from werkzeug.routing import Map, Rule

from kfp_ratchet.testing.kfp_server import experiments, pipelines, runs, schedules
from kfp_ratchet.testing.kfp_server.answers import Json
from kfp_ratchet.testing.kfp_server.calls import Call
from kfp_ratchet.testing.kfp_server.state import State

API = "/apis/v2beta1"


def healthz(state: State, call: Call) -> Json:
    """GET /healthz; POST does the same."""
    return healthz_v1(state, call) | {"pipeline_store": "database"}


def healthz_v1(state: State, call: Call) -> Json:
    """GET /healthz of the older API."""
    return {"commit_sha": "unknown", "tag_name": "unknown", "multi_user": bool(state.namespaces)}


ENDPOINTS: list[tuple[str, str, Callable[..., Json]]] = [
    ("GET", "/healthz", healthz),
    ("POST", "/healthz", healthz),
    ("POST", "/pipelines", pipelines.create),
    ("GET", "/pipelines", pipelines.listed),
    ("POST", "/pipelines/upload", pipelines.upload),
    ("POST", "/pipelines/upload_version", pipelines.upload_version),
    ("GET", "/pipelines/names/<path:name>", pipelines.get_by_name),
    ("GET", "/pipelines/<pipeline_id>", pipelines.get),
    ("DELETE", "/pipelines/<pipeline_id>", pipelines.delete),
    ("GET", "/pipelines/<pipeline_id>/versions", pipelines.listed_versions),
    ("GET", "/pipelines/<pipeline_id>/versions/<version_id>", pipelines.get_version),
    ("DELETE", "/pipelines/<pipeline_id>/versions/<version_id>", pipelines.delete_version),
    ("POST", "/experiments", experiments.create),
    ("GET", "/experiments", experiments.listed),
    ("GET", "/experiments/<experiment_id>", experiments.get),
    ("DELETE", "/experiments/<experiment_id>", experiments.delete),
    ("POST", "/experiments/<experiment_id>:archive", experiments.archive),
    ("POST", "/experiments/<experiment_id>:unarchive", experiments.unarchive),
    ("POST", "/runs", runs.create),
    ("GET", "/runs", runs.listed),
    ("GET", "/runs/<run_id>", runs.get),
    ("DELETE", "/runs/<run_id>", runs.delete),
    ("POST", "/runs/<run_id>:archive", runs.archive),
    ("POST", "/runs/<run_id>:unarchive", runs.unarchive),
    ("POST", "/runs/<run_id>:terminate", runs.terminate),
    ("POST", "/runs/<run_id>:retry", runs.retry),
    ("POST", "/recurringruns", schedules.create),
    ("GET", "/recurringruns", schedules.listed),
    ("GET", "/recurringruns/<schedule_id>", schedules.get),
    ("DELETE", "/recurringruns/<schedule_id>", schedules.delete),
    ("POST", "/recurringruns/<schedule_id>:enable", schedules.enable),
    ("POST", "/recurringruns/<schedule_id>:disable", schedules.disable),
]


def routes(prefix: str) -> Map:
    """All of them under a prefix of the path."""
    rules = [Rule(f"{prefix}{API}{path}", methods=[method], endpoint=answer) for method, path, answer in ENDPOINTS]
    rules.append(Rule(f"{prefix}/apis/v1beta1/healthz", methods=["GET"], endpoint=healthz_v1))
    return Map(rules, strict_slashes=False, merge_slashes=False)

"""Whatever comes in, the double answers as an API does; it never falls over."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kfp_ratchet.testing.kfp_server import KfpServer

ONE_STEP = (Path(__file__).parent / "one_step.yaml").read_bytes()
FIELDS = [
    "display_name",
    "experiment_id",
    "pipeline_spec",
    "pipeline_version_reference",
    "runtime_config",
    "trigger",
    "mode",
]
FIELDS += [
    "max_concurrency",
    "no_catchup",
    "parameters",
    "pipeline_id",
    "cron_schedule",
    "cron",
    "periodic_schedule",
    "description",
]
FIELDS += [
    "interval_second",
    "start_time",
    "root",
    "pipelineInfo",
    "predicates",
    "operation",
    "key",
    "string_value",
    "namespace",
]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "x", "1", "ENABLE", "0 3 * * *", "2026-01-01T00:00:00Z"])
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def server() -> Iterator[KfpServer]:
    with KfpServer() as running:
        yield running


def _sane(answer: requests.Response) -> None:
    assert answer.status_code in (200, 400, 403, 404, 409, 500, 501)
    assert not answer.text.startswith("<")
    assert "fell over" not in answer.text
    if answer.status_code >= 400 and answer.headers["Content-Type"] == "application/json":
        assert "message" in answer.json() or "error_message" in answer.json()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noun=st.sampled_from(["pipelines", "experiments", "runs", "recurringruns"]), body=JSON)
def test_any_body(server: KfpServer, noun: str, body: Any) -> None:
    _sane(requests.post(f"{server.url}/apis/v2beta1/{noun}", data=json.dumps(body), timeout=10))
    server.advance(3600)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    noun=st.sampled_from(["pipelines", "experiments", "runs", "recurringruns"]),
    spec=JSON,
    token=st.text(max_size=8),
    size=st.text(max_size=3),
)
def test_any_filter_token_and_page_size(server: KfpServer, noun: str, spec: Any, token: str, size: str) -> None:
    url = f"{server.url}/apis/v2beta1/{noun}"
    _sane(requests.get(url, params={"filter": json.dumps(spec)}, timeout=10))
    _sane(requests.get(url, params={"page_token": token}, timeout=10))
    _sane(requests.get(url, params={"page_size": size}, timeout=10))
    _sane(requests.get(url, params={"sort_by": size}, timeout=10))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ending=st.sampled_from(["yaml", "json", "zip", "tar.gz", "txt"]),
    content=st.binary(max_size=40)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.integers(0, len(ONE_STEP)).map(lambda end: ONE_STEP[:end]),
)
def test_any_upload(server: KfpServer, ending: str, content: bytes) -> None:
    files = {"uploadfile": (f"p.{ending}", content)}
    _sane(requests.post(f"{server.url}/apis/v2beta1/pipelines/upload", params={"name": "p"}, files=files, timeout=10))


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in entries:
        yield (*place, key)
        yield from _places(inside, (*place, key))


@pytest.mark.parametrize("wrong", [None, "x", {}, [], 5], ids=repr)
def test_a_spec_with_something_else_in_any_place(server: KfpServer, wrong: Any) -> None:
    spec = yaml.safe_load(ONE_STEP)
    places = list(_places(spec))
    assert len(places) > 20
    for place in places:
        broken = copy.deepcopy(spec)
        inside = broken
        for key in place[:-1]:
            inside = inside[key]
        inside[place[-1]] = wrong
        body = {"display_name": "r", "pipeline_spec": broken}
        _sane(requests.post(f"{server.url}/apis/v2beta1/runs", json=body, timeout=10))
        server.advance(100)

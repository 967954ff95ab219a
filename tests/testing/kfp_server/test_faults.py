"""What a test says goes wrong goes wrong, for the calls it says, and with the work done or not as it says."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from kfp_ratchet.testing.kfp_server import KfpServer


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with KfpServer() as running:
        yield running


def _call(server: KfpServer, method: str, path: str, **options: Any) -> requests.Response:
    return requests.request(method, f"{server.url}/apis/v2beta1{path}", timeout=options.pop("timeout", 10), **options)


def _create(server: KfpServer, name: str) -> requests.Response:
    return _call(server, "POST", "/pipelines", json={"display_name": name})


def test_an_answer_comes_as_often_as_asked_for_and_only_for_its_calls(server: KfpServer) -> None:
    server.fail("GET", r"/healthz$", status=429, headers={"Retry-After": "7"}, times=2)
    assert _call(server, "GET", "/pipelines").status_code == 200
    assert _call(server, "POST", "/healthz").status_code == 200
    first, second, third = (_call(server, "GET", "/healthz") for _ in range(3))
    assert [first.status_code, second.status_code, third.status_code] == [429, 429, 200]
    assert first.headers["Retry-After"] == "7"


def test_a_page_of_html_is_called_html(server: KfpServer) -> None:
    server.fail("*", "healthz", status=502, body="<html>Bad Gateway</html>")
    answer = _call(server, "GET", "/healthz")
    assert (answer.status_code, answer.text) == (502, "<html>Bad Gateway</html>")
    assert answer.headers["Content-Type"].startswith("text/html")


def test_instead_of_the_work_nothing_is_created(server: KfpServer) -> None:
    server.fail("POST", "/pipelines$", status=503)
    assert _create(server, "a").status_code == 503
    assert server.pipelines == []


def test_after_the_work_it_is_created_all_the_same(server: KfpServer) -> None:
    server.fail("POST", "/pipelines$", status=504, after=True)
    assert _create(server, "a").status_code == 504
    assert [each["name"] for each in server.pipelines] == ["a"]


@pytest.mark.parametrize("after", [False, True])
def test_a_cut_connection_has_no_answer_and_leaves_what_was_done(server: KfpServer, after: bool) -> None:
    server.fail("POST", "/pipelines$", cut=True, after=after)
    with pytest.raises(requests.ConnectionError):
        _create(server, "a")
    assert len(server.pipelines) == int(after)
    assert _create(server, "b").status_code == 200


def test_an_upload_can_be_cut_in_its_middle(server: KfpServer) -> None:
    server.fail("POST", "/upload", cut=True)
    with pytest.raises(requests.ConnectionError):
        _call(server, "POST", "/pipelines/upload?name=a", files={"uploadfile": ("a.yaml", b"#" * 20_000_000)})
    assert server.pipelines == []


def test_a_slow_server_outlasts_its_client(server: KfpServer) -> None:
    server.delay = 5
    with pytest.raises(requests.ReadTimeout):
        _call(server, "GET", "/healthz", timeout=0.1)


def test_without_the_token_nothing_is_answered_or_done(server: KfpServer) -> None:
    server.token = "s3"
    assert _create(server, "a").status_code == 401
    assert _call(server, "GET", "/healthz", headers={"Authorization": "Bearer other"}).status_code == 401
    assert _call(server, "GET", "/healthz", headers={"Authorization": "Bearer s3"}).status_code == 200
    assert server.pipelines == []


def test_without_a_required_header_nothing_is_answered(server: KfpServer) -> None:
    server.headers = {"X-Auth": "yes"}
    assert _call(server, "GET", "/healthz").status_code == 401
    assert _call(server, "GET", "/healthz", headers={"X-Auth": "yes"}).status_code == 200


def test_every_call_is_noted(server: KfpServer) -> None:
    server.fail("GET", "healthz")
    _call(server, "GET", "/healthz")
    _call(server, "GET", "/nothing?a=b")
    assert server.calls == [("GET", "/apis/v2beta1/healthz"), ("GET", "/apis/v2beta1/nothing")]


def test_two_who_create_one_name_at_once_are_told_apart(server: KfpServer) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(lambda number: _create(server, "Same" if number % 2 else "same").status_code, range(32))
        )
    assert sorted(answers) == [200] + [409] * 31


def test_a_prefix_stands_before_every_path() -> None:
    with KfpServer(prefix="/pipeline") as server:
        assert server.url.endswith("/pipeline")
        assert _call(server, "GET", "/healthz").status_code == 200
        assert (
            requests.get(server.url.removesuffix("/pipeline") + "/apis/v2beta1/healthz", timeout=10).status_code == 404
        )


def test_other_namespaces_are_refused_in_multi_user_mode() -> None:
    with KfpServer(namespaces=["team"]) as server:
        assert _call(server, "GET", "/healthz").json()["multi_user"] is True
        assert _call(server, "GET", "/experiments?namespace=team").status_code == 200
        assert _call(server, "GET", "/experiments?namespace=others").status_code == 403
        assert _call(server, "GET", "/experiments").status_code == 400

"""A server that follows the shapes of GitHub's and GitLab's public APIs: comments, pages, limits, check runs."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask, Response, jsonify, request
from werkzeug.serving import make_server

TOKEN = "ghs_notarealtokenatall"


@dataclass
class Forge:
    """Holds comments by id; `faults` are answers (or None to drop the answer after the work) for the next calls of a method."""

    url: str = ""
    comments: dict[int, dict[str, Any]] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    faults: list[tuple[str, Response | int]] = field(default_factory=list)
    login: str = "github-actions[bot]"
    may_ask_who: bool = False
    longest: int = 65_536

    def add(self, body: str, login: str = "") -> int:
        number = len(self.comments) + 1
        self.comments[number] = {"id": number, "body": body, "who": login or self.login}
        return number


def application(forge: Forge) -> Flask:
    app = Flask("forge")

    @app.before_request
    def _():
        forge.calls.append(f"{request.method} {request.path}")
        if TOKEN not in (request.headers.get("Authorization", "") + request.headers.get("PRIVATE-TOKEN", "")):
            return jsonify(message="Bad credentials"), 401
        if forge.faults and forge.faults[0][0] == request.method:
            fault = forge.faults.pop(0)[1]
            if isinstance(fault, Response):
                return fault
            app.view_functions[request.endpoint](**request.view_args)
            return jsonify(message="Bad Gateway"), fault
        return None

    def github(one):
        return {
            "id": one["id"],
            "body": one["body"],
            "user": {"login": one["who"]},
            "html_url": f"{forge.url}/c/{one['id']}",
        }

    def gitlab(one):
        return {
            "id": one["id"],
            "body": one["body"],
            "author": {"username": one["who"]},
            "system": one.get("system", False),
        }

    def paged(shown):
        every, page = int(request.args.get("per_page", 30)), int(request.args.get("page", 1))
        entries = [shown(one) for one in forge.comments.values()]
        answer = jsonify(entries[(page - 1) * every : page * every])
        if page * every < len(entries):
            answer.headers["Link"] = (
                f'<{request.base_url}?per_page={every}&page={page + 1}>; rel="next", <{request.base_url}>; rel="first"'
            )
        return answer

    def refused():
        if len(request.json["body"]) > forge.longest:
            return jsonify(message="Validation Failed", errors=[{"message": "body is too long"}]), 422
        return None

    @app.get("/user")
    def user():
        if not forge.may_ask_who:
            return jsonify(message="Resource not accessible by integration"), 403
        return jsonify(login=forge.login, username=forge.login)

    @app.get("/repos/o/r/issues/7/comments")
    def listed():
        return paged(github)

    @app.post("/repos/o/r/issues/7/comments")
    def created():
        return refused() or (jsonify(github(forge.comments[forge.add(request.json["body"])])), 201)

    @app.route("/repos/o/r/issues/comments/<int:number>", methods=["PATCH", "DELETE"])
    def changed(number):
        if request.method == "DELETE":
            del forge.comments[number]
            return "", 204
        forge.comments[number]["body"] = request.json["body"]
        return refused() or jsonify(github(forge.comments[number]))

    @app.get("/repos/o/r/commits/<sha>/check-runs")
    def found_checks(sha):
        named = [one for one in forge.checks if one["head_sha"] == sha and one["name"] == request.args["check_name"]]
        return jsonify(total_count=len(named), check_runs=named)

    @app.post("/repos/o/r/check-runs")
    def check_made():
        forge.checks.append({"id": len(forge.checks), "html_url": "https://check", **request.json})
        return jsonify(forge.checks[-1]), 201

    @app.patch("/repos/o/r/check-runs/<int:number>")
    def check_changed(number):
        forge.checks[number] |= request.json
        return jsonify(forge.checks[number])

    @app.get("/projects/g/p/merge_requests/7/notes")
    @app.get("/projects/42/merge_requests/7/notes")
    def notes():
        return paged(gitlab)

    @app.post("/projects/42/merge_requests/7/notes")
    def noted():
        return refused() or (jsonify(gitlab(forge.comments[forge.add(request.json["body"])])), 201)

    @app.route("/projects/42/merge_requests/7/notes/<int:number>", methods=["PUT", "DELETE"])
    def note_changed(number):
        if request.method == "DELETE":
            del forge.comments[number]
            return "", 204
        forge.comments[number]["body"] = request.json["body"]
        return jsonify(gitlab(forge.comments[number]))

    return app


@pytest.fixture
def forge(monkeypatch) -> Iterator[Forge]:
    for name in (
        "GITHUB_TOKEN",
        "GH_TOKEN",
        "GITLAB_TOKEN",
        "GITHUB_REPOSITORY",
        "GITHUB_REF",
        "GITHUB_EVENT_PATH",
        "GITLAB_CI",
        "CI_API_V4_URL",
    ):
        monkeypatch.delenv(name, raising=False)
    found = Forge()
    server = make_server("127.0.0.1", 0, application(found), threaded=True)
    found.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=lambda: server.serve_forever(poll_interval=0.05), daemon=True).start()
    yield found
    server.shutdown()


@pytest.fixture
def on_github(forge, monkeypatch) -> Forge:
    """As in a workflow of pull request 7."""
    told = {
        "GITHUB_API_URL": forge.url,
        "GITHUB_REPOSITORY": "o/r",
        "GITHUB_REF": "refs/pull/7/merge",
        "GITHUB_SHA": "abc",
    }
    for name, value in {**told, "GITHUB_TOKEN": TOKEN}.items():
        monkeypatch.setenv(name, value)
    return forge


@pytest.fixture
def on_gitlab(forge, monkeypatch) -> Forge:
    """As in a pipeline of merge request 7."""
    told = {"CI_API_V4_URL": forge.url, "CI_PROJECT_ID": "42", "CI_MERGE_REQUEST_IID": "7", "GITLAB_CI": "true"}
    for name, value in {**told, "GITLAB_TOKEN": TOKEN}.items():
        monkeypatch.setenv(name, value)
    forge.login, forge.may_ask_who, forge.longest = "project_42_bot", True, 1_000_000
    return forge

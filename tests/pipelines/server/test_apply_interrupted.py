"""apply, killed at each of its calls, cut off from its answers, and two of them at once: over HTTP, against the double."""

import random
import threading
import time
from collections import Counter

import pytest
from declared_project import NIGHTLY, Project, spec

from kfp_ratchet.pipelines.pipeline_text import digest_of
from kfp_ratchet.pipelines.server.apply import apply
from kfp_ratchet.pipelines.server.connection import Server
from kfp_ratchet.pipelines.server.settings import ServerSettings
from kfp_ratchet.pipelines.server.snapshot import marked
from kfp_ratchet.testing.kfp_server import KfpServer

BERLIN = {**NIGHTLY, "time_zone": "Europe/Berlin"}


@pytest.fixture
def double():
    with KfpServer(pace=10) as server:
        yield server


@pytest.fixture
def server(double):
    return Server.connect(ServerSettings(url=double.url, patience=5, timeout=0.5))


class Killed(BaseException):
    """No more calls are made."""


class Mortal:
    """A connection that makes so many changing calls and is then killed, before or after the last of them took effect."""

    CHANGING = (
        "create_pipeline",
        "upload_version",
        "experiment",
        "create_schedule",
        "enable",
        "disable",
        "delete_schedule",
        "delete_pipeline",
    )

    def __init__(self, server, lives, after):
        self._server, self._lives, self._after, self.lock = server, lives, after, threading.Lock()

    def __getattr__(self, name):
        found = getattr(self._server, name)
        if name not in self.CHANGING:
            return found

        def call(*given, **named):
            with self.lock:
                self._lives -= 1
                if self._lives < 0 or (self._lives == 0 and not self._after):
                    raise Killed
                done = found(*given, **named)
                if self._lives == 0:
                    raise Killed
                return done

        return call


def at_rest(double, versions):
    """What must be true when an apply has ended."""
    enabled = Counter(
        one["description"].rpartition("since=")[2].split()[0] for one in double.schedules if one["status"] == "ENABLED"
    )
    assert len(enabled) == 3
    assert set(enabled.values()) == {1}, enabled
    assert len(double.schedules) == 3
    [pipeline] = double.pipelines
    assert len(pipeline["versions"]) == versions


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
def test_killed_at_any_call_the_next_apply_finishes(tmp_path, double, server, after):
    project = Project(tmp_path / "p")
    calls = 0
    for lives in range(1, 100):
        for one in server.pipelines():
            server.delete_pipeline(one.id)
        for one in server.schedules():
            server.delete_schedule(one.id)
        project.pipeline("flights", "old", {"nightly": dict(BERLIN)})
        project.apply(server)
        project.pipeline("flights", "new", {"nightly": dict(BERLIN)})
        sides = project.sides(server)
        try:
            apply(Mortal(server, lives, after), sides)
        except Killed:
            calls += 1
            # Whoever dies in the middle leaves at most one of each enabled.
            each = Counter(
                (one.description.partition("since=")[2].split()[0]) for one in server.schedules() if one.enabled
            )
            assert all(count == 1 for count in each.values()), (lives, each)
        else:
            break
        assert not project.apply(server).errors
        at_rest(double, 2)
        assert project.plan(server).differences == ()
    assert calls >= 13  # 1 upload, 3 created, 3 disabled, 3 enabled, 3 deleted


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
def test_killed_at_any_call_on_an_empty_server_the_next_apply_finishes(tmp_path, after):
    project = Project(tmp_path / "p")
    project.pipeline("flights", "new", {"nightly": dict(BERLIN)})
    for lives in range(1, 100):
        with KfpServer(pace=10) as double:
            server = Server.connect(ServerSettings(url=double.url))
            try:
                apply(Mortal(server, lives, after), project.sides(server))
            except Killed:
                assert not project.apply(server).errors
                at_rest(double, 1)
                assert project.plan(server).differences == ()
            else:
                break
    assert lives > 9  # experiment, pipeline, version, 3 created, 3 enabled


@pytest.mark.parametrize("word", ["new", "other"], ids=["equal", "different"])
@pytest.mark.parametrize("seed", range(4))
def test_two_applies_at_once_come_to_one_result(tmp_path, double, server, word, seed):
    one, two = Project(tmp_path / "one"), Project(tmp_path / "two")
    one.pipeline("flights", "old", {"nightly": dict(BERLIN)})
    one.apply(server)
    one.pipeline("flights", "new", {"nightly": dict(BERLIN)})
    two.pipeline("flights", word, {"nightly": dict(BERLIN)})
    chance = random.Random(seed)
    results = []

    class Slow(Mortal):
        def __getattr__(self, name):
            time.sleep(chance.random() * 0.03)
            return getattr(self._server, name)

    both = [project.sides(server) for project in (one, two)]
    threads = [
        threading.Thread(target=lambda each=each: results.append(apply(Slow(server, 0, False), each))) for each in both
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 2
    # One of two that differ may say that someone was faster; that is all that may happen.
    assert sum(bool(each.errors) for each in results) <= (word == "other"), [each.errors for each in results]
    if word == "new":
        at_rest(double, 2)
    enabled = Counter((one.description.partition("since=")[2].split()[0]) for one in server.schedules() if one.enabled)
    assert len(enabled) == 3
    assert set(enabled.values()) == {1}
    two.apply(server)
    at_rest(double, len(double.pipelines[0]["versions"]))
    assert two.plan(server).differences == ()


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "upload_version"), ("POST", "/recurringruns$"), ("POST", "/pipelines$"), ("POST", ":enable")],
)
@pytest.mark.parametrize(
    "how", [{"cut": True}, {"status": 502, "body": "<html>Bad gateway</html>"}], ids=["cut", "502"]
)
@pytest.mark.parametrize("after", [False, True], ids=["not done", "done"])
def test_an_answer_that_never_comes_doubles_nothing(tmp_path, double, server, method, path, how, after):
    project = Project(tmp_path / "p")
    project.pipeline("flights", "hello", {"nightly": dict(BERLIN)})
    double.fail(method, path, after=after, **how)
    assert not project.apply(server).errors
    at_rest(double, 1)


@pytest.mark.parametrize("seed", range(3))
def test_two_first_applies_at_once_make_one_of_each(tmp_path, double, server, seed):
    projects = [Project(tmp_path / name) for name in "ab"]
    for project in projects:
        project.pipeline("flights", "new", {"nightly": dict(BERLIN)})
    chance, results = random.Random(seed), []
    both = [project.sides(server) for project in projects]

    class Slow(Mortal):
        def __getattr__(self, name):
            time.sleep(chance.random() * 0.03)
            return getattr(self._server, name)

    threads = [
        threading.Thread(target=lambda each=each: results.append(apply(Slow(server, 0, False), each))) for each in both
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [each.errors for each in results] == [{}, {}]
    at_rest(double, 1)
    assert len(double.experiments) == 2  # the server's own and ours


def test_names_of_versions_are_all_that_two_machines_need_to_agree(tmp_path, double, server):
    """Two that upload the same at the same time call it the same, and the server takes a name once."""
    projects = [Project(tmp_path / name) for name in "ab"]
    for project in projects:
        project.pipeline("flights")
    sides = [project.sides(server) for project in projects]
    for each in sides:
        assert not apply(server, each).errors
    [pipeline] = double.pipelines
    assert len(pipeline["versions"]) == 1
    assert digest_of(pipeline["versions"][0]["pipeline_spec"]) == digest_of(spec("hello"))


def test_a_server_that_goes_away_is_waited_for_once_and_not_by_each_pipeline(tmp_path, double):
    project = Project(tmp_path / "p")
    for number in range(40):
        project.pipeline(f"p{number}")
    server = Server.connect(ServerSettings(url=double.url, patience=0.5, timeout=0.5))
    sides = project.sides(server)
    double.fail("*", "/pipelines", status=503, times=10_000)
    double.calls.clear()
    applied = apply(server, sides)
    assert len(applied.errors) == 40
    assert len({error.message for error in applied.errors.values()}) <= 16
    asked = {path for _, path in double.calls}
    tries = [call for call in double.calls if call[1].endswith("/pipelines")]
    assert asked
    assert len(tries) < 40 * 2


def test_marks_of_other_owners_with_the_same_names_are_told_apart(tmp_path, server):
    ours = Project(tmp_path / "a")
    ours.pipeline("flights", schedules={"nightly": dict(BERLIN)})
    ours.apply(server)
    theirs = Project(tmp_path / "b", name="others")
    theirs.pipeline("flights", schedules={"nightly": dict(BERLIN)})
    assert "flights" in theirs.apply(server).errors
    assert {marked(one)[0] for one in server.schedules()} == {"delays"}

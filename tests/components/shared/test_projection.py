"""MLflow shows what the ledger says, whatever was missed meanwhile and whoever changed it by hand."""

import http.server
import threading

import pytest

from kfp_ratchet.components.shared import projection, registry
from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.projection import foreign, project, reconcile
from kfp_ratchet.components.shared.store import Store


@pytest.fixture(scope="module")
def tracking_uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")


class Shown:
    """A model with five versions in MLflow, and its ledger."""

    def __init__(self, tracking_uri, name, folder):
        self.uri, self.name = tracking_uri, name
        self.ledger = Ledger(Store(str(folder)), name)
        with self.client() as client:
            client.create_registered_model(name)
            for version in "12345":
                client.create_model_version(name, "/nowhere", tags={"ratchet.digest": f"sha256:{version}"})

    def client(self):
        return registry.connected(self.uri)

    def write(self, kind, version, **fields):
        made = self.ledger.made()
        fields = {"epoch": made.number if made else 0, "run": "r", "digest": f"sha256:{version}"} | fields
        return self.ledger.append(Draft(kind=kind, version=version, **fields))

    def then(self, kind, version, **fields):
        """What MLflow shows after an entry: aliases, and states by version."""
        self.write(kind, version, **fields)
        assert project(self.uri, self.ledger) == ""
        return self.shown()

    def shown(self):
        with self.client() as client:
            aliases = {alias: str(to) for alias, to in client.get_registered_model(self.name).aliases.items()}
        return aliases, {version: tags["ratchet.state"] for version, tags in self.tags().items() if len(tags) > 1}

    def tags(self):
        with self.client() as client:
            return {str(one.version): one.tags for one in registry.versions_of(client, self.name)}


@pytest.fixture
def shown(tracking_uri, tmp_path, request):
    return Shown(tracking_uri, request.node.originalname[:80], tmp_path)


def test_aliases_and_states_follow_the_ledger_through_promotion_failure_and_rollback(shown):
    assert shown.then("deploy-started", "1") == ({"challenger": "1"}, {"1": "deploying"})
    assert shown.then("promote", "1", intent=1) == ({"champion": "1"}, {"1": "champion"})
    assert shown.then("reject", "2") == ({"champion": "1"}, {"1": "champion", "2": "rejected"})
    aliases, states = shown.then("promote", "3")
    assert aliases == {"champion": "3", "previous": "1"}
    assert states == {"1": "previous", "2": "rejected", "3": "champion"}
    aliases, states = shown.then("deploy-failed", "4")
    assert aliases == {"champion": "3", "previous": "1", "challenger": "4"} and states["4"] == "failed"
    aliases, states = shown.then("rollback", "1")
    assert aliases == {"champion": "1"}
    assert states == {"1": "champion", "2": "rejected", "3": "former", "4": "failed"}
    assert shown.tags()["1"]["ratchet.ledger"] == "6 rollback" and shown.tags()["3"]["ratchet.ledger"] == "4 promote"


def test_what_waits_is_challenger_until_it_is_denied_or_its_champion_has_gone(shown):
    assert shown.then("pending", "1", decision_digest="d") == ({"challenger": "1"}, {"1": "pending"})
    assert shown.then("deny", "1") == ({}, {"1": "denied"})
    shown.then("pending", "2", decision_digest="e")
    assert shown.then("approve", "2") == ({"challenger": "2"}, {"1": "denied", "2": "approved"})
    aliases, states = shown.then("force", "3")
    assert aliases == {"champion": "3"} and states == {"1": "denied", "2": "expired", "3": "champion"}


def test_a_third_champion_makes_the_first_a_former_one_and_two_rollbacks_bring_it_back(shown):
    for version in "123":
        last = shown.then("promote", version)
    assert last == ({"champion": "3", "previous": "2"}, {"1": "former", "2": "previous", "3": "champion"})
    shown.then("rollback", "2")
    assert shown.then("rollback", "1") == ({"champion": "1"}, {"1": "champion", "2": "former", "3": "former"})


def test_what_was_written_while_mlflow_was_away_is_shown_by_the_next_projection(shown):
    shown.then("promote", "1")
    away = "http://127.0.0.1:1"
    for kind, version in (("reject", "2"), ("promote", "3"), ("pending", "4"), ("promote", "5")):
        shown.write(kind, version)
        assert "MLflow at http://127.0.0.1:1 failed" in project(away, shown.ledger)
    assert shown.then("reject", "2", decision_digest="again") == (
        {"champion": "5", "previous": "3"},
        {"1": "former", "2": "rejected", "3": "previous", "4": "expired", "5": "champion"},
    )


def test_a_projection_reads_only_what_is_new(shown, monkeypatch):
    for number in range(30):
        shown.write("reject", str(number % 2 + 1), decision_digest=str(number))
    shown.then("promote", "1")
    asked = []
    real = registry.version_of
    monkeypatch.setattr(registry, "version_of", lambda *a: asked.append(a[2]) or real(*a))
    shown.then("reject", "3")
    assert sorted(asked) == ["1", "3"]
    asked.clear()
    assert project(shown.uri, shown.ledger) == "" and asked == ["1"]


def test_hand_made_changes_are_named_and_repaired(shown):
    for kind, version in (("promote", "1"), ("promote", "2"), ("reject", "3")):
        shown.then(kind, version)
    right = shown.shown()
    with shown.client() as client:
        client.set_registered_model_alias(shown.name, "champion", "3")
        client.delete_registered_model_alias(shown.name, "previous")
        client.set_registered_model_alias(shown.name, "challenger", "5")
        client.set_registered_model_alias(shown.name, "mine", "4")
        client.set_model_version_tag(shown.name, "3", "ratchet.state", "champion")
        client.delete_model_version_tag(shown.name, "2", "ratchet.ledger")
    found = [(str(one), one.found, one.wanted) for one in reconcile(shown.uri, shown.ledger, dry_run=True)]
    assert found == [
        ("alias champion", "3", "2"),
        ("alias previous", "", "1"),
        ("alias challenger", "5", ""),
        ("tag ratchet.ledger of version 2", "", "2 promote"),
        ("tag ratchet.state of version 3", "champion", "rejected"),
    ]
    assert len(reconcile(shown.uri, shown.ledger)) == 5, "a dry run changes nothing"
    aliases, states = shown.shown()
    assert aliases.pop("mine") == "4", "an alias that is not ours is left alone"
    assert (aliases, states) == right and reconcile(shown.uri, shown.ledger) == []


def test_what_no_alias_can_mend_is_named_and_the_rest_is_repaired(shown):
    for kind, version in (("promote", "1"), ("promote", "2"), ("promote", "3")):
        shown.then(kind, version)
    with shown.client() as client:
        client.delete_model_version(shown.name, "3")
        client.set_model_version_tag(shown.name, "1", "ratchet.digest", "sha256:other")
        client.delete_registered_model_alias(shown.name, "previous")
    found = {str(one): one.repairable for one in reconcile(shown.uri, shown.ledger)}
    assert found == {
        "alias champion": False,
        "alias previous": True,
        "tag ratchet.digest of version 1": False,
        "version 3": False,
    }
    assert shown.shown()[0] == {"previous": "2"}


def test_a_ledger_without_entries_asks_mlflow_nothing(tmp_path):
    ledger = Ledger(Store(str(tmp_path)), "none")
    assert project("http://127.0.0.1:1", ledger) == ""


def test_a_ledger_that_lost_its_end_rewrote_what_mlflow_showed(shown, tmp_path):
    """Entries that are gone at the end break no chain; MLflow was brought in line with what was left of them."""
    for kind, version in (("promote", "1"), ("promote", "2"), ("reject", "3")):
        shown.then(kind, version)
    right = shown.shown()
    entries = sorted((tmp_path / "ledger" / shown.name).iterdir())
    for lost, told in ((entries[1:], "has 1: "), (entries[:1], "has 0: ")):
        for entry in lost:
            entry.unlink()
        left = Ledger(Store(str(tmp_path)), shown.name)
        assert left.verify() == [] and told in foreign(shown.uri, left)
        with pytest.raises(RatchetError, match="MLflow has shown entry 3") as refused:
            reconcile(shown.uri, left)
        assert "restore" in refused.value.remedy
        left.length() and project(shown.uri, left)
        assert shown.shown() == right


def test_a_champion_that_only_mlflow_knows_is_another_ledgers(shown, tmp_path):
    shown.then("reject", "1")
    assert foreign(shown.uri, shown.ledger) == ""
    with shown.client() as client:
        client.set_registered_model_alias(shown.name, "champion", "2")
    assert "this ledger has no champion" in foreign(shown.uri, shown.ledger)


class Server(http.server.ThreadingHTTPServer):
    """Answers every request with 500, or never."""

    daemon_threads = True

    def __init__(self, answers):
        done = self.done = threading.Event()
        counted = self.requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                counted.append(self.path)
                if answers:
                    self.send_error(500)
                else:
                    done.wait(60)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.mark.slow
@pytest.mark.parametrize("answers", [True, False], ids=["answers 500", "never answers"])
def test_a_server_in_trouble_is_given_up_on_and_told(tmp_path, answers):
    server = Server(answers)
    ledger = Ledger(Store(str(tmp_path)), "m")
    written = ledger.append(Draft(kind="promote", version="1", digest="d", epoch=0, run="r"))
    told = project(server.uri, ledger)
    assert f"MLflow at {server.uri} failed" in told and len(server.requests) == 2, server.requests
    assert ledger.entries() == [written]
    with pytest.raises(RatchetError, match="failed"):
        reconcile(server.uri, ledger)
    server.done.set()
    server.shutdown()


def test_a_server_that_answers_but_slowly_is_given_up_on_as_a_whole(shown, monkeypatch):
    shown.write("promote", "1")
    monkeypatch.setattr(projection, "_SECONDS", -1.0)
    assert "took more than" in project(shown.uri, shown.ledger)
    assert shown.shown() == ({}, {})

"""Messages at the end of a run, sent to a real server."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from kfp_ratchet.components.notify.messages import notify_end, without_secrets
from kfp_ratchet.components.notify.notifications import Notifications
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.journal import Origin, read_record
from kfp_ratchet.components.shared.store import Store

SECRET = "s3cr3t-t0ken-abcdef"


class Inbox(ThreadingHTTPServer):
    """Keeps what is posted to it; answers 500 below /broken."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.messages = []

    @property
    def place(self):
        return f"127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        broken = self.path.startswith("/broken")
        if not broken:
            self.server.messages.append(json.loads(body))
        self.send_response(500 if broken else 200)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def inbox():
    with Inbox() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def tell(tmp_path):
    """Run notify for run r1 and give its journal record."""

    def told(**notifications):
        uri = str(tmp_path / "out" / "r1" / "notify" / "report")
        notify_end("FAILED", "flights", str(tmp_path / "store"), json.dumps(notifications), uri, uri)
        record = read_record(Store(str(tmp_path / "store")), Origin(run="r1", step="notify"))
        assert record is not None
        return record

    return told


def test_rejection_without_reason_or_place_of_the_report(tmp_path, runs, inbox, tell, capsys):
    runs.play(tmp_path / "store", "r1", "reject")
    record = tell(urls=[f"json://{inbox.place}"])
    (message,) = inbox.messages
    assert message["title"] == "flights: rejected"
    assert "does not beat the champion" in message["message"]
    assert f"Report: {tmp_path}/store/runs/r1/report.html" in message["message"]
    assert record.state == "succeeded"
    assert record.details == {
        "outcome": "rejected",
        "final_state": "FAILED",
        "sent": [f"json://{inbox.place}"],
        "failed": [],
    }
    assert "flights: rejected" in capsys.readouterr().out


def test_failure_without_remedy(tmp_path, runs, inbox, tell):
    runs.play(
        tmp_path / "store", "r1", stop="train", error=RatchetError("the loss is NaN at epoch 3", "lower learning_rate")
    )
    tell(urls=[f"json://{inbox.place}"])
    assert inbox.messages[0]["title"] == "flights: failed"
    assert "train: the loss is NaN at epoch 3\nlower learning_rate" in inbox.messages[0]["message"]


def test_promotion_that_does_not_say_what_is_live(tmp_path, runs, inbox, tell):
    runs.play(tmp_path / "store", "r1")
    tell(urls=[f"json://{inbox.place}"])
    assert "v4 live at http://127.0.0.1:5123" in inbox.messages[0]["message"]


def test_report_that_is_not_where_the_message_says(tmp_path, runs, tell):
    runs.blocked(tmp_path / "store", "r1")
    tell()
    page = (tmp_path / "out" / "r1" / "notify" / "report").read_text()
    assert "Blocked" in page
    assert (tmp_path / "store" / "runs" / "r1" / "report.html").read_text() == page


def test_message_that_cannot_be_delivered_fails_the_run(tmp_path, runs, inbox, tell, monkeypatch, capfd):
    runs.play(tmp_path / "store", "r1", "reject")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        nobody = f"127.0.0.1:{closed.server_port}"
    urls = [
        f"json://{nobody}/{SECRET}",
        f"json://user:{SECRET}@{inbox.place}/broken/{SECRET}",
        f"nonsense://{SECRET}",
        f"json://{inbox.place}",
    ]
    monkeypatch.setenv("RATCHET_NOTIFY_URLS", "\n".join(urls))
    record = tell()
    assert record.state == "succeeded"
    assert record.details["sent"] == [f"json://{inbox.place}"]
    assert len(record.details["failed"]) == 3
    assert f"json://{nobody}: " in record.details["failed"][0]
    assert f"json://user:****@{inbox.place}: " in record.details["failed"][1]
    assert "500" in record.details["failed"][1]
    assert record.line == "flights: rejected; told 1; 3 could not be told"
    assert len(inbox.messages) == 1
    said = capfd.readouterr()
    assert SECRET not in record.model_dump_json() + said.out + said.err


def test_secret_of_a_service_in_the_journal(tmp_path, runs, tell, monkeypatch):
    runs.play(tmp_path / "store", "r1", "reject")
    # A malformed token is refused by apprise before anything is sent.
    monkeypatch.setenv("CHAT", f"tgram://123456789:{SECRET.replace('-', '')}")
    record = tell(urls_env="CHAT")
    assert len(record.details["failed"]) == 1
    assert SECRET.replace("-", "") not in record.model_dump_json()


def test_secret_that_a_service_repeats_in_its_complaint():
    url = f"jsons://user:{SECRET}@hooks.example.org/path/a%20b%20c%20d?key={SECRET}"
    said = without_secrets(
        f"401 for https://hooks.example.org/path/a b c d with {SECRET}", url, "jsons://hooks.example.org"
    )
    assert said == "401 for https://hooks.example.org/path/*** with ***"


def test_outcome_nobody_asked_for(tmp_path, runs, inbox, tell):
    runs.play(tmp_path / "store", "r1", "reject")
    record = tell(on=["promoted", "failed"], urls=[f"json://{inbox.place}"], file=str(tmp_path / "runs.jsonl"))
    assert inbox.messages == []
    assert not (tmp_path / "runs.jsonl").exists()
    assert record.details["outcome"] == "rejected"


def test_repeated_step_that_doubles_messages(tmp_path, runs, inbox, tell):
    runs.play(tmp_path / "store", "r1", "reject")
    wanted = {"urls": [f"json://{inbox.place}"], "file": str(tmp_path / "log" / "runs.jsonl")}
    first, second = tell(**wanted), tell(**wanted)
    assert len(inbox.messages) == 1
    assert len((tmp_path / "log" / "runs.jsonl").read_text().splitlines()) == 1
    assert first.details == second.details


def test_retried_run_whose_new_outcome_is_not_told(tmp_path, runs, inbox, tell):
    runs.play(tmp_path / "store", "r1", stop="train", error=RatchetError("the loss is NaN"))
    tell(urls=[f"json://{inbox.place}"])
    runs.play(tmp_path / "store", "r1", "reject")
    tell(urls=[f"json://{inbox.place}"])
    assert [message["title"] for message in inbox.messages] == ["flights: failed", "flights: rejected"]


def test_file_with_more_or_less_than_a_line_a_run(tmp_path, runs, tell):
    file = tmp_path / "runs.jsonl"
    file.write_text('{"run": "r0"}\n')
    runs.blocked(tmp_path / "store", "r1")
    tell(file=str(file))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(lines) == 2
    assert (lines[1]["run"], lines[1]["outcome"], lines[1]["exit_code"]) == ("r1", "blocked", 5)
    assert lines[1]["remedy"]


def test_file_that_cannot_be_written_fails_the_run(tmp_path, runs, tell):
    runs.play(tmp_path / "store", "r1", "reject")
    record = tell(file=str(tmp_path))
    assert record.state == "succeeded"
    assert str(tmp_path) in record.details["failed"][0]


def test_bad_setting_that_costs_the_report(tmp_path, runs, tell):
    runs.play(tmp_path / "store", "r1", "reject")
    with pytest.raises(InputError, match=r"notifications\.onn"):
        tell(onn=["promoted"])
    assert (tmp_path / "out" / "r1" / "notify" / "report").exists()


@pytest.mark.parametrize(
    "url",
    [
        f"json://user:{SECRET}@host",
        f"json://host?token={SECRET}",
        f"json://host?+Authorization={SECRET}",
        f"slack://T0KENA123/T0KENB123/{SECRET.replace('-', '')}12345678",
        f"mailto://me:{SECRET}@example.org",
        "tgram://123456789:abcdefg_hijklmnop/12315544/",
        "https://discord.com/api/webhooks/417429632418316298/JHZ7lQml277CDHmQKMHI8qBe7bk2ZwO5UKjCiOAF7711o33MyqU344Qpgv7YTpadV_js",
        f"nonsense://{SECRET}",
    ],
)
def test_credentials_in_a_parameter(url):
    with pytest.raises(InputError) as caught:
        Notifications.parse(json.dumps({"urls": [url]}))
    assert "urls" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "JHZ7l" not in str(caught.value)


def test_plain_url_that_is_refused():
    urls = ("json://localhost:1234", "jsons://hooks.example.org/ratchet", "ntfy://topic")
    assert Notifications.parse(json.dumps({"urls": urls})).urls == urls


@pytest.mark.parametrize("text", ['{"on": ["won"]}', '{"files": "x"}', "{", "[]", '{"urls": "json://h"}'])
def test_notifications_that_mean_nothing(text):
    with pytest.raises(InputError, match="notifications"):
        Notifications.parse(text)

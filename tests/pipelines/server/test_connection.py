"""What goes wrong between here and a server: each once, against a server that answers as a real one, or a socket that does not."""

import http.server
import logging
import ssl
import threading
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.server.connection import Server
from kfp_ratchet.pipelines.server.errors import (
    ConflictError,
    NotFoundError,
    RefusedError,
    ServerError,
    UnauthorizedError,
    UnreachableError,
)
from kfp_ratchet.pipelines.server.objects import NewSchedule, Trigger
from kfp_ratchet.pipelines.server.settings import ENDPOINT, SERVER, ServerSettings, server_settings
from kfp_ratchet.testing.kfp_server import KfpServer

HTML = {"Content-Type": "text/html"}


def new_schedule(server, pipeline, version, parameters, name="nightly") -> NewSchedule:
    return NewSchedule(
        name=name,
        description="said\n\nkfp-ratchet: owner=me",
        experiment_id=server.experiment("e").id,
        pipeline_id=pipeline.id,
        version_id=version.id,
        trigger=Trigger(cron="0 3 * * *"),
        parameters=parameters,
    )


@pytest.fixture
def uploaded(server, text):
    pipeline = server.create_pipeline("p", "")
    return pipeline, server.upload_version(pipeline.id, "v1", "", text)


def test_what_is_created_is_what_is_read(server, text, parameters):
    pipeline = server.create_pipeline("flüge", "Verspätung ✈\n\nkfp-ratchet: owner=me")
    version = server.upload_version(pipeline.id, "v 1/ä", "über\nzwei Zeilen", text)
    new = new_schedule(server, pipeline, version, parameters)
    schedule = server.create_schedule(new)
    run = server.create_run(
        name="r",
        description="",
        experiment_id=new.experiment_id,
        parameters=parameters,
        pipeline_id=pipeline.id,
        version_id=version.id,
    )
    assert server.pipeline("flüge") == pipeline
    assert pipeline.description.startswith("Verspätung ✈")
    assert server.versions(pipeline.id) == [version]
    assert (version.name, version.description) == ("v 1/ä", "über\nzwei Zeilen")
    assert server.schedules() == [schedule]
    assert (schedule.trigger, schedule.parameters, schedule.enabled) == (new.trigger, parameters, False)
    server.enable(schedule.id)
    assert server.schedule(schedule.id).enabled
    assert [one.id for one in server.runs()] == [run.id]
    assert run.version_id == version.id
    assert run.finished is None


def test_another_spelling_of_a_name_was_taken_for_it(server):
    server.create_pipeline("flights", "")
    assert server.pipeline("Flights") is None
    with pytest.raises(ConflictError):
        server.create_pipeline("Flights", "")
    assert server.create_pipeline("flights", "other").description == ""


def test_versions_came_oldest_first(server, double, uploaded, text):
    pipeline, first = uploaded
    double.advance(5)
    second = server.upload_version(pipeline.id, "v2", "", text)
    assert [one.id for one in server.versions(pipeline.id)] == [second.id, first.id]
    assert [one.id for one in server.versions(pipeline.id, newest=1)] == [second.id]


def test_more_than_a_page_was_cut(server, uploaded, parameters):
    pipeline, version = uploaded
    for number in range(203):
        server.create_schedule(new_schedule(server, pipeline, version, parameters, f"s{number}"))
    assert len({one.id for one in server.schedules()}) == 203


def test_archived_experiments_look_like_others(server, double):
    made = server.experiment("e")
    server._http.tell(f"/experiments/{made.id}:archive")
    assert server.experiment("e").archived


def test_a_server_that_is_down_is_named(connect):
    url = "http://127.0.0.1:9"
    with pytest.raises(UnreachableError, match=r"http://127\.0\.0\.1:9 cannot be reached: .*refused"):
        connect(url=url, patience=0).health()


def test_two_errors_and_an_answer_are_an_answer(server, double):
    double.fail("GET", "/pipelines", status=500, times=2)
    assert server.pipelines() == []
    assert len(double.calls) == 3


@pytest.mark.parametrize("wait", ["1", "date"])
def test_too_many_requests_are_repeated_when_the_server_says(server, double, wait):
    after = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True) if wait == "date" else wait
    double.fail("POST", "/pipelines", status=429, headers={"Retry-After": after})
    assert server.create_pipeline("p", "").name == "p"
    assert len(double.pipelines) == 1


def test_patience_ends_though_the_server_says_wait_an_hour(connect, double):
    double.fail("GET", "/pipelines", status=429, headers={"Retry-After": "3600"}, times=99)
    with pytest.raises(UnreachableError, match="busy"):
        connect(patience=1).pipelines()


def test_a_proxys_page_was_printed(connect, double):
    double.fail("GET", "/pipelines", status=502, body="<html><h1>Bad Gateway</h1>", headers=HTML, times=99)
    with pytest.raises(UnreachableError) as told:
        connect(patience=1).pipelines()
    assert "502" in told.value.message
    assert "<" not in str(told.value)


def test_a_slow_answer_names_the_limit(connect, double):
    double.delay = 2
    with pytest.raises(UnreachableError, match=r"no answer within 0\.2 s"):
        connect(timeout=0.2, patience=0).pipelines()


@pytest.mark.parametrize("after", [True, False], ids=["done", "not done"])
@pytest.mark.parametrize("end", [{"cut": True}, {"status": 504, "body": "<html>"}], ids=["cut", "gateway"])
def test_an_upload_without_an_answer_was_doubled_or_lost(server, double, text, after, end):
    pipeline = server.create_pipeline("p", "")
    double.fail("POST", "/upload_version", after=after, **end)
    made = server.upload_version(pipeline.id, "v1", "mine", text)
    assert [one.id for one in server.versions(pipeline.id)] == [made.id]


@pytest.mark.parametrize("after", [True, False], ids=["done", "not done"])
def test_a_creation_without_an_answer_was_doubled_or_lost(server, double, uploaded, parameters, after):
    pipeline, version = uploaded
    new = new_schedule(server, pipeline, version, parameters)
    server.create_schedule(new)
    for path in ("/recurringruns$", "/runs$", "/pipelines$"):
        double.fail("POST", path, after=after, cut=True)
    server.create_schedule(new)
    run = {"name": "r", "description": "", "experiment_id": new.experiment_id, "parameters": parameters}
    server.create_run(**run, pipeline_id=pipeline.id, version_id=version.id)
    server.create_pipeline("q", "")
    # One of the same name and description was there before, which is not to be taken for the new one.
    assert len(double.schedules) == 2
    assert len(double.runs) == 1
    assert [one["display_name"] for one in double.pipelines] == ["p", "q"]


def test_a_creation_that_never_gets_an_answer_ends(connect, double, text):
    pipeline = connect().create_pipeline("p", "")
    double.fail("POST", "/upload_version", cut=True, times=99)
    with pytest.raises(UnreachableError, match="did not answer"):
        connect().upload_version(pipeline.id, "v1", "", text)
    assert [path for method, path in double.calls if "upload_version" in path] == [
        "/apis/v2beta1/pipelines/upload_version"
    ] * 3


def test_a_taken_version_name_is_a_conflict(server, uploaded, text):
    with pytest.raises(ConflictError, match="409"):
        server.upload_version(uploaded[0].id, "V1", "", text)


def test_what_the_server_calls_wrong_is_said_in_its_words(server, uploaded):
    with pytest.raises(RefusedError, match=r"400: .+"):
        server.upload_version(uploaded[0].id, "v2", "", "a: pipeline\nof: sorts\n")
    assert RefusedError.exit_code == InputError.exit_code


def test_a_broken_graph_is_not_asked_for_again(server, double):
    def create():
        server.create_run(name="r", description="", experiment_id="", parameters={}, spec={"pipelineInfo": {}})

    double.fail("POST", "/runs$", status=500, body={"code": 13, "message": "InternalServerError: no"}, times=9)
    with pytest.raises(ServerError, match="500") as told:
        create()
    assert "ratchet lint" in told.value.remedy
    assert len(double.calls) == 1


def test_too_large_names_the_size(server, double, uploaded):
    double.fail("POST", "/upload_version", status=413, body="<html>", headers=HTML)
    with pytest.raises(RefusedError, match=r"[\d,]+ bytes"):
        server.upload_version(uploaded[0].id, "v2", "", "x" * 5000)


def test_gone_and_never_there_are_told_apart(server, double):
    with pytest.raises(NotFoundError) as gone:
        server.run("00000000-0000-0000-0000-000000000000")
    assert "deleted" in gone.value.remedy
    with pytest.raises(NotFoundError, match="no Kubeflow Pipelines 2 API"):
        Server.connect(ServerSettings(url=f"{double.url}/elsewhere")).health()
    server.delete_schedule("00000000-0000-0000-0000-000000000000")


def test_a_login_page_was_taken_for_an_answer(server, double):
    double.fail("GET", "/pipelines", status=200, body="<html>log in</html>", headers=HTML)
    with pytest.raises(UnauthorizedError, match="web page"):
        server.pipelines()
    double.fail("GET", "/pipelines", status=302, headers={"Location": "https://login.example.com/?secret=x"})
    with pytest.raises(UnauthorizedError, match=r"sent on to login\.example\.com") as told:
        server.pipelines()
    assert "secret" not in str(told.value)


TOKEN = "hunter2-hunter2-hunter2"


def test_a_token_is_sent_and_never_told(connect, double, monkeypatch, caplog):
    double.token = TOKEN
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("KFP_TOKEN", TOKEN)
    assert connect().pipelines() == []
    monkeypatch.setenv("KFP_TOKEN", f"{TOKEN}-expired")
    server = connect()
    with pytest.raises(UnauthorizedError, match="401") as told:
        server.pipelines()
    said = (
        "".join(traceback.format_exception(told.value))
        + caplog.text
        + repr(server.__dict__)
        + repr(server._http.__dict__)
    )
    assert "KFP_TOKEN" in str(told.value)
    assert TOKEN not in said


def test_a_renewed_token_file_was_read_once(connect, double, tmp_path):
    token = tmp_path / "token"
    token.write_text("first\n")
    double.token = "first"
    server = connect(auth={"token_file": str(token)})
    assert server.pipelines() == []
    token.write_text("second\n")
    double.token = "second"
    assert server.pipelines() == []
    token.write_text("")
    with pytest.raises(InputError, match="is empty"):
        server.pipelines()
    token.unlink()
    with pytest.raises(InputError, match=r"token cannot be read"):
        server.pipelines()


def test_a_projected_token_is_found_where_kfp_has_it(connect, double, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("projected")
    double.token = "projected"
    monkeypatch.delenv("KFP_TOKEN", raising=False)
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    assert connect().pipelines() == []


def test_cookie_and_headers_arrive(connect, double, monkeypatch):
    monkeypatch.setenv("MY_COOKIE", "authservice_session=abc")
    monkeypatch.setenv("MY_USER", "ada@example.com")
    double.headers = {"Cookie": "authservice_session=abc", "kubeflow-userid": "ada@example.com"}
    auth = {"cookie_env": "MY_COOKIE", "headers_env": {"kubeflow-userid": "MY_USER"}}
    assert connect(auth=auth).pipelines() == []
    monkeypatch.setenv("MY_USER", "ada\r\nX-Injected: 1")
    with pytest.raises(InputError, match="no header can have"):
        connect(auth=auth).pipelines()
    monkeypatch.delenv("MY_USER")
    with pytest.raises(InputError, match="MY_USER is empty or not set"):
        connect(auth=auth).pipelines()


def test_a_foreign_namespace_is_refused_by_name(text):
    with KfpServer(namespaces=["mine"]) as double:
        own = Server.connect(ServerSettings(url=double.url, namespace="mine"))
        assert own.create_pipeline("p", "").name == "p"
        assert [one.name for one in own.pipelines()] == ["p"]
        with pytest.raises(UnauthorizedError, match="namespace other"):
            Server.connect(ServerSettings(url=double.url, namespace="other")).experiments()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("localhost:8888", "must be the address"),
        ("ftp://host", "must be the address"),
        ("https://ada:hunter2@host", "neither user, password"),
        ("http://host:99999", "port"),
        ("https://host/?token=hunter2", "neither user, password"),
    ],
)
def test_a_wrong_address_is_refused_and_its_password_not_repeated(url, told):
    with pytest.raises(ValueError, match=told) as refused:
        ServerSettings(url=url)
    assert "hunter2" not in str(refused.value.errors(include_input=False))


def test_which_server_is_meant(monkeypatch):
    one, two = ServerSettings(url="http://one"), ServerSettings(url="http://two")
    declared = {"one": one, "two": two}
    monkeypatch.delenv(SERVER, raising=False)
    monkeypatch.setenv(ENDPOINT, "kfp:8888")
    assert server_settings("", declared) == one
    assert server_settings("two", declared) == two
    assert server_settings("https://three", declared).url == "https://three"
    assert server_settings("", {}).url == "http://kfp:8888"
    monkeypatch.setenv(SERVER, "two")
    assert server_settings("", declared) == two
    with pytest.raises(InputError, match="no server 'tow'") as told:
        server_settings("tow", declared)
    assert "two" in told.value.remedy
    monkeypatch.delenv(SERVER)
    monkeypatch.delenv(ENDPOINT)
    with pytest.raises(InputError, match="no Kubeflow Pipelines server is named"):
        server_settings("", {})


def test_an_unknown_authority_is_named_and_a_known_one_trusted(tmp_path, connect):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))

    class Healthy(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"tag_name": "2.17.0"}')

        def log_message(self, *_):
            pass

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as listening:
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        url = f"https://localhost:{listening.server_port}"
        with pytest.raises(UnreachableError, match=r"certificate .* is not trusted") as told:
            connect(url=url, patience=0).health()
        assert "`ca`" in told.value.remedy
        assert connect(url=url, ca=str(pem)).health().version == "2.17.0"
        with pytest.raises(InputError, match="cannot be asked"):
            connect(url=url, ca=str(tmp_path / "none.pem")).health()
        listening.shutdown()


def test_a_link_leads_to_the_ui_where_it_is_elsewhere(connect):
    assert (
        connect(ui="https://ui/pipeline/").ui("version", "a", "b")
        == "https://ui/pipeline/#/pipelines/details/a/version/b"
    )

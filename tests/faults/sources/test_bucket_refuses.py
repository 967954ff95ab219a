"""A bucket that is overloaded, cut off, elsewhere or closed: tried again where that helps, else said with what to do."""

from functools import partial

import pytest
from polars.testing import assert_frame_equal

from kfp_ratchet.components.shared import buckets
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.sources import fetching
from kfp_ratchet.components.shared.sources.fetching import fetched_folder

LIST, GET = r"\?.*list-type|\?.*versions", r"GET /[^?]+\.parquet"


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Waits of boto3, obstore and ours that a test can bear."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0.01)
    monkeypatch.setattr(buckets, "_FIRST_PAUSE_S", 0.01)


@pytest.mark.parametrize("kind", ["SlowDown", "InternalError", "reset", "reset body", "cut"])
def test_a_burst_of_trouble_is_outlasted(data, faulty, steps, kind):
    rows = data.put_rows(30)
    faulty.fail(kind, LIST, times=2)
    revision = steps.pin(f"{data.uri}/rows")
    faulty.fail(kind, GET, times=20)
    assert_frame_equal(steps.ingest(f"{data.uri}/rows", revision), rows)
    assert not list(fetched_folder().rglob("*.part"))


@pytest.mark.parametrize("kind", ["SlowDown", "reset", "reset body", "cut"])
def test_trouble_without_end_is_an_error_and_never_a_part_of_the_data(data, faulty, steps, kind):
    data.put_rows(10)
    revision = steps.pin(f"{data.uri}/rows")
    faulty.fail(kind, r"/rows/0007\.parquet")
    error = steps.refused(f"{data.uri}/rows", revision)
    assert error.message.startswith(f"{data.uri}/rows/0007.parquet cannot be read: ")
    assert "then run it again" in error.remedy
    faulty.heal()
    assert steps.ingest(f"{data.uri}/rows", revision).height == 100
    assert len(faulty.gets()) <= 1, "the others were there"


@pytest.mark.parametrize("kind", ["SlowDown", "reset", "cut"])
def test_a_list_that_never_comes_is_an_error(data, faulty, steps, kind):
    data.put_rows(1)
    faulty.fail(kind, LIST)
    with pytest.raises(RatchetError, match=f"{data.uri}/rows cannot be read: "):
        steps.pin(f"{data.uri}/rows")


def test_large_objects_outlast_a_burst_and_are_whole(data, faulty, steps, monkeypatch):
    monkeypatch.setattr(fetching, "_RANGE_BYTES", 1000)
    monkeypatch.setattr(fetching, "_SMALL_BYTES", 1000)
    data.put("rows/large.jsonl", b"".join(b'{"x":%d}\n' % number for number in range(10_000)))
    data.put("rows/more.jsonl", b'{"x":1}\n')
    revision = steps.pin(f"{data.uri}/rows")
    faulty.heal()
    for burst in (0, 20, 40):
        for kind in ("SlowDown", "reset", "reset body", "cut"):
            faulty.after(burst + 1, partial(faulty.fail, kind, r"large\.jsonl", 1))
    assert steps.ingest(f"{data.uri}/rows", revision)["x"].sum() == sum(range(10_000)) + 1


@pytest.mark.parametrize(
    ("kind", "said", "remedy"),
    [
        ("ExpiredToken", "the credentials have expired", "renew them"),
        ("InvalidAccessKeyId", "the credentials are not accepted", "check AWS_ACCESS_KEY_ID"),
        ("AccessDenied", "access is denied", "s3:ListBucket"),
        ("PermanentRedirect", "is in another region", "AWS_REGION"),
    ],
)
@pytest.mark.parametrize("when", ["pin", "ingest"])
def test_what_trying_again_does_not_mend_is_said_at_once(data, faulty, steps, when, kind, said, remedy):
    data.put_rows(5)
    revision = steps.pin(f"{data.uri}/rows")
    faulty.heal()
    faulty.fail(kind)
    if when == "pin":
        with pytest.raises(RatchetError) as caught:
            steps.pin(f"{data.uri}/rows")
        error = caught.value
    else:
        error = steps.refused(f"{data.uri}/rows", revision)
    assert said in error.message
    assert data.uri in error.message
    assert remedy in error.remedy
    assert "secret" not in str(error).replace("AWS_SECRET", "")
    assert len(faulty.seen) < 20


def test_credentials_that_expire_in_the_middle_leave_what_was_verified(data, faulty, steps):
    data.put_rows(100)
    revision = steps.pin(f"{data.uri}/rows")
    faulty.fail("ExpiredToken", r"009\d\.parquet")
    assert "the credentials have expired" in steps.refused(f"{data.uri}/rows", revision).message
    faulty.settle()
    there = len(list(fetched_folder().rglob("*.parquet")))
    assert there > 0
    assert steps.ingest(f"{data.uri}/rows", revision).height == 1000
    assert len(faulty.gets()) == 100 - there


def test_a_bucket_that_does_not_exist_is_said(data, steps):
    with pytest.raises(
        RatchetError, match=r"there is no bucket 'no-such-bucket' for s3://no-such-bucket/rows"
    ) as caught:
        steps.pin("s3://no-such-bucket/rows")
    assert caught.value.exit_code == 2


def test_who_may_read_but_not_list_can_read_one_object(data, faulty, steps):
    rows = data.put_rows(2)
    faulty.fail("AccessDenied", r"\?")
    revision = steps.pin(f"{data.uri}/rows/0001.parquet")
    assert_frame_equal(steps.ingest(f"{data.uri}/rows/0001.parquet", revision), rows[10:])
    with pytest.raises(RatchetError, match="access is denied") as caught:
        steps.pin(f"{data.uri}/rows")
    assert "s3:ListBucket" in caught.value.remedy


def test_who_may_not_list_versions_reads_a_versioned_bucket_by_etag(data, faulty, steps):
    data.keep_versions()
    rows = data.put_rows(2)
    faulty.fail("AccessDenied", r"\?.*versions")
    revision = steps.pin(f"{data.uri}/rows")
    assert_frame_equal(steps.ingest(f"{data.uri}/rows", revision), rows)
    assert all("versionId" not in line for line in faulty.seen)


def test_a_server_that_is_not_s3_is_said(steps, monkeypatch, data, tmp_path):
    import threading
    from http.server import HTTPServer, SimpleHTTPRequestHandler

    monkeypatch.chdir(tmp_path)
    server = HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    with pytest.raises(RatchetError, match=r"s3://bucket/rows"):
        steps.pin("s3://bucket/rows")
    server.shutdown()
    server.server_close()


def test_no_one_answers_is_said(steps, monkeypatch, data):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(RatchetError, match=r"s3://bucket/rows cannot be read: ") as caught:
        steps.pin("s3://bucket/rows")
    assert "the network" in caught.value.remedy

"""The archive gives back what was kept or says why not, whoever kept it, was killed or changed it."""

import json
import resource
from pathlib import Path

import polars as pl
import pytest

from kfp_ratchet.components.shared.archive import (
    fetch_evidence,
    has_evidence,
    keep_decision,
    keep_evidence,
    read_decision,
)
from kfp_ratchet.components.shared.canonical import digest, digest_file
from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.evidence import evidence_digest
from kfp_ratchet.components.shared.store import Store


class Killed(BaseException):
    """What no handler of ours may take for a failure."""


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


@pytest.fixture
def evidence(tmp_path):
    return written(tmp_path / "evidence")


def written(folder: Path, latency: str = '{"candidate":[1.0]}') -> Path:
    folder.mkdir()
    pl.DataFrame({"id": ["a", "b"], "label": [0, 1], "candidate": [0.1, 0.9]}).write_parquet(folder / "rows.parquet")
    (folder / "evidence.json").write_text(json.dumps({"rows": 2}))
    (folder / "operations.json").write_text(latency)
    (folder / "probe.json").write_text("{}")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_was_kept_comes_back_byte_for_byte(store, evidence, tmp_path):
    key = evidence_digest(evidence)
    keep_evidence(store, evidence, key)
    assert has_evidence(store, key)
    assert contents(fetch_evidence(store, key, tmp_path / "back")) == contents(evidence)


def test_evidence_was_filed_under_the_digest_of_other_evidence(store, evidence):
    key = evidence_digest(evidence)
    (evidence / "evidence.json").write_text("{}")
    with pytest.raises(RatchetError, match="is not what the decision was taken on"):
        keep_evidence(store, evidence, key)
    assert not list(store.keys("evidence"))


class Dying(Store):
    """Dies at its nth write, before it or right after it; also when it writes a certain key."""

    def __init__(self, uri: str, at: int = -1, after: bool = False, key: str = "never") -> None:
        super().__init__(uri)
        self.at, self.after, self.key = at, after, key

    def create(self, key, content):
        return self.dying(super().create, key, content)

    def upload(self, key, path):
        return self.dying(super().upload, key, path)

    def dying(self, write, key, content):
        dies, self.at = self.at == 0 or key.endswith(self.key), self.at - 1
        if dies and not self.after:
            raise Killed
        done = write(key, content)
        if dies:
            raise Killed
        return done


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("point", range(5))
def test_a_killed_writer_left_an_archive_that_a_retry_did_not_complete(store, evidence, tmp_path, point, after):
    """Never a folder that passes for whole and is not, and the retry makes it whole."""
    key = evidence_digest(evidence)
    with pytest.raises(Killed):
        keep_evidence(Dying(store.uri, point, after), evidence, key)
    # Only the last write, once done, makes it whole.
    assert has_evidence(store, key) == (point == 4 and after)
    keep_evidence(store, evidence, key)
    assert contents(fetch_evidence(store, key, tmp_path / "back")) == contents(evidence)


def test_those_five_are_all_the_writes_there_are(store, evidence):
    keep_evidence(Dying(store.uri, 5), evidence, evidence_digest(evidence))


def test_a_second_run_with_other_clock_readings_broke_the_first_ones_archive(store, evidence, tmp_path):
    """The first writer is killed before its list of files; the second, whose operations differ, completes it."""
    key = evidence_digest(evidence)
    with pytest.raises(Killed):
        keep_evidence(Dying(store.uri, key="files.json"), evidence, key)
    other = written(tmp_path / "other", latency='{"candidate":[2.0]}')
    assert evidence_digest(other) == key
    keep_evidence(store, other, key)
    assert contents(fetch_evidence(store, key, tmp_path / "back")) == contents(evidence)


def test_evidence_whose_digest_covers_operations_was_refused(store, evidence, tmp_path):
    """Under a policy with a budget, other operations are other evidence."""
    key = evidence_digest(evidence, operations=True)
    other = written(tmp_path / "other", latency='{"candidate":[2.0]}')
    for folder in (evidence, other):
        keep_evidence(store, folder, evidence_digest(folder, operations=True))
    assert contents(fetch_evidence(store, key, tmp_path / "back")) == contents(evidence)
    with pytest.raises(RatchetError, match="is not what the decision was taken on"):
        keep_evidence(Store(str(tmp_path / "another")), other, key)


@pytest.mark.parametrize("name", ["rows.parquet", "evidence.json", "operations.json", "probe.json", "files.json"])
@pytest.mark.parametrize("harm", ["changed", "missing"])
def test_damage_in_the_archive_was_handed_out_as_evidence(store, evidence, tmp_path, name, harm):
    key = evidence_digest(evidence)
    keep_evidence(store, evidence, key)
    kept = tmp_path / "store" / "evidence" / key.removeprefix("sha256:") / name
    if harm == "changed":
        kept.write_bytes(b"[" + kept.read_bytes())
    else:
        kept.unlink()
    said = "has no evidence" if (name, harm) == ("files.json", "missing") else f"damaged at .*{name}"
    with pytest.raises(RatchetError, match=said):
        fetch_evidence(store, key, tmp_path / "back")


def test_a_list_of_files_with_a_matching_lie_was_believed(store, evidence, tmp_path):
    """Whoever changes the rows and the list alike is found out by the digest that the ledger holds."""
    key = evidence_digest(evidence)
    keep_evidence(store, evidence, key)
    folder = tmp_path / "store" / "evidence" / key.removeprefix("sha256:")
    (folder / "evidence.json").write_text("{}")
    files = json.loads((folder / "files.json").read_text())
    (folder / "files.json").write_text(json.dumps({**files, "evidence.json": digest_file(folder / "evidence.json")}))
    with pytest.raises(RatchetError, match=r"are not what sha256:.* speaks of"):
        fetch_evidence(store, key, tmp_path / "back")


@pytest.mark.parametrize("name", ["../../escaped", "..", "/tmp/escaped", "a/b"])
def test_a_list_of_files_wrote_outside_the_folder(store, evidence, tmp_path, name):
    key = evidence_digest(evidence)
    keep_evidence(store, evidence, key)
    (tmp_path / "store" / "evidence" / key.removeprefix("sha256:") / "files.json").write_text(json.dumps({name: "x"}))
    with pytest.raises(RatchetError, match="which is no file of it"):
        fetch_evidence(store, key, tmp_path / "back")


def test_evidence_that_could_not_be_read_has_no_digest_and_is_not_kept(store, evidence):
    keep_evidence(store, evidence, "")
    assert not list(store.keys("evidence")) and not has_evidence(store, "")


def test_a_decision_comes_back_and_a_changed_one_is_refused(store, tmp_path):
    decision = Decision(verdict="reject", reason="Rejected: worse.")
    decision.write(tmp_path / "decision.json")
    key = digest_file(tmp_path / "decision.json")
    keep_decision(store, tmp_path / "decision.json", key)
    keep_decision(store, tmp_path / "decision.json", key)
    assert read_decision(store, key) == decision
    assert read_decision(store, digest("another")) is None and read_decision(store, "") is None
    kept = tmp_path / "store" / "decisions" / f"{key.removeprefix('sha256:')}.json"
    kept.write_text(kept.read_text().replace("reject", "promote"))
    with pytest.raises(RatchetError, match=r"damaged at .*it was changed"):
        read_decision(store, key)


def test_a_bucket_takes_evidence_larger_than_one_request(evidence, tmp_path, monkeypatch):
    """Parts on a real S3 server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        import boto3

        boto3.client("s3").create_bucket(Bucket="archive")
        (evidence / "rows.parquet").write_bytes(bytes(12_000_000))
        bucket, key = Store("s3://archive/project"), evidence_digest(evidence)
        keep_evidence(bucket, evidence, key)
        assert contents(fetch_evidence(bucket, key, tmp_path / "back")) == contents(evidence)
        assert fetch_evidence(bucket, key, tmp_path / "back") == tmp_path / "back"
    finally:
        server.stop()


@pytest.mark.slow
def test_gigabytes_of_evidence_filled_the_memory(store, tmp_path):
    """200 MB of rows go in and out again with less than half of that in memory."""
    folder = written(tmp_path / "large")
    with (folder / "rows.parquet").open("wb") as file:
        for _ in range(200):
            file.write(bytes(1_000_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    key = evidence_digest(folder)
    keep_evidence(store, folder, key)
    fetch_evidence(store, key, tmp_path / "back")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000

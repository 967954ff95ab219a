"""`ratchet data push`, into real buckets (moto) and real DVC repositories."""

import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.manifest import list_source
from kfp_ratchet.components.shared.sources import Memory, open_source
from kfp_ratchet.pipelines import push_bucket
from kfp_ratchet.pipelines.push import push

RATCHET = Path(sys.executable).with_name("ratchet")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two files of data, and two that are none."""
    made = tmp_path / "data"
    for name in ("2013-01.csv", "late/2013-02.csv", "_SUCCESS", ".part/x.csv"):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(f"name\n{name}\n")
    return made


@pytest.fixture
def versioned(bucket) -> str:
    """A prefix in a bucket that keeps versions."""
    boto3.client("s3").put_bucket_versioning(Bucket=bucket[5:], VersioningConfiguration={"Status": "Enabled"})
    return f"{bucket}/some/where"


def keys(uri: str) -> list[str]:
    bucket, _, prefix = uri[5:].partition("/")
    prefix = f"{prefix}/" if prefix else ""
    answer = boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)
    return [one["Key"].removeprefix(prefix) for one in answer.get("Contents", ())]


def test_a_folder_is_pushed_once(folder, versioned):
    pushed = push(folder, versioned)
    assert (pushed.files, pushed.uploaded, pushed.left) == (2, 2, 0)
    assert keys(versioned) == ["2013-01.csv", "late/2013-02.csv"]
    assert (pushed.source, pushed.revision) == (versioned, list_source(versioned).revision)
    again = push(folder, f"{versioned}/")
    assert (again.uploaded, again.revision) == (0, pushed.revision)


def test_only_what_is_new_is_uploaded_and_the_old_revision_stays(folder, versioned, monkeypatch, tmp_path):
    monkeypatch.setenv("RATCHET_DATA", str(tmp_path / "fetched"))
    push(folder, versioned)
    source = open_source(versioned)
    before = source.listing(Memory({}))
    old = (folder / "2013-01.csv").read_bytes()
    (folder / "2013-01.csv").write_bytes(old.upper())
    (folder / "2013-03.csv").write_text("new\n")
    assert push(folder, versioned).uploaded == 2
    assert source.fetch(before, lambda line: None)[0].read_bytes() == old


def test_what_the_folder_lost_is_told_and_deleted_only_by_mirror(folder, versioned):
    push(folder, versioned)
    client, bucket = boto3.client("s3"), versioned[5:].partition("/")[0]
    for key in ("some/where/_SUCCESS", "some/whereabouts.csv"):
        client.put_object(Bucket=bucket, Key=key, Body=b"someone else's")
    (folder / "2013-01.csv").unlink()
    told = push(folder, versioned)
    assert (told.left, told.removed) == (1, 0)
    mirrored = push(folder, versioned, mirror=True)
    assert (mirrored.left, mirrored.removed) == (0, 1)
    assert keys(versioned) == ["_SUCCESS", "late/2013-02.csv"]
    assert "some/whereabouts.csv" in keys(f"s3://{bucket}")
    versions = client.list_object_versions(Bucket=bucket, Prefix="some/where/2013-01.csv")["Versions"]
    assert len(versions) == 1, "its old version stays"


def test_a_bucket_without_versions_is_refused_unless_it_is_accepted(folder, bucket):
    with pytest.raises(InputError, match=r"keeps no versions.*put-bucket-versioning .*--unversioned"):
        push(folder, bucket)
    assert keys(bucket) == []
    pushed = push(folder, bucket, unversioned=True)
    assert keys(bucket) == ["2013-01.csv", "late/2013-02.csv"]
    assert "the next push ends this revision" in pushed.warning
    boto3.client("s3").put_bucket_versioning(Bucket=bucket[5:], VersioningConfiguration={"Status": "Suspended"})
    with pytest.raises(InputError, match="keeps no versions"):
        push(folder, bucket)


def test_a_large_file_goes_in_parts_and_is_known_again(tmp_path, versioned, monkeypatch):
    monkeypatch.setattr(push_bucket, "_PART_BYTES", 5 * 2**20)
    large = tmp_path / "large.csv"
    large.write_bytes(os.urandom(11 * 2**20))
    assert push(large, versioned).uploaded == 1
    (found,) = boto3.client("s3").list_objects_v2(Bucket=versioned[5:].partition("/")[0])["Contents"]
    assert found["ETag"].endswith('-3"')
    assert found["ETag"] == f'"{push_bucket._etag(large, 11 * 2**20)}"'
    assert push(large, versioned).uploaded == 0
    content = bytearray(large.read_bytes())
    content[-1] ^= 1
    large.write_bytes(content)
    assert push(large, versioned).uploaded == 1


def test_an_etag_that_is_no_md5_is_no_reason_to_upload_again(tmp_path, versioned, monkeypatch):
    """As where the bucket encrypts: then the digest that is kept with the object tells."""
    file = tmp_path / "a.csv"
    file.write_bytes(os.urandom(6 * 2**20))
    monkeypatch.setattr(push_bucket, "_PART_BYTES", 5 * 2**20)
    assert push(file, versioned).uploaded == 1
    monkeypatch.setattr(push_bucket, "_PART_BYTES", 16 * 2**20)
    assert push(file, versioned).uploaded == 0
    file.write_bytes(os.urandom(6 * 2**20))
    assert push(file, versioned).uploaded == 1


def test_names_that_are_odd(tmp_path, versioned):
    names = ["a b.csv", "grüße/+&=%41#?.csv", "x=1/y=_/part.csv"]
    for name in names:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(name)
    push(tmp_path / "data", versioned)
    assert sorted(keys(versioned)) == sorted(names)
    assert push(tmp_path / "data", versioned).uploaded == 0
    assert sorted(list_source(versioned).tables["rows"]["path"]) == sorted(names)


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("s3://", {}, "names no bucket"),
        ("s3://no-such-bucket-here", {}, "there is no bucket"),
        ("gs://bucket", {}, "cannot be pushed to"),
        ("s3://key:secret@bucket", {}, "holds a password"),
        ("s3://bucket", {"commit": False}, "--no-commit is for DVC"),
        ("dvc", {"mirror": True}, "are for buckets"),
        ("dvc://https://host/repo:data", {}, "names no folder of this machine"),
        ("dvc://.@main:data", {}, "names a revision"),
        ("dvc", {}, "is not in a Git repository"),
    ],
)
def test_targets_that_are_none(folder, bucket, target, options, said):
    with pytest.raises(InputError, match=said):
        push(folder, target, **options)


def test_a_name_that_no_object_can_have(folder, versioned):
    (folder / "tab\there.csv").write_text("x")
    with pytest.raises(InputError, match=r"tab\there\.csv has a name that no object can have"):
        push(folder, versioned)


def test_nothing_to_push(tmp_path, versioned):
    with pytest.raises(InputError, match="there is no file or folder"):
        push(tmp_path / "nothing", versioned)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no files"):
        push(tmp_path / "empty", versioned)


@pytest.fixture
def project(dvc_project, tmp_path):
    made = dvc_project(tmp_path / "project", str(tmp_path / "remote"))
    made.put("data/flights/2013-01.csv", b"day\n1\n")
    made.put("notes.md", b"mine\n")
    made.commit("begun")
    made.git("rm", "--cached", "--quiet", "-r", "data")
    made.git("commit", "--quiet", "-m", "data is not for Git")
    return made


def read(uri: str) -> dict[str, bytes]:
    source = open_source(uri)
    files = source.listing(Memory({}))
    return {path: file.read_bytes() for path, file in zip(files["path"], source.fetch(files, print), strict=True)}


def test_dvc_commits_exactly_what_it_wrote(project):
    project.put("notes.md", b"mine, changed\n")
    project.put("staged.md", b"staged\n")
    project.git("add", "staged.md")
    pushed = push(project.folder / "data/flights", "dvc")
    assert project.git("show", "--name-only", "--format=", "HEAD").split() == ["data/.gitignore", "data/flights.dvc"]
    assert project.git("diff", "--cached", "--name-only") == "staged.md"
    assert pushed.commit == project.git("rev-parse", "HEAD")
    assert pushed.source == f"dvc://{project.folder}@{pushed.commit}:data/flights"
    assert read(pushed.source) == {"2013-01.csv": b"day\n1\n"}
    assert pushed.revision == list_source(pushed.source).revision


def test_dvc_makes_no_commit_without_need(project):
    first = push(project.folder / "data/flights", "dvc")
    assert push(project.folder / "data/flights", "dvc") == first
    project.put("data/flights/2013-02.csv", b"day\n2\n")
    second = push(project.folder / "data/flights", "dvc")
    assert second.commit != first.commit
    assert second.revision != first.revision
    assert list(read(first.source)) == ["2013-01.csv"]


def test_dvc_goes_on_where_it_was_interrupted(project):
    """After `dvc add`, before the push and the commit."""
    project.track("data/flights", push=False, commit="")
    assert read(push(project.folder / "data/flights", "dvc").source) == {"2013-01.csv": b"day\n1\n"}


@pytest.mark.parametrize("staged", [True, False])
def test_changes_of_the_user_are_not_swept_into_the_commit(project, staged):
    project.put("data/.gitignore", b"*.tmp\n")
    if staged:
        project.git("add", "data/.gitignore")
    head = project.git("rev-parse", "HEAD")
    with pytest.raises(InputError, match=r"data/\.gitignore in .* has changes .*--no-commit"):
        push(project.folder / "data/flights", "dvc")
    pushed = push(project.folder / "data/flights", "dvc", commit=False)
    assert project.git("rev-parse", "HEAD") == head
    assert set(pushed.to_commit) == {"data/.gitignore", "data/flights.dvc"}
    assert pushed.revision == ""
    project.commit("by hand")
    assert read(pushed.source) == {"2013-01.csv": b"day\n1\n"}


def test_a_folder_from_elsewhere_into_a_repository(project, folder):
    pushed = push(folder, f"dvc://{project.folder}:lake/flights")
    assert sorted(read(pushed.source)) == ["2013-01.csv", "late/2013-02.csv"]
    (folder / "2013-01.csv").unlink()
    again = push(folder, f"dvc://{project.folder}:lake/flights")
    assert sorted(read(again.source)) == ["late/2013-02.csv"]
    assert project.git("status", "--porcelain", "lake") == ""
    assert sorted(read(pushed.source)) == ["2013-01.csv", "late/2013-02.csv"]


def test_dvc_without_a_remote_or_a_repository(project, tmp_path):
    config = project.folder / ".dvc/config"
    config.write_text("")
    with pytest.raises(InputError, match="has no default remote; run `dvc remote add"):
        push(project.folder / "data/flights", "dvc")
    assert not (project.folder / "data/flights.dvc").exists()
    config.write_text("['remote \"store\"']\nurl = s3://no-such-bucket/x\n[core]\nremote = store\n")
    subprocess.run(["git", "init", "--quiet", tmp_path / "plain"], check=True)
    (tmp_path / "plain/data").mkdir()
    with pytest.raises(InputError, match="is not in a DVC repository; run `dvc init`"):
        push(tmp_path / "plain/data", "dvc")


def test_what_dvc_refuses_is_said(project):
    """A file inside of a tracked folder cannot be tracked by itself."""
    push(project.folder / "data/flights", "dvc")
    with pytest.raises(RatchetError, match=r"DVC refuses: .*2013-01"):
        push(project.folder / "data/flights/2013-01.csv", "dvc")


def test_dvc_does_not_replace_what_exists_nowhere_else(project, folder):
    """A new file below a tracked folder was gone after a push onto it."""
    target = f"dvc://{project.folder}:data/flights"
    with pytest.raises(InputError, match="DVC does not track it"):
        push(folder, target)
    push(project.folder / "data/flights", "dvc")
    project.put("data/flights/new.csv", b"only copy\n")
    with pytest.raises(InputError, match="is not as DVC has it"):
        push(folder, target)
    assert (project.folder / "data/flights/new.csv").read_bytes() == b"only copy\n"
    with pytest.raises(InputError, match="is Git's"):
        push(folder, f"dvc://{project.folder}:notes.md")


def test_dvc_commits_no_folder_that_no_run_could_read(project):
    head = project.git("rev-parse", "HEAD")
    project.put("void/_SUCCESS", b"")
    with pytest.raises(InputError, match="holds no files"):
        push(project.folder / "void", "dvc")
    assert project.git("rev-parse", "HEAD") == head
    assert not (project.folder / "void.dvc").exists()


def test_a_place_outside_of_the_repository_is_named(project, folder):
    (project.folder / "link").symlink_to(folder)
    with pytest.raises(InputError, match=f"link leads to {folder}, which is not in a Git repository"):
        push(project.folder / "link", "dvc")
    with pytest.raises(InputError, match=f"leads to {folder}/x, outside of the repository"):
        push(folder, f"dvc://{project.folder}:link/x")
    for own in (".", ".git/hooks", ".dvc/config"):
        with pytest.raises(InputError, match="no place for data"):
            push(folder, f"dvc://{project.folder}:{own}")


def test_a_mirror_that_would_empty_a_bucket_is_refused(folder, versioned):
    push(folder, versioned)
    bucket = versioned.rpartition("/some/")[0]
    with pytest.raises(InputError, match="is a file"):
        push(folder / "2013-01.csv", versioned, mirror=True)
    with pytest.raises(InputError, match="all of the bucket"):
        push(folder, bucket, mirror=True)
    other = folder.parent / "other"
    other.mkdir()
    (other / "x.csv").write_text("x\n")
    with pytest.raises(InputError, match=r"delete 2 objects of .* has 1 file; .*--yes"):
        push(other, versioned, mirror=True)
    assert keys(versioned) == ["2013-01.csv", "late/2013-02.csv"]
    assert push(other, versioned, mirror=True, yes=True).removed == 2


def test_a_key_that_no_run_can_read_is_named(folder, versioned):
    """The credentials and the network were to blame."""
    bucket = versioned[5:].partition("/")[0]
    boto3.client("s3").put_object(Bucket=bucket, Key="some/where/a//b.csv", Body=b"")
    with pytest.raises(InputError, match=r"a key that no run can read: .*a//b\.csv"):
        push(folder, versioned)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_digest_is_kept_only_with_the_bytes_it_is_of(folder, versioned, monkeypatch, moment):
    """A file rewritten between listing and upload, same size, was taken for the old one for ever."""
    file = folder / "2013-01.csv"
    good = file.read_bytes()
    put = push_bucket.obstore.put

    def putting(store, name, path, **options):
        answer = put(store, name, path, **options)
        file.write_bytes(good.upper())
        return answer

    def opening(uri):
        file.write_bytes(good.upper())
        return open_bucket(uri)

    open_bucket = push_bucket.open_bucket
    if moment == "before":
        monkeypatch.setattr(push_bucket, "open_bucket", opening)
    else:
        monkeypatch.setattr(push_bucket.obstore, "put", putting)
    with pytest.raises(RatchetError, match="changes while it is pushed"):
        push(folder, versioned)
    assert "2013-01.csv" not in keys(versioned)


@pytest.mark.slow
def test_the_command(project, folder, bucket):
    def ratchet(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [RATCHET, "data", "push", *map(str, arguments)], capture_output=True, text=True, check=False
        )

    refused = ratchet(folder, bucket, "--json")
    assert refused.returncode == 2
    assert json.loads(refused.stdout)["exit_code"] == 2
    pushed = ratchet(folder, bucket, "--unversioned")
    assert pushed.returncode == 0, pushed.stderr
    assert f"revision  {list_source(bucket).revision}, as the only table\n" in pushed.stdout
    assert f"source  {bucket}\n" in pushed.stdout
    done = ratchet(project.folder / "data/flights", "dvc", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["commit"] == project.git("rev-parse", "HEAD")

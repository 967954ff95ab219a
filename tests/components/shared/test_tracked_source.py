"""dvc:// sources, with real Git, real DVC, and remotes in a folder, in S3 and on the web."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import boto3
import polars as pl
import pytest

from kfp_ratchet.components.pin.pins import pin_run
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.manifest import list_source
from kfp_ratchet.components.shared.sources import Memory, dvc_remotes, open_source
from kfp_ratchet.components.shared.sources.dvc_remotes import open_remote
from kfp_ratchet.components.shared.sources.tracked import parse_tracked

pytest.importorskip("dvc")
JANUARY, FEBRUARY = b"day,late\n1,0\n", b"day,late\n2,1\n3,0\n"


@pytest.fixture
def project(dvc_project, tmp_path):
    """Two months and a file of planes, pushed to a folder and committed."""
    made = dvc_project(tmp_path / "project", str(tmp_path / "remote"))
    made.put("data/flights/2013-01.csv", JANUARY)
    made.put("data/flights/late/2013-02.csv", FEBRUARY)
    made.put("data/planes.csv", b"tail\nN1\n")
    made.track("data/flights", "data/planes.csv")
    return made


def read(uri: str) -> dict[str, bytes]:
    """All that a source holds, by path."""
    source = open_source(uri)
    files = source.listing(Memory({}))
    # As in a run, another step fetches.
    paths = open_source(uri).fetch(files, lambda line: None)
    return {name: path.read_bytes() for name, path in zip(files["path"], paths, strict=True)}


def stored(project, content: bytes) -> Path:
    """Where the remote folder holds some bytes."""
    found = hashlib.md5(content).hexdigest()
    return project.folder.parent / "remote" / "files" / "md5" / found[:2] / found[2:]


def test_a_tracked_folder(project):
    assert read(project.uri("data/flights")) == {"2013-01.csv": JANUARY, "late/2013-02.csv": FEBRUARY}


def test_a_listing_is_of_md5_and_reads_no_data(project):
    for content in (JANUARY, FEBRUARY):
        stored(project, content).chmod(0o644)
        stored(project, content).write_bytes(bytes(len(content)))
    rows = open_source(project.uri("data/flights", "main")).listing(Memory({}))
    expected = [
        (path, len(content), f"md5:{hashlib.md5(content).hexdigest()}")
        for path, content in {"2013-01.csv": JANUARY, "late/2013-02.csv": FEBRUARY}.items()
    ]
    assert rows.rows() == expected


def test_a_tracked_file(project):
    assert read(project.uri("data/planes.csv")) == {"planes.csv": b"tail\nN1\n"}


def test_parts_of_a_tracked_folder(project):
    assert read(project.uri("data/flights/late")) == {"2013-02.csv": FEBRUARY}
    assert read(project.uri("data/flights/late/2013-02.csv")) == {"2013-02.csv": FEBRUARY}


def test_a_folder_above_several_tracked_things(project):
    project.put("data/README.md", b"not tracked by DVC")
    project.commit("a file of Git's")
    assert sorted(read(project.uri("data"))) == ["flights/2013-01.csv", "flights/late/2013-02.csv", "planes.csv"]


def test_an_output_of_a_pipeline(project, monkeypatch):
    from dvc.repo import Repo

    monkeypatch.chdir(project.folder)
    with Repo(str(project.folder)) as repo:
        repo.run(cmd="mkdir out && echo 1 > out/made.csv", name="make", outs=["out"])
        repo.push()
    project.commit("a stage")
    assert read(project.uri("out")) == {"made.csv": b"1\n"}
    (project.folder / "dvc.lock").write_text((project.folder / "dvc.lock").read_text() + "\n# edited\n")
    with pytest.raises(InputError, match=r"dvc\.lock in .* is not as committed"):
        open_source(project.uri("out")).listing(Memory({}))


def test_hidden_files_are_no_data(project):
    project.put("data/flights/_SUCCESS", b"")
    project.put("data/flights/.part/x.csv", b"x")
    project.track("data/flights")
    assert sorted(read(project.uri("data/flights"))) == ["2013-01.csv", "late/2013-02.csv"]


def test_a_hidden_file_that_is_tracked_by_itself_is_no_data(project):
    project.put("single/_x.csv", b"x\n")
    project.put("single/y.csv", b"y\n")
    project.track("single/_x.csv", "single/y.csv")
    assert list(read(project.uri("single"))) == ["y.csv"]


def test_a_repository_that_is_not_there_is_told_by_git_s_own_error(tmp_path):
    with pytest.raises(RatchetError, match=r"fatal: .*nowhere"):
        open_source(f"dvc://file://{tmp_path}/nowhere@main:data").listing(Memory({}))


def test_revisions_share_a_folder_of_fetched_files(dvc_project, tmp_path, bucket, monkeypatch):
    """Each snapshot was fetched whole again, and none was ever removed."""
    monkeypatch.setenv("RATCHET_DATA", str(tmp_path / "fetched"))
    project = dvc_project(tmp_path / "lake", f"{bucket}/dvc")
    project.put("data/a.csv", b"a\n")
    project.track("data")
    uri = project.uri("data")
    sha = project.git("rev-parse", "HEAD")
    paths = [
        open_source(one).fetch(open_source(one).listing(Memory({})), print)[0]
        for one in (uri, f"dvc://{project.folder}@{sha}:data")
    ]
    assert paths[0] == paths[1]


def test_revisions_by_branch_tag_and_commit(project):
    first = project.git("rev-parse", "HEAD")
    project.git("tag", "v1")
    project.git("checkout", "--quiet", "-b", "feature/more")
    project.put("data/planes.csv", b"tail\nN1\nN2\n")
    project.track("data/planes.csv")
    for rev in (first, first[:10], "v1", "main", "feature/more~1"):
        assert read(project.uri("data/planes.csv", rev)) == {"planes.csv": b"tail\nN1\n"}, rev
    for rev in ("", "HEAD", "feature/more"):
        assert read(project.uri("data/planes.csv", rev)) == {"planes.csv": b"tail\nN1\nN2\n"}, rev


def test_the_commit_is_told(project):
    source = open_source(project.uri("data", "main"))
    assert source.origin == ""
    source.listing(Memory({}))
    assert source.origin == f"commit {project.git('rev-parse', 'HEAD')}"


def test_the_same_data_is_the_same_revision_in_another_repository_and_remote(dvc_project, project, bucket, tmp_path):
    other = dvc_project(tmp_path / "other", f"{bucket}/dvc", endpointurl=os.environ["AWS_ENDPOINT_URL"])
    other.put("elsewhere/2013-01.csv", JANUARY)
    other.put("elsewhere/late/2013-02.csv", FEBRUARY)
    other.track("elsewhere")
    here, there = list_source(project.uri("data/flights")), list_source(other.uri("elsewhere", "main"))
    assert here.revision == there.revision
    assert read(other.uri("elsewhere")) == read(project.uri("data/flights"))


def test_a_remote_in_s3_by_its_own_endpoint_and_keys(dvc_project, bucket, tmp_path, monkeypatch):
    """What only DVC's configuration says, the private part of it (config.local) included."""
    made = dvc_project(tmp_path / "project", f"{bucket}/some/where", endpointurl=os.environ["AWS_ENDPOINT_URL"])
    (made.folder / ".dvc/config.local").write_text(
        "['remote \"store\"']\n  access_key_id = key\n  secret_access_key = secret\n  region = us-east-1\n"
    )
    made.put("data/2013-01.csv", JANUARY)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    made.track("data")
    assert read(made.uri("data")) == {"2013-01.csv": JANUARY}


@pytest.mark.parametrize(
    ("settings", "kind"), [({"profile": "x"}, "_Bucket"), ({"ssl_verify": "ca.pem"}, "_Elsewhere")]
)
def test_s3_is_left_to_dvc_only_for_what_obstore_cannot_do(settings, kind, bucket, tmp_path, monkeypatch):
    (tmp_path / "credentials").write_text("[x]\naws_access_key_id = key\naws_secret_access_key = secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    config = {
        "core": {},
        "remote": {"store": {"url": bucket, "endpointurl": os.environ["AWS_ENDPOINT_URL"], **settings}},
    }
    remote = open_remote(config, "store")
    assert type(remote).__name__ == kind
    if kind == "_Bucket":
        assert remote.sizes(["md5:" + "0" * 32]) == [None]


def test_many_sizes_are_listed_and_those_that_are_not_asked_for(bucket, monkeypatch):
    """More than a thousand at once, which a test makes with fewer."""
    monkeypatch.setattr(dvc_remotes, "_PAGE", 2)
    monkeypatch.setattr(dvc_remotes, "_THREADS", 1)
    client = boto3.client("s3")
    there = {f"{number:032x}": number for number in range(5)}
    for name, size in there.items():
        client.put_object(Bucket=bucket[5:], Key=f"x/files/md5/{name[:2]}/{name[2:]}", Body=bytes(size))
    config = {"core": {}, "remote": {"store": {"url": f"{bucket}/x", "endpointurl": os.environ["AWS_ENDPOINT_URL"]}}}
    remote = open_remote(config, "store")
    names = [f"md5:{name}" for name in there]
    assert remote.sizes([*names, "md5:" + "f" * 32]) == [*there.values(), None]
    monkeypatch.setattr(dvc_remotes, "_THREADS", 3)  # two pages only: the fifth is asked for
    assert remote.sizes([*names, "md5:" + "f" * 32]) == [*there.values(), None]


def test_ends_of_files_without_the_rest(dvc_project, project, bucket, tmp_path):
    other = dvc_project(tmp_path / "other", bucket, endpointurl=os.environ["AWS_ENDPOINT_URL"])
    other.put("data/2013-01.csv", JANUARY)
    other.put("data/2013-02.csv", FEBRUARY)
    other.track("data")
    for uri in (project.uri("data/flights"), other.uri("data")):
        source = open_source(uri)
        assert list(source.tails(source.listing(Memory({})), 4)) == [b"1,0\n", b"3,0\n"]


def test_sizes_are_asked_for_once(project):
    memory = Memory({})
    before = open_source(project.uri("data/flights")).listing(memory)
    stored(project, JANUARY).unlink()
    again = open_source(project.uri("data/flights")).listing(Memory(memory.now))
    assert again.equals(before)


def test_a_remote_that_only_dvc_can_reach(project, tmp_path):
    """Over HTTP, by DVC's own file system."""
    handler = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *a: handler(*a, directory=str(tmp_path / "remote"))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        config = project.folder / ".dvc/config"
        config.write_text(
            config.read_text().replace(str(tmp_path / "remote"), f"http://127.0.0.1:{server.server_port}")
        )
        project.commit("by http")
        assert read(project.uri("data/flights")) == {"2013-01.csv": JANUARY, "late/2013-02.csv": FEBRUARY}
        damaged = stored(project, b"tail\nN1\n")
        damaged.chmod(0o644)
        damaged.write_bytes(b"tail\nXX\n")
        with pytest.raises(RatchetError, match=r"planes\.csv \(md5:.* has the md5"):
            read(project.uri("data/planes.csv"))
        assert not list(Path(os.environ["RATCHET_DATA"]).rglob("*.part"))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("remote", ["folder", "s3"])
def test_data_that_dvc_2_has_written(dvc_project, remote, tmp_path, bucket):
    """Its md5 of text is that of the text with Unix line ends, and its objects lie elsewhere."""
    where = str(tmp_path / "remote") if remote == "folder" else bucket
    made = dvc_project(tmp_path / "project", where)
    content = b"a\r\n1\r\n"
    found = hashlib.md5(content.replace(b"\r\n", b"\n")).hexdigest()
    made.put("old.csv.dvc", f"outs:\n- md5: {found}\n  size: {len(content)}\n  path: old.csv\n".encode())
    made.commit("an old one")

    def store(content: bytes) -> None:
        if remote == "s3":
            boto3.client("s3").put_object(Bucket=bucket[5:], Key=f"{found[:2]}/{found[2:]}", Body=content)
        else:
            place = tmp_path / "remote" / found[:2] / found[2:]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)

    store(b"a\r\n2\r\n")
    for _ in range(2):
        with pytest.raises(RatchetError, match=r"old\.csv \(md5-dos2unix:.* has the md5"):
            read(made.uri("old.csv", "main"))
    store(content)
    assert read(made.uri("old.csv", "main")) == {"old.csv": content}


def test_dvc_below_the_top_of_the_repository(project, tmp_path):
    from dvc.repo import Repo

    made = type(project).__new__(type(project))
    made.folder = tmp_path / "mono"
    made.folder.mkdir()
    made.git("init", "--quiet", "--initial-branch=main")
    (made.folder / "ml").mkdir()
    with Repo.init(str(made.folder / "ml"), subdir=True) as repo, repo.config.edit() as config:
        config["remote"]["store"] = {"url": str(tmp_path / "remote")}
        config["core"]["remote"] = "store"
    made.put("ml/data/2013-01.csv", JANUARY)
    with Repo(str(made.folder / "ml")) as repo:
        repo.add([str(made.folder / "ml/data")])
        repo.push()
    made.commit("below")
    for uri in (made.uri("ml/data"), f"dvc://{made.folder}/ml:data", f"dvc://file://{made.folder}@main:ml/data"):
        assert read(uri) == {"2013-01.csv": JANUARY}, uri
    made.put("ml/data/2013-01.csv", FEBRUARY)
    with pytest.raises(InputError, match=r"ml/data in .* is not as committed"):
        read(made.uri("ml/data"))


def test_a_relative_folder_counts_from_the_working_directory(project, monkeypatch):
    monkeypatch.chdir(project.folder / "data")
    assert read("dvc://.:planes.csv") == read("dvc://../../project@main:data/planes.csv")


@pytest.mark.parametrize("served", ["by URL", "in place"])
def test_a_served_repository_is_followed(project, tmp_path, served):
    """A bare repository by file://, as by any other of Git's transports, and as the folder that it is."""
    bare = tmp_path / "served.git"
    project.git("clone", "--quiet", "--bare", str(project.folder), str(bare))
    uri = f"dvc://file://{bare}@main:data/planes.csv" if served == "by URL" else f"dvc://{bare}@main:data/planes.csv"
    assert read(uri) == {"planes.csv": b"tail\nN1\n"}
    old = project.git("rev-parse", "HEAD")
    project.put("data/planes.csv", b"tail\nN2\n")
    project.track("data/planes.csv")
    project.git("push", "--quiet", str(bare), "main")
    assert read(uri) == {"planes.csv": b"tail\nN2\n"}
    for rev in (old, old[:9], "main~1"):
        assert read(uri.replace("@main", f"@{rev}")) == {"planes.csv": b"tail\nN1\n"}, rev
    assert read(uri.replace("@main", "")) == {"planes.csv": b"tail\nN2\n"}
    with pytest.raises(InputError, match=r"has no revision 'mian'; did you mean 'main'\?"):
        read(uri.replace("@main", "@mian"))


def test_a_commit_that_is_cloned_needs_its_server_no_more(project, tmp_path):
    bare = tmp_path / "served.git"
    project.git("clone", "--quiet", "--bare", str(project.folder), str(bare))
    rev = project.git("rev-parse", "HEAD")
    uris = [f"dvc://file://{bare}@{named}:data/planes.csv" for named in (rev, "main")]
    listed = [open_source(uri).listing(Memory({})) for uri in uris]
    bare.rename(tmp_path / "away.git")
    assert open_source(uris[0]).listing(Memory({})).equals(listed[0])
    (path,) = open_source(uris[1]).fetch(listed[1], lambda line: None)
    assert path.read_bytes() == b"tail\nN1\n"
    with pytest.raises(RatchetError, match="cannot be read"):
        open_source(uris[1]).listing(Memory({}))


@pytest.mark.parametrize(
    ("uri", "repository", "rev", "path"),
    [
        ("dvc://https://github.com/o/r.git@main:data/x", "https://github.com/o/r.git", "main", "data/x"),
        ("dvc://https://host:8443/o/r:data/x", "https://host:8443/o/r", "", "data/x"),
        ("dvc://ssh://git@host:22/o/r@feature/y:d", "ssh://git@host:22/o/r", "feature/y", "d"),
        ("dvc://git@github.com:o/r.git@v1.0:d/e", "git@github.com:o/r.git", "v1.0", "d/e"),
        ("dvc://git@github.com:o/r.git:d", "git@github.com:o/r.git", "", "d"),
        ("dvc://../repo@HEAD~2:d", "../repo", "HEAD~2", "d"),
        ("dvc:///a/b:d/", "/a/b", "", "d"),
        ("dvc://.:d/a=1@x/f:g.csv", ".", "", "d/a=1@x/f:g.csv"),
        ("dvc://file:///a/b.git@main:.", "file:///a/b.git", "main", "."),
    ],
)
def test_uris(uri, repository, rev, path):
    assert parse_tracked(uri) == (repository, rev, path)


@pytest.mark.parametrize("uri", ["dvc://", "dvc://repo", "dvc://repo@main", "dvc://repo@-x:d", "dvc://r@main:../x"])
def test_what_is_no_uri(uri):
    with pytest.raises(InputError, match="write dvc://"):
        open_source(uri).listing(Memory({}))


@pytest.mark.parametrize(
    "uri", ["dvc://https://token@host/r:d", "dvc://https://me:pw@host/r@main:d", "dvc://ssh://git:pw@host/r:d"]
)
def test_a_credential_is_refused_and_not_repeated(uri):
    with pytest.raises(InputError, match="holds") as refused:
        open_source(uri)
    assert "pw" not in str(refused.value)
    assert "token@" not in str(refused.value)


def test_a_missing_object_is_named_when_it_is_pinned(project):
    stored(project, FEBRUARY).unlink()
    with pytest.raises(RatchetError, match=r"late/2013-02\.csv \(md5:.*\) is not in the DVC remote; run `dvc push`"):
        read(project.uri("data/flights"))


def test_data_that_was_never_pushed(dvc_project, tmp_path):
    made = dvc_project(tmp_path / "project", str(tmp_path / "remote"))
    (tmp_path / "remote").mkdir()
    made.put("data/2013-01.csv", JANUARY)
    made.put("one.csv", FEBRUARY)
    made.track("data", "one.csv", push=False)
    with pytest.raises(RatchetError, match=r"is not in the DVC remote; run `dvc push`"):
        read(made.uri("data"))
    with pytest.raises(RatchetError, match=r"one\.csv \(md5:.*\) is not in the DVC remote; run `dvc push`"):
        read(made.uri("one.csv"))
    with pytest.raises(RatchetError, match=r"the list of files of data .* is not in the DVC remote; run `dvc push`"):
        read(f"dvc://file://{made.folder}:data")


def test_imported_data_is_where_it_came_from(dvc_project, project, tmp_path, monkeypatch):
    from dvc.repo import Repo

    other = dvc_project(tmp_path / "other", str(tmp_path / "another"))
    (tmp_path / "another").mkdir()
    monkeypatch.chdir(other.folder)
    with Repo(str(other.folder)) as repo:
        repo.imp(str(project.folder), "data/planes.csv", out="planes.csv")
        repo.push()
    other.commit("imported")
    with pytest.raises(RatchetError, match=r"planes\.csv \(md5:.*\) is not in the DVC remote; it is imported"):
        read(other.uri("planes.csv"))


@pytest.mark.parametrize("remote", ["folder", "s3"])
def test_other_bytes_in_the_remote_are_named(dvc_project, remote, tmp_path, bucket):
    where = str(tmp_path / "remote") if remote == "folder" else bucket
    made = dvc_project(tmp_path / "project", where)
    made.put("data/2013-01.csv", JANUARY)
    made.track("data")
    found = hashlib.md5(JANUARY).hexdigest()
    if remote == "folder":
        stored(made, JANUARY).chmod(0o644)
        stored(made, JANUARY).write_bytes(bytes(len(JANUARY)))
    else:
        boto3.client("s3").put_object(
            Bucket=bucket[5:], Key=f"files/md5/{found[:2]}/{found[2:]}", Body=bytes(len(JANUARY))
        )
    with pytest.raises(RatchetError, match=rf"2013-01\.csv \(md5:{found}\) has the md5 .*; if it is damaged"):
        read(made.uri("data"))


def test_a_list_of_files_that_is_damaged(project):
    """The one in the remote is not believed; that in the cache of the repository is only a shortcut."""
    value = (project.folder / "data/flights.dvc").read_text().split("md5: ")[1].split("\n")[0]
    cached = project.folder / ".dvc/cache/files/md5" / value[:2] / value[2:]
    cached.chmod(0o644)
    cached.write_text("[]")
    assert sorted(read(project.uri("data/flights", "main"))) == ["2013-01.csv", "late/2013-02.csv"]
    there = project.folder.parent / "remote/files/md5" / value[:2] / value[2:]
    there.chmod(0o644)
    there.write_text("[]")
    with pytest.raises(RatchetError, match=r"the list of files of data/flights .* has another md5; delete it there"):
        read(project.uri("data/flights", "main"))


def test_an_object_that_goes_after_it_was_pinned(dvc_project, tmp_path, bucket):
    made = dvc_project(tmp_path / "project", bucket)
    made.put("data/2013-01.csv", JANUARY)
    made.track("data")
    files = open_source(made.uri("data")).listing(Memory({}))
    found = hashlib.md5(JANUARY).hexdigest()
    boto3.client("s3").delete_object(Bucket=bucket[5:], Key=f"files/md5/{found[:2]}/{found[2:]}")
    with pytest.raises(RatchetError, match=r"2013-01\.csv .* is gone since it was pinned; .*`dvc push`"):
        open_source(made.uri("data")).fetch(files, lambda line: None)


def test_changed_data_is_refused_unless_a_revision_is_named(project):
    project.put("data/flights/2013-03.csv", b"day,late\n4,1\n")
    with pytest.raises(InputError, match=r"data/flights in .* is not as committed; .*@HEAD"):
        read(project.uri("data/flights"))
    assert sorted(read(project.uri("data/flights", "HEAD"))) == ["2013-01.csv", "late/2013-02.csv"]
    assert read(project.uri("data/planes.csv")), "another part of the repository is no matter of this one"


def test_a_description_that_is_not_committed(project):
    project.put("data/planes.csv", b"tail\nN2\n")
    project.track("data/planes.csv", commit="")
    with pytest.raises(InputError, match=r"data/planes\.csv\.dvc in .* is not as committed"):
        read(project.uri("data/planes.csv"))
    project.put("data/new.csv", b"n\n1\n")
    project.track("data/new.csv", commit="")
    with pytest.raises(InputError, match=r"data/new\.csv\.dvc in .* is not as committed"):
        read(project.uri("data/new.csv"))


def test_a_description_that_was_removed(project):
    (project.folder / "data/planes.csv.dvc").unlink()
    with pytest.raises(InputError, match=r"data/planes\.csv\.dvc in .* is not as committed"):
        read(project.uri("data/planes.csv"))


def test_data_that_is_not_checked_out_is_not_changed(project):
    (project.folder / "data/planes.csv").unlink()
    assert read(project.uri("data/planes.csv")) == {"planes.csv": b"tail\nN1\n"}


def test_a_path_that_is_not_tracked(project):
    with pytest.raises(InputError, match=r"tracks nothing at 'data/flight' .*; did you mean 'data/flights'\?"):
        read(project.uri("data/flight"))
    with pytest.raises(InputError, match=r"DVC tracks nothing at 'data/flights/2014\.csv'|holds no files"):
        read(project.uri("data/flights/2014.csv"))
    project.put("git.csv", b"x\n1\n")
    project.commit("a file of Git's")
    with pytest.raises(InputError, match=r"git\.csv is a file of Git's, not tracked by DVC"):
        read(project.uri("git.csv"))


def test_what_is_no_repository(tmp_path, project):
    with pytest.raises(InputError, match="is not a Git repository"):
        read(f"dvc://{tmp_path}:data")
    with pytest.raises(InputError, match="there is no folder"):
        read(f"dvc://{tmp_path}/nothing:data")
    with pytest.raises(RatchetError, match="cannot be read"):
        read(f"dvc://file://{tmp_path}/nothing:data")
    plain = tmp_path / "plain"
    plain.mkdir()
    subprocess.run(["git", "-C", plain, "init", "--quiet"], check=True)
    with pytest.raises(InputError, match="has no commit yet"):
        read(f"dvc://{plain}:data")
    subprocess.run(["git", "-C", plain, "commit", "--quiet", "--allow-empty", "-m", "x"], check=True)
    with pytest.raises(InputError, match="has no DVC at"):
        read(f"dvc://{plain}:data")


def test_no_remote(project):
    config = project.folder / ".dvc/config"
    config.write_text(config.read_text().replace("remote = store", ""))
    project.commit("no default")
    with pytest.raises(InputError, match="has no default remote; there is store: run `dvc remote default store`"):
        read(project.uri("data/planes.csv"))
    config.write_text("")
    project.commit("no remote")
    with pytest.raises(InputError, match="has no default remote; run `dvc remote add --default NAME URL`"):
        read(project.uri("data/planes.csv"))


def test_a_remote_of_its_own(project, tmp_path):
    with (project.folder / ".dvc/config").open("a") as config:
        config.write(f"['remote \"other\"']\n    url = {tmp_path / 'second'}\n")
    described = project.folder / "data/planes.csv.dvc"
    described.write_text(described.read_text() + "  remote: other\n")
    project.commit("kept elsewhere")
    content = stored(project, b"tail\nN1\n")
    there = tmp_path / "second" / content.relative_to(tmp_path / "remote")
    there.parent.mkdir(parents=True)
    content.rename(there)
    assert read(project.uri("data"))["planes.csv"] == b"tail\nN1\n"


def test_a_remote_relative_to_the_repository(project, tmp_path):
    config = project.folder / ".dvc/config"
    config.write_text(config.read_text().replace(str(tmp_path / "remote"), "../../remote"))
    project.commit("as `dvc remote add` writes it")
    assert read(project.uri("data/planes.csv")) == {"planes.csv": b"tail\nN1\n"}
    with pytest.raises(RatchetError, match="the folder /remote of the DVC remote 'store' is not there; mount it"):
        read(f"dvc://file://{project.folder}@main:data/planes.csv")


def test_files_of_the_listing_only(project):
    source = open_source(project.uri("data/flights", "main"))
    files = source.listing(Memory({}))
    stored(project, JANUARY).unlink()
    (path,) = source.fetch(files.filter(pl.col("path") == "late/2013-02.csv"), lambda line: None)
    assert path.read_bytes() == FEBRUARY


def test_git_that_is_not_installed(project, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RatchetError, match="git is not installed; install it"):
        read(project.uri("data"))


def test_dvc_is_not_imported_for_other_sources(tmp_path):
    (tmp_path / "x.csv").write_text("a\n1\n")
    script = f"""
        import sys
        from kfp_ratchet.components.shared.sources import Memory, open_source
        open_source({str(tmp_path / "x.csv")!r}).listing(Memory({{}}))
        assert not {{"dvc", "scmrepo", "fsspec"}} & set(sys.modules), "imported without need"
        sys.modules["dvc"] = None
        try:
            open_source("dvc://.:data").listing(Memory({{}}))
        except Exception as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pip install 'kfp-ratchet[dvc]'" in done.stdout


def test_the_pin_tells_the_commit(project, tmp_path):
    called = {"model_name": "m", "store": str(tmp_path / "store"), "columns": "{}", "window": "{}", "as_of": ""}
    pins = {"pins_path": str(tmp_path / "pins.json"), "pins_uri": str(tmp_path / "runs/run-1/pin/pins")}
    pin_run(source=project.uri("data/flights"), **called, **pins)
    records = [json.loads(path.read_text()) for path in (tmp_path / "store").glob("runs/*/steps/pin.json")]
    assert [record["details"]["origins"] for record in records] == [
        {"rows": f"commit {project.git('rev-parse', 'HEAD')}"}
    ]


@pytest.mark.slow
def test_a_killed_fetch_goes_on(dvc_project, bucket, tmp_path):
    """What was verified before the kill is not asked for again: it is gone from the remote by then."""
    made = dvc_project(tmp_path / "project", bucket)
    contents = {f"{number:03}.csv": b"n\n%d\n" % number for number in range(200)}
    for name, content in contents.items():
        made.put(f"data/{name}", content)
    made.track("data")
    uri = made.uri("data", "main")
    files = open_source(uri).listing(Memory({}))
    script = f"""
        from kfp_ratchet.components.shared.sources import Memory, open_source
        source = open_source({uri!r})
        source.fetch(source.listing(Memory({{}})), print)
    """

    def there() -> list[bytes]:
        found = Path(os.environ["RATCHET_DATA"]).glob("*/*")
        return [path.read_bytes() for path in found if path.suffix != ".part"]

    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)]) as process:
        while process.poll() is None and len(list(Path(os.environ["RATCHET_DATA"]).glob("*/*"))) < 60:
            time.sleep(0.005)
        process.kill()
    fetched = there()
    assert 0 < len(fetched) < 200
    client = boto3.client("s3")
    for content in fetched:
        found = hashlib.md5(content).hexdigest()
        client.delete_object(Bucket=bucket[5:], Key=f"files/md5/{found[:2]}/{found[2:]}")
    paths = open_source(uri).fetch(files, lambda line: None)
    assert {name: path.read_bytes() for name, path in zip(files["path"], paths, strict=True)} == contents

"""`ratchet data status`: file by file against what the champion was judged on."""

import json
import os
import subprocess
from pathlib import Path

import boto3
import polars as pl
import pytest

from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.manifest import Manifest, list_source
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.pipelines.data_status import compare

CONFIG = """\
name: mine
source: {rows: data, planes: planes.csv}
schema: {rows: schema.yaml}
columns: {target: y, problem: binary, id: id}
"""


@pytest.fixture
def data(project) -> Path:
    """Five files of the main table and a second table."""
    (project.folder / "ratchet.yaml").write_text(CONFIG)
    folder = project.folder / "data"
    folder.mkdir()
    for month in range(1, 6):
        (folder / f"2025-0{month}.csv").write_text(f"id,y\n{month},1\n")
    (project.folder / "planes.csv").write_text("tail,year\nN1,2001\n")
    return folder


@pytest.fixture
def store(project) -> Store:
    return Store(str(project.folder / ".ratchet/store"))


@pytest.fixture
def promoted(project, data, store) -> str:
    """Version 1 is champion on what is there; its revision."""
    here = Path.cwd()
    os.chdir(project.folder)
    manifest = list_source(json.dumps({"rows": "data", "planes": "planes.csv"}))
    os.chdir(here)
    manifest.keep(store)
    ledger = Ledger(store, "mine")
    draft = Draft(kind="deploy-started", version="1", digest="sha256:1", epoch=0, run="r", revision=manifest.revision)
    started = ledger.append(draft)
    ledger.append(draft.model_copy(update={"kind": "promote", "intent": started.number}))
    return manifest.revision


def test_nothing_promoted_yet_is_said_and_leaves_nothing_behind(project, data):
    done = project.ratchet("data", "status")
    assert (done.returncode, done.stdout[:20]) == (1, "nothing promoted yet"), done.stderr
    assert not (project.folder / ".ratchet").exists()
    told = json.loads(project.ratchet("data", "status", "--json").stdout)
    assert told["changed"] and told["since"] is None and told["tables"] is None and told["files"] == 6


def test_unchanged_exits_with_0_from_any_folder(project, promoted):
    """A file that was touched, with the same bytes, is the same file."""
    (project.folder / "data/2025-01.csv").touch()
    command = [project.command, "data", "status", "-c", project.folder / "ratchet.yaml"]
    done = subprocess.run(command, cwd=project.folder.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("unchanged since v1 became champion on 20")
    told = json.loads(project.ratchet("data", "status", "--json").stdout)
    assert not told["changed"] and told["since"]["revision"] == told["revision"] == promoted
    assert told["tables"] == {"rows": {}, "planes": {}}


def test_added_removed_and_changed_files_are_counted_and_named(project, data, promoted):
    (data / "2025-01.csv").unlink()
    (data / "2025-02.csv").write_text("id,y\n2,0\n")
    for month in range(6, 10):
        (data / f"2025-0{month}.csv").write_text(f"id,y\n{month},1\n")
    done = project.ratchet("data", "status")
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("changed since v1 became champion")
    assert lines[1:] == [
        "rows: 4 files added, 36 bytes: 2025-06.csv, 2025-07.csv, 2025-08.csv and 1 more",
        "rows: 1 file removed, 9 bytes: 2025-01.csv",
        "rows: 1 file changed, 9 bytes: 2025-02.csv",
    ]
    assert "2025-09.csv" in project.ratchet("data", "status", "--files").stdout
    told = json.loads(project.ratchet("data", "status", "--json").stdout)
    assert told["tables"]["rows"]["added"] == {
        "files": 4,
        "bytes": 36,
        "names": ["2025-06.csv", "2025-07.csv", "2025-08.csv"],
    }


def test_without_a_kept_manifest_it_is_said_that_only_the_revision_differs(project, data, store, promoted):
    store.delete(Manifest.key(promoted))
    assert project.ratchet("data", "status").returncode == 0
    (data / "2025-01.csv").unlink()
    done = project.ratchet("data", "status")
    assert done.returncode == 1
    assert "no manifest is kept for that revision" in done.stdout
    assert json.loads(project.ratchet("data", "status", "--json").stdout)["tables"] is None


def test_a_source_that_is_gone_is_named(project, data, promoted):
    (project.folder / "planes.csv").unlink()
    done = project.ratchet("data", "status")
    assert done.returncode == 2 and "planes.csv" in done.stderr


def test_a_table_that_is_new_or_gone_has_all_its_files_in_the_list():
    files = pl.DataFrame({"path": ["a", "b"], "size": [1, 2], "version": ["etag:1", "etag:2"]})
    changes = compare(Manifest({"old": files}), Manifest({"new": files}))
    assert {name: {kind: one.height for kind, one in table.kinds.items()} for name, table in changes.items()} == {
        "new": {"added": 2},
        "old": {"removed": 2},
    }


def test_an_object_that_was_overwritten_with_the_same_bytes_count_is_changed(project, store, bucket):
    """Size and name are the same: only the ETag tells."""
    (project.folder / "ratchet.yaml").write_text(
        f"name: mine\nsource: {bucket}/rows\nschema: schema.yaml\ncolumns: {{target: y, problem: binary, id: id}}\n"
    )
    objects = boto3.client("s3")
    name = bucket.removeprefix("s3://")
    for key in ("rows/a b.csv", "rows/ü.csv"):
        objects.put_object(Bucket=name, Key=key, Body=b"id,y\n1,1\n")
    manifest = list_source(f"{bucket}/rows")
    manifest.keep(store)
    Ledger(store, "mine").append(
        Draft(kind="promote", version="1", digest="sha256:1", epoch=0, run="r", revision=manifest.revision)
    )
    assert project.ratchet("data", "status").returncode == 0
    objects.put_object(Bucket=name, Key="rows/ü.csv", Body=b"id,y\n1,0\n")
    done = project.ratchet("data", "status")
    assert done.stdout.splitlines()[1:] == ["rows: 1 file changed, 9 bytes: ü.csv"], done.stdout + done.stderr

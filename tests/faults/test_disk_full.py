"""A disk that is full or may not be written: named, nothing half done, and the same command completes once there is space.

On file systems of a few MB, which only root can mount.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from kfp_ratchet.components.ingest.tables import ingest_source
from kfp_ratchet.components.shared import registry
from kfp_ratchet.components.shared.dataset import read_main, write_table
from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.errors import RatchetError, disk_trouble
from kfp_ratchet.components.shared.journal import journal, read_run
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.manifest import list_source
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.components.train.contexts import TrainContext


class Disk:
    """A file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filling = folder / "filling"

    def fill(self, leave: int = 0) -> None:
        with self._filling.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 512)
            except OSError:
                file.truncate(max(0, file.tell() - leave))

    def free(self) -> None:
        self._filling.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        # A second mount on top: the first one cannot change while a server has its log open.
        subprocess.run(["mount", "--bind", self.folder, self.folder], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", self.folder], check=True)
            yield
        finally:
            subprocess.run(["umount", "-l", self.folder], check=True)


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Disk]:
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        # Lazily: a process that still ends must not keep it.
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def disk(tmp_path):
    with mounted(tmp_path / "disk", "1m") as disk:
        yield disk


def draft(version: str) -> Draft:
    return Draft(kind="reject", version=version, digest=f"sha256:{version}", epoch=0, run="r", reason="x" * 5000)


def test_a_ledger_on_a_full_disk_has_no_half_entry(disk):
    ledger = Ledger(Store(str(disk.folder / "store")), "rows")
    ledger.append(draft("1"))
    # Too little for an entry, enough for its beginning.
    disk.fill(leave=4096)
    with pytest.raises(RatchetError, match=r"ledger/rows/000002\.json .*No space left") as caught:
        ledger.append(draft("2"))
    assert "free space on that disk" in caught.value.remedy and caught.value.exit_code == 3
    assert [entry.version for entry in ledger.entries()] == ["1"] and ledger.verify() == []
    disk.free()
    ledger.append(draft("2"))
    assert [entry.version for entry in ledger.entries()] == ["1", "2"] and ledger.verify() == []


def test_a_ledger_that_may_not_be_written_can_still_be_read(disk):
    ledger = Ledger(Store(str(disk.folder / "store")), "rows")
    ledger.append(draft("1"))
    with disk.read_only():
        with pytest.raises(RatchetError, match=r"000002\.json .*Read-only file system") as caught:
            ledger.append(draft("2"))
        assert "the right to write" in caught.value.remedy
        assert [entry.version for entry in Ledger(Store(str(disk.folder / "store")), "rows").entries()] == ["1"]


def test_a_checkpoint_that_has_no_room_leaves_the_one_before(disk):
    context = TrainContext(0, "cpu", print, Store(str(disk.folder / "store")), "key", every_seconds=0)
    context.save_checkpoint(lambda: b"first" * 1000)
    disk.fill()
    with pytest.raises(RatchetError, match=r"checkpoints/key/fit .*No space left") as caught:
        context.save_checkpoint(lambda: b"second" * 100_000)
    assert "free space on that disk" in caught.value.remedy
    assert context.load_checkpoint() == b"first" * 1000
    disk.free()
    context.save_checkpoint(lambda: b"second" * 1000)
    assert context.load_checkpoint() == b"second" * 1000


def test_a_step_whose_output_has_no_room_says_so_in_the_journal(disk, tmp_path):
    store = Store(str(tmp_path / "store"))
    disk.fill(leave=50_000)
    with (
        pytest.raises(Exception, match=r"(?i)no space left|os error 28"),
        journal(store.uri, "/root/run-1/ingest/dataset"),
    ):
        write_table(pl.DataFrame({"x": pl.Series(range(200_000)).hash()}), disk.folder / "data", "rows")
    failure = read_run(store, "run-1")["ingest"].error
    assert "free space on that disk" in failure.remedy and "No space left" in failure.message


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_that_has_no_room_is_not_blamed_on_its_source_and_nothing_of_it_stays(disk, tmp_path, suffix):
    """Polars says what a damaged file says as well: an error while a query ran."""
    rows, source = pl.DataFrame({"x": pl.Series(range(200_000)).hash()}), tmp_path / f"a.{suffix}"
    rows.write_csv(source) if suffix == "csv" else rows.write_parquet(source)
    folder, revision = disk.folder / "dataset", list_source(str(source)).revision
    with pytest.raises(RatchetError, match=r"table 'rows' cannot be written to .*(?i:no space left)") as caught:
        ingest_source(str(source), revision, "{}", "{}", "", "", str(folder), str(folder))
    assert "free space on that disk" in caught.value.remedy and caught.value.exit_code == 3
    assert not [path for path in folder.rglob("*") if path.is_file()]
    subprocess.run(["mount", "-o", "remount,size=9m", disk.folder], check=True)
    ingest_source(str(source), revision, "{}", "{}", "", "", str(folder), str(folder))
    assert read_main(folder).height == rows.height


@pytest.mark.slow
def test_a_registry_on_a_full_disk_is_named_and_completed_later(disk, tmp_path):
    uri = f"sqlite:///{disk.folder}/mlflow.db"
    folder = tmp_path / "model"
    (folder / "artifacts" / "workload").mkdir(parents=True)
    (folder / "artifacts" / "workload" / "weights.json").write_text("{}")
    disk.fill(leave=20_000)
    with pytest.raises(RatchetError, match=r"MLflow at sqlite.*(full|No space|disk I/O)") as caught:
        registry.register(uri, "rows", folder, "sha256:a", {}, {}, {}, "run-1")
    assert "free space on that disk" in caught.value.remedy
    disk.free()
    subprocess.run(["mount", "-o", "remount,size=20m", disk.folder], check=True)
    for _ in range(2):
        assert registry.register(uri, "rows", folder, "sha256:a", {}, {}, {}, "run-1") == "1"


def test_a_database_that_cannot_be_made_is_named_at_once(disk):
    with (
        disk.read_only(),
        pytest.raises(RatchetError, match=r"mlflow\.db cannot be used: permission denied"),
        registry.connected(f"sqlite:///{disk.folder}/mlflow.db"),
    ):
        pytest.fail("it was opened")


@pytest.mark.parametrize("said", ["database or disk is full", "I/O error: No space left on device (os error 28)"])
def test_a_library_that_says_it_in_words_is_understood(said):
    assert "free space" in disk_trouble(RuntimeError(said))
    assert disk_trouble(ValueError("no such column")) == ""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_project_survives_a_disk_that_fills_up_or_becomes_read_only(tmp_path, small_project):
    with mounted(tmp_path / "disk", "40m") as disk:
        project = small_project(disk.folder / "small")
        try:
            assert project.run()["outcome"] == "promoted"
            live, history = project.serving(), project.ledger()
            again = ("run", "--json", "-p", 'parameters={"shrink": 2.0}')
            reached = set()
            for leave in (0, 60_000, 150_000):
                disk.fill(leave)
                done = project.ratchet(*again)
                assert done.returncode in (2, 3), done.stdout + done.stderr
                assert "space" in done.stdout + done.stderr, done.stdout + done.stderr
                reason = json.loads(done.stdout).get("reason", "before the first step")
                reached.add(reason.partition(":")[0].partition(" ")[0])
                assert project.serving() == live and live["answers"] and project.ledger() == history
                disk.free()
            with disk.read_only():
                done = project.ratchet(*again)
                assert done.returncode in (2, 3) and "write" in done.stdout + done.stderr, done.stdout + done.stderr
                assert project.ratchet("status").returncode == 0
                assert project.serving() == live and project.ledger() == history
            assert len(reached) > 1, reached
            outcome = project.run(*again[2:])
            assert outcome["outcome"] in ("rejected", "inconclusive"), outcome["reason"]
            assert project.ledger()[: len(history)] == history and project.serving() == live
        finally:
            project.ratchet("stop")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_full_disk_of_temporary_files_is_named(promoted, tmp_path):
    live = promoted.serving()
    with mounted(tmp_path / "disk", "1m") as disk:
        # With no room at all Python takes another folder, and the run just works.
        disk.fill(leave=8192)
        done = promoted.ratchet("run", "--json", TMPDIR=str(disk.folder))
        assert done.returncode == 3, done.stdout
        assert f"the disk of {disk.folder} is full: free space" in done.stdout, done.stdout
    assert promoted.serving() == live
    assert promoted.run()["exit_code"] == 0

"""Damaged state is refused by name with a remedy, and is never written over."""

import json
import sqlite3
from pathlib import Path

import polars as pl
import pytest

from kfp_ratchet.components.deploy.local import LocalTarget
from kfp_ratchet.components.deploy.serving import Serving
from kfp_ratchet.components.evaluate.scoring import _check_unchanged
from kfp_ratchet.components.notify.run_view import RunView
from kfp_ratchet.components.shared import registry
from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.dataset import Dataset, read_main, write_table
from kfp_ratchet.components.shared.entry import Champion, Draft, Entry
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.journal import Origin, journal, read_record, read_run
from kfp_ratchet.components.shared.lease import lease
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.model import Card, model_digest
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.components.tune.study import open_study

GARBAGE = {
    "garbage": b"\x00\xffnot json",
    "truncated": b'{"run": "r',
    "another": b'{"a": 1}',
    "list": b"[]",
    "empty": b"",
}


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=GARBAGE, ids=str)
def garbage(request):
    return GARBAGE[request.param]


def test_a_journal_record_is_named(store, tmp_path, garbage):
    with journal(store.uri, "/root/run-1/train/model") as step:
        step.found("done")
    (path,) = (tmp_path / "store").rglob("train.json")
    path.write_bytes(garbage)
    for read in (lambda: read_run(store, "run-1"), lambda: read_record(store, Origin(run="run-1", step="train"))):
        with pytest.raises(
            RatchetError, match=r"journal record runs/run-1/steps/train\.json in .* is damaged: "
        ) as caught:
            read()
        assert "delete it" in caught.value.remedy
    assert path.read_bytes() == garbage


def test_a_journal_record_of_another_step_is_not_taken_for_this_one(store, tmp_path):
    with journal(store.uri, "/root/run-1/train/model"):
        pass
    (path,) = (tmp_path / "store").rglob("train.json")
    path.with_name("gate.json").write_bytes(path.read_bytes())
    with pytest.raises(RatchetError, match=r"gate.json .* is damaged: it is that of train of run-1"):
        read_run(store, "run-1")


@pytest.mark.parametrize("change", [("reject", "promote"), ("0.25", "0.75"), ("not better", "better")])
def test_an_edit_of_the_newest_ledger_entry_is_noticed_although_nothing_comes_after_it(store, tmp_path, change):
    ledger = Ledger(store, "rows")
    draft = Draft(kind="reject", version="1", digest="sha256:a", epoch=0, run="r", reason="not better by 0.25")
    ledger.append(draft)
    (path,) = (tmp_path / "store").rglob("000001.json")
    path.write_text(path.read_text().replace(*change))
    edited = files(tmp_path)
    promotion = draft.model_copy(update={"kind": "promote"})
    for use in (Ledger.champion, Ledger.entries, lambda other: other.append(promotion)):
        with pytest.raises(RatchetError, match=r"000001\.json .*\(it was changed after it was written\)") as caught:
            use(Ledger(store, "rows"))
        assert "backup" in caught.value.remedy
    assert files(tmp_path) == edited and ledger.verify()


def test_an_entry_of_a_version_without_checksums_is_read(store, tmp_path):
    ledger = Ledger(store, "rows")
    ledger.append(Draft(kind="reject", version="1", digest="sha256:a", epoch=0, run="r"))
    (path,) = (tmp_path / "store").rglob("000001.json")
    said = json.loads(path.read_text())
    del said["checksum"]
    path.write_text(json.dumps(said))
    assert Ledger(store, "rows").verify(), "the checksum was taken off an entry that has one"
    del said["standing"]
    path.write_text(json.dumps(said))
    assert [entry.version for entry in ledger.entries()] == ["1"]


def test_a_lease_is_named(store, tmp_path, garbage):
    with lease(store, "studies/a"):
        pass
    (path,) = (tmp_path / "store" / "leases").rglob("*.json")
    path.write_bytes(garbage)
    with (
        pytest.raises(RatchetError, match=r"leases/studies/a/000001\.json .* is not a lease"),
        lease(store, "studies/a"),
    ):
        pytest.fail("a damaged lease was taken for a free one")
    assert path.read_bytes() == garbage


@pytest.mark.parametrize("where", ["the first", "the last", "a hole"])
def test_a_study_is_named_and_not_filled_up(store, tmp_path, garbage, where):
    study = open_study("a", store)
    study.tell(study.ask(), 1.0)
    entries = sorted((tmp_path / "store" / "studies" / "a").iterdir())
    if where == "a hole":
        entries[1].unlink()
    else:
        entries[0 if where == "the first" else -1].write_bytes(garbage)
    before = files(tmp_path)
    with pytest.raises(RatchetError, match=r"stud(y|ies/a)") as caught:
        open_study("a", store)
    assert "delete the folder studies/a" in caught.value.remedy
    assert files(tmp_path) == before


def dataset(folder):
    table = write_table(pl.DataFrame({"x": list(range(1000))}), folder, "rows")
    Dataset(revision="sha256:r", source="s", tables={"rows": table}).write(folder)
    return folder / "rows" / "part-00000.parquet"


def test_a_description_of_a_dataset_is_named(tmp_path, garbage):
    dataset(tmp_path)
    (tmp_path / "dataset.json").write_bytes(garbage)
    with pytest.raises(RatchetError, match="is not a Dataset: "):
        read_main(tmp_path)


@pytest.mark.parametrize("how", ["truncated", "replaced", "deleted", "joined"])
def test_a_table_that_was_changed_in_the_cache_is_not_trained_on(tmp_path, how):
    path = dataset(tmp_path)
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif how == "deleted":
        path.unlink()
    else:
        target = path if how == "replaced" else path.with_name("part-00001.parquet")
        pl.DataFrame({"x": list(range(1, 1001))}).write_parquet(target)
    with pytest.raises(RatchetError, match=r"the table 'rows' in .* its files were changed") as caught:
        read_main(tmp_path)
    assert "start the run again" in caught.value.remedy


def test_a_card_is_named(tmp_path, garbage):
    (tmp_path / "ratchet.json").write_bytes(garbage)
    with pytest.raises(RatchetError, match="is not a model: "):
        Card.read(tmp_path)


def test_what_is_live_is_named(tmp_path, garbage):
    target = LocalTarget(Serving(folder=str(tmp_path)), "rows")
    target.folder.mkdir()
    (target.folder / "live.json").write_bytes(garbage)
    with pytest.raises(RatchetError, match=r"live\.json is unreadable: ") as caught:
        target.live()
    assert "ratchet status --start" in caught.value.remedy
    assert (target.folder / "live.json").read_bytes() == garbage


def test_a_lock_with_nonsense_in_it_names_no_holder(tmp_path, garbage):
    target = LocalTarget(Serving(folder=str(tmp_path)), "rows")
    target.folder.mkdir()
    (target.folder / "lock").write_bytes(garbage)
    entry = Draft(kind="deploy-started", version="1", digest="sha256:m", epoch=0, run="r")
    assert not target.last_held(Entry(**entry.model_dump(), number=1, model="rows", time="2026-01-01", previous=""))


def database(path: Path) -> bytes:
    with sqlite3.connect(path) as connection:
        connection.executescript("CREATE TABLE a (b); " + "INSERT INTO a VALUES (randomblob(9000)); " * 9)
    connection.close()
    return path.read_bytes()


@pytest.mark.parametrize("how", ["garbage", "truncated", "empty", "a folder"])
def test_mlflows_database_is_named_at_once_and_left_as_it_is(tmp_path, how):
    path = tmp_path / "mlflow.db"
    whole = database(path)
    if how == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(
            {"garbage": b"not a database " * 400, "truncated": whole[: len(whole) // 2], "empty": b""}[how]
        )
    before = files(tmp_path)
    with (
        pytest.raises(RatchetError, match=r"MLflow's database .*mlflow\.db cannot be used: ") as caught,
        registry.connected(f"sqlite:///{path}"),
    ):
        pytest.fail("it was opened")
    assert "restore it from a backup" in caught.value.remedy
    assert files(tmp_path) == before


@pytest.mark.slow
def test_a_registry_that_is_not_the_ledgers_gets_no_version(tmp_path):
    """A new mlflow.db would call its first model v1 again, which the ledger has given away."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    champion = Champion(version="1", digest="sha256:a", epoch=2)
    with pytest.raises(RatchetError, match=r"there is no version 1 of rows in MLflow .* though the ledger knows it"):
        registry.check_champion(uri, "rows", champion)
    with registry.connected(uri) as client:
        client.create_registered_model("rows")
        client.create_model_version("rows", str(tmp_path), tags={registry.DIGEST_TAG: "sha256:b"})
    with pytest.raises(RatchetError, match="is sha256:b, but the ledger's champion of that version is sha256:a"):
        registry.check_champion(uri, "rows", champion)


def test_a_candidate_that_was_changed_in_the_cache_is_not_scored(store, tmp_path):
    folder = tmp_path / "model"
    (folder / "artifacts" / "workload").mkdir(parents=True)
    (folder / "artifacts" / "workload" / "weights.json").write_text("{}")
    Card(
        workload="tabular",
        parameters={},
        columns=Columns(target="late"),
        features={},
        revision="r",
        window={},
        split_rule="",
        rows=1,
        seed=0,
        device="cpu",
    ).write(folder)
    with journal(store.uri, "/root/run-1/train/model") as step:
        step.found("fitted", digest=model_digest(folder))
    _check_unchanged(str(folder), "/root/run-1/train/model", store.uri)
    (folder / "artifacts" / "workload" / "weights.json").write_text('{"better": true}')
    with pytest.raises(RatchetError, match="it was changed since") as caught:
        _check_unchanged(str(folder), "/root/run-1/train/model", store.uri)
    assert "delete that folder" in caught.value.remedy


def test_a_damaged_record_of_an_earlier_run_is_said_in_its_place_and_costs_no_report(store, tmp_path):
    with journal(store.uri, "/root/run-1/train/model") as step:
        step.found("fitted")
    with journal(store.uri, "/root/run-2/register/registration", inputs={"model": "/root/run-1/train/model"}) as step:
        step.found("registered")
    (path,) = (tmp_path / "store").rglob("train.json")
    path.write_bytes(b"{")
    (train,) = (view for view in RunView.read(store, "run-2").steps if view.step == "train")
    assert train.state == "cached" and "runs/run-1/steps/train.json" in train.record.line
    assert "is damaged" in train.record.line

"""Listing a source: what is a new revision, and what is not."""

import os
import shutil

import pytest

from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.manifest import Manifest, list_source
from kfp_ratchet.components.shared.sources import files as local_files
from kfp_ratchet.components.shared.sources import open_source, parse_source
from kfp_ratchet.components.shared.sources.source import FileEntry, listing
from kfp_ratchet.components.shared.store import Store


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.csv").write_text("x\n1\n")
    (data / "b.csv").write_text("x\n2\n")
    return data


def test_touching_or_moving_files_makes_no_new_revision(folder, tmp_path):
    before = list_source(str(folder)).revision
    os.utime(folder / "a.csv", ns=(1, 1))
    assert list_source(str(folder)).revision == before
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert list_source(f"file://{tmp_path / 'elsewhere'}").revision == before


@pytest.mark.parametrize("change", ["edit", "rename", "add", "remove"])
def test_a_change_of_the_files_is_a_new_revision(folder, change):
    before = list_source(str(folder)).revision
    {
        "edit": lambda: (folder / "a.csv").write_text("x\n9\n"),
        "rename": lambda: (folder / "a.csv").rename(folder / "z.csv"),
        "add": lambda: (folder / "c.csv").write_text("x\n3\n"),
        "remove": lambda: (folder / "b.csv").unlink(),
    }[change]()
    assert list_source(str(folder)).revision != before


def test_an_edit_of_the_same_size_and_restored_time_is_seen_through_the_memory(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(local_files, "_SETTLED_NS", -(10**12))
    store = Store(str(tmp_path / "store"))
    before = list_source(str(folder), store).revision
    stat = (folder / "a.csv").stat()
    (folder / "a.csv").write_text("x\n7\n")
    os.utime(folder / "a.csv", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert list_source(str(folder), store).revision != before


def test_an_unchanged_file_is_not_read_again(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(local_files, "_SETTLED_NS", -(10**12))
    store = Store(str(tmp_path / "store"))
    first = list_source(str(folder), store).tables["rows"]["version"][0]
    (key,) = store.keys("manifests/seen")
    store.put(key, store.get(key).replace(first.encode(), b"sha256:remembered"))
    assert list_source(str(folder), store).tables["rows"]["version"][0] == "sha256:remembered"


def test_a_file_written_a_moment_ago_is_not_remembered(folder, tmp_path):
    store = Store(str(tmp_path / "store"))
    list_source(str(folder), store)
    assert list(store.keys("manifests/seen")) == []


def test_a_damaged_memory_costs_time_and_nothing_else(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(local_files, "_SETTLED_NS", -(10**12))
    store = Store(str(tmp_path / "store"))
    before = list_source(str(folder), store).revision
    (key,) = store.keys("manifests/seen")
    store.put(key, b"{broken")
    assert list_source(str(folder), store).revision == before


def test_markers_of_writers_are_no_data(folder):
    before = list_source(str(folder)).revision
    (folder / "_SUCCESS").write_text("")
    (folder / ".a.csv.crc").write_text("x")
    (folder / "_delta_log").mkdir()
    (folder / "_delta_log" / "0.json").write_text("{}")
    assert list_source(str(folder)).revision == before


def test_a_linked_folder_is_not_passed_over(folder, tmp_path):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "c.csv").write_text("x\n3\n")
    (folder / "more").symlink_to(tmp_path / "linked")
    assert list_source(str(folder)).tables["rows"]["path"].to_list() == ["a.csv", "b.csv", "more/c.csv"]


def test_tables_keep_their_order_and_it_matters(folder):
    one = f'{{"flights": "{folder / "a.csv"}", "airports": "{folder / "b.csv"}"}}'
    other = f'{{"airports": "{folder / "b.csv"}", "flights": "{folder / "a.csv"}"}}'
    assert list(parse_source(one)) == ["flights", "airports"]
    assert list_source(one).revision != list_source(other).revision


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("  ", "source is empty"),
        ("{}", "names no table"),
        ('{"a": "x", "a": "y"}', "twice"),
        ('{"../a": "x"}', "cannot be a table's name"),
        ('{"a": 3}', "not a text"),
        ('{"a": ', "not JSON"),
    ],
)
def test_a_source_that_cannot_be_one_is_refused(text, told):
    with pytest.raises(InputError, match=told):
        parse_source(text)


def test_an_unknown_scheme_is_refused_and_a_secret_never_repeated():
    with pytest.raises(InputError, match="ftp:// is not supported"):
        open_source("ftp://host/data")
    with pytest.raises(InputError) as caught:
        open_source("https://me:hunter2@host/data")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(InputError) as caught:
        open_source("https://host/data?token=hunter2")
    assert "hunter2" not in str(caught.value)


def test_nothing_there_and_nothing_in_there_are_told_apart(tmp_path):
    with pytest.raises(RatchetError, match="no file or folder"):
        list_source(str(tmp_path / "missing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no files"):
        list_source(str(tmp_path / "empty"))


def fetched(source, files):
    return source.fetch(files, lambda line: None)


def test_a_changed_or_lost_file_is_named(folder):
    source = open_source(str(folder))
    files = list_source(str(folder)).tables["rows"]
    assert fetched(source, files) == [folder / "a.csv", folder / "b.csv"]
    (folder / "a.csv").write_text("x\n9\n")
    with pytest.raises(RatchetError, match=r"a\.csv has changed"):
        fetched(source, files)
    (folder / "a.csv").unlink()
    with pytest.raises(RatchetError, match=r"a\.csv cannot be read"):
        fetched(source, files)


def test_a_manifest_that_was_changed_in_the_store_is_refused(tmp_path):
    store = Store(str(tmp_path))
    first, second = (Manifest({"rows": listing([FileEntry("a.csv", size, "sha256:1")])}) for size in (1, 2))
    first.keep(store)
    second.keep(store)
    assert Manifest.load(store, first.revision).tables["rows"].equals(first.tables["rows"])
    store.put(Manifest.key(first.revision), store.get(Manifest.key(second.revision)))
    with pytest.raises(RatchetError, match="not the manifest"):
        Manifest.load(store, first.revision)
    store.put(Manifest.key(first.revision), b"PAR1 and nothing")
    with pytest.raises(RatchetError, match="not the manifest"):
        Manifest.load(store, first.revision)
    with pytest.raises(RatchetError, match="not a revision"):
        Manifest.load(store, "../../etc/passwd")


def test_names_that_run_into_each_other_are_told_apart():
    def revision(*files, table="rows"):
        return Manifest({table: listing(FileEntry(*file) for file in files)}).revision

    told = [
        revision(("a,3:b", 1, "etag:1")),
        revision(("a", 1, "b,etag:1")),
        revision(("a\n", 1, "etag:1")),
        revision(("a", 1, "\netag:1")),
        revision(("a", 1, "etag:1"), ("b", 1, "etag:1")),
        revision(("a", 11, "etag:")),
        revision(("a", 1, "etag:1"), table="rows2"),
    ]
    assert len(set(told)) == len(told)

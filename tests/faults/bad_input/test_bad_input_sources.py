"""Files that are not what they seem: links, pipes, files that vanish or change, files that may not be read."""

import os
import subprocess
import sys

import pytest

from kfp_ratchet.components.shared.errors import InputError, RatchetError


def fails(act, error):
    with pytest.raises(RatchetError) as caught:
        act()
    assert type(caught.value) is error, repr(caught.value)
    assert caught.value.remedy
    return str(caught.value)


@pytest.fixture
def good(project, flights):
    project.write(flights())
    return project


def test_a_link_to_a_folder_above_is_named_instead_of_followed_for_ever(good):
    (good.data / "a").mkdir()
    (good.data / "a" / "again").symlink_to(good.data)
    assert "a/again is a link to a folder above it; remove it" in fails(good.pin, InputError)


def test_two_links_to_one_folder_are_no_loop(good, tmp_path, flights):
    (tmp_path / "elsewhere").mkdir()
    flights().write_parquet(tmp_path / "elsewhere" / "more.parquet")
    for name in ("b", "c"):
        (good.data / name).symlink_to(tmp_path / "elsewhere")
    good.pin()
    assert good.records["pin"].details["files"] == {"rows": 3}


@pytest.mark.parametrize("target", ["a.parquet", "/nonexistent"])
def test_a_link_that_leads_nowhere_is_named(good, target):
    (good.data / "a.parquet").symlink_to(target)
    assert "a.parquet is a link that leads nowhere; remove it" in fails(good.pin, InputError)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("as_source", [True, False])
def test_a_named_pipe_is_refused_instead_of_waited_for(good, as_source):
    os.mkfifo(good.data / "b.parquet")
    good.source = str(good.data / "b.parquet") if as_source else ""
    assert "b.parquet is neither a file nor a folder" in fails(good.pin, InputError)


def test_a_device_is_refused_instead_of_read_for_ever(good):
    good.source = "/dev/zero"
    assert "/dev/zero is neither a file nor a folder" in fails(good.pin, InputError)


def test_a_folder_named_like_a_file_is_a_folder(good):
    (good.data / "x.parquet").mkdir()
    good.encoded()


@pytest.mark.parametrize("source", ["nowhere", "x" * 5000, "a\0b", "rows.parquet/x"])
def test_a_source_that_is_not_there_is_named(good, source):
    good.source = source
    told = fails(good.pin, InputError)
    assert "there is no file or folder" in told and len(told) < 500


def test_a_name_that_is_not_utf_8_is_told(good):
    (good.data / os.fsdecode(b"\xff.parquet")).touch()
    assert "\\xff.parquet' is not UTF-8; rename it" in fails(good.pin, InputError)


def test_a_file_that_vanishes_between_pin_and_ingest_is_named(good):
    told = fails(lambda: good.accepted(before_ingest=(good.data / "rows.parquet").unlink), RatchetError)
    assert "rows.parquet cannot be read although it was listed: No such file or directory; restore it" in told


def test_a_file_that_changes_between_pin_and_ingest_is_named(good, flights):
    told = fails(lambda: good.accepted(before_ingest=lambda: good.write(flights(399))), RatchetError)
    assert "rows.parquet has changed since it was pinned; start a new run" in told


def test_a_file_that_becomes_a_folder_is_named(good):
    def swap():
        (good.data / "rows.parquet").unlink()
        (good.data / "rows.parquet").mkdir()

    assert "rows.parquet" in fails(lambda: good.accepted(before_ingest=swap), RatchetError)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become someone with fewer rights")
@pytest.mark.parametrize("closed", ["data", "data/rows.parquet"])
def test_what_may_not_be_read_is_named(good, tmp_path, closed):
    """In a process of its own without rights: root may read everything."""
    (tmp_path / closed).chmod(0)
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o011)
    code = (
        "import os, sys\n"
        "from kfp_ratchet.components.shared.manifest import list_source\n"
        "from kfp_ratchet.components.shared.errors import RatchetError\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: list_source(sys.argv[1])\n"
        "except RatchetError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(good.data)], capture_output=True, text=True)
    (tmp_path / closed).chmod(0o700)
    assert f"{closed} cannot be " in done.stdout and "give yourself the right to read it" in done.stdout, done.stderr

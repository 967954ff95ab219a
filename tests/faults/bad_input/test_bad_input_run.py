"""Bad input through the real command: its exit code, what it prints, and a champion that goes on serving."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

RATCHET = Path(sys.executable).parent / "ratchet"
pytestmark = pytest.mark.slow


def ratchet(folder, *arguments):
    return subprocess.run([RATCHET, *arguments], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def live(tmp_path, flights):
    """A project with a champion, whose data is two files."""
    folder = tmp_path / "my [täble]"
    (folder / "data").mkdir(parents=True)
    rows = flights(800)
    rows.head(400).write_parquet(folder / "data" / "a.parquet")
    rows.tail(400).write_parquet(folder / "data" / "b.parquet")
    done = ratchet(folder, "init", "data", "--target", "late", "--time", "when", "--id", "flight", "--folder", ".")
    assert done.returncode == 0, done.stderr
    done = ratchet(folder, "run", "--json", "-p", "trials=0")
    assert json.loads(done.stdout)["outcome"] == "promoted", done.stdout
    yield folder
    ratchet(folder, "stop")


def test_bad_input_ends_in_its_exit_code_and_touches_no_champion(live, flights):
    file, config = live / "data" / "b.parquet", live / "ratchet.yaml"
    good = {file: file.read_bytes(), config: config.read_bytes()}
    champion = json.loads(ratchet(live, "model", "live", "--json").stdout)
    bad = [
        (5, file, lambda: flights(800).tail(400).drop("seats").write_parquet(file), "b.parquet lacks column 'seats'"),
        (5, file, lambda: flights(800).tail(400).with_columns(seats=pl.col("seats") * 60).write_parquet(file), "'seats'"),
        (5, file, lambda: flights(800).head(400).write_parquet(file), "column 'flight' of 'rows': unique fails"),
        (2, file, lambda: file.write_bytes(good[file][:-100]), "b.parquet cannot be read"),
        (2, file, lambda: file.write_bytes(b""), "b.parquet is empty"),
        (2, config, lambda: config.write_bytes(b"name: fl\xfcge"), "ratchet.yaml:1: the text is not UTF-8"),
        (2, config, lambda: config.write_bytes(good[config] + b"\npolcy: {}\n"), "polcy: unknown key, did you mean 'policy'?"),
        (2, config, lambda: config.write_bytes(good[config].replace(b"target: late", b"target: lat")), "did you mean 'late'?"),
    ]  # fmt: skip
    for code, path, spoil, told in bad:
        spoil()
        done = ratchet(live, "run", "-p", "trials=0")
        printed = done.stdout + done.stderr
        path.write_bytes(good[path])
        assert done.returncode == code, (told, printed)
        # Long lines are not broken where nobody looks, but steps' own lines may be.
        assert told in " ".join(printed.split()) and "Traceback" not in printed, printed
        answer = ratchet(live, "model", "live", "--json")
        assert answer.returncode == 0 and json.loads(answer.stdout) == champion, answer.stdout
    again = json.loads(ratchet(live, "run", "--json", "-p", "trials=0").stdout)
    assert again["decision"]["champion_version"] == "1", "what was there before is all there still"

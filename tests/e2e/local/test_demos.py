"""The demonstrations of sources, from nothing, as `make` starts them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FLIGHTS = Path(__file__).parents[3] / "examples/flights"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "version"),
    [
        ("demo_dvc.py", "2013-01.parquet  432,067 bytes  md5:"),
        ("demo_s3.py", "2013-01.parquet  432,067 bytes  version:"),
    ],
)
def test_a_demonstration_traces_the_model_to_its_objects_and_leaves_nothing_running(script, version, tmp_path):
    """In a copy of the example, away from what a developer has there."""
    here = shutil.copytree(
        FLIGHTS, tmp_path / "flights", ignore=shutil.ignore_patterns(".ratchet", "data", "__pycache__")
    )
    command = [sys.executable, here / script, "--until", "2013-02", "-p", "trials=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Promoted  first model" in done.stdout
    assert "served from the cache" in done.stdout
    trace = done.stdout.split("$ ratchet model trace flights@champion")[-1]
    assert version in trace
    assert done.stdout.rstrip().endswith("flights: stopped")
    if script == "demo_s3.py":
        assert "flights v1  promote, champion since" in done.stdout
        assert "Reproduced  flights v1: the same bytes" in done.stdout
    else:
        assert "in dvc://lake@main:flights at commit " in trace
    left = [path.name for path in Path("/proc").glob("[0-9]*") if str(tmp_path) in _command(path)]
    assert not left


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""

"""What a shell offers after Tab: names that pipelines.yaml says, quickly, and silence where anything is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RATCHET = Path(sys.executable).with_name("ratchet")
DECLARED = """\
name: mine
servers: {staging: {url: "http://localhost:1"}, production: {url: "http://localhost:2"}}
pipelines:
  flights: {pipeline: continuous_training, config: ratchet.yaml, schedules: {nightly: {cron: "0 3 * * *"}, hourly: {every: 1h}}}
  ready: {pipeline: ready.yaml}
"""
READY = """\
pipelineInfo: {name: ready}
root: {inputDefinitions: {parameters: {colour: {parameterType: STRING}, count: {parameterType: NUMBER_INTEGER}}}}
schemaVersion: 2.1.0
"""


def offered(folder: Path, line: str) -> list[str]:
    words = line.split(" ")
    done = subprocess.run(
        [RATCHET],
        cwd=folder,
        env={**os.environ, "_RATCHET_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return [word.partition(",")[2] if word.startswith("plain,") else word for word in done.stdout.split()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipelines.yaml").write_text(DECLARED)
    (tmp_path / "ready.yaml").write_text(READY)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("ratchet schedule pause fl", ["flights/nightly", "flights/hourly"]),
        ("ratchet schedule list --server st", ["staging"]),
        ("ratchet run app", ["approve"]),
        ("ratchet run -p tr", ["tracking_uri=", "trials="]),
        ("ratchet run approve -p by", ["by="]),
        ("ratchet run ready.yaml -p co", ["colour=", "count="]),
        ("ratchet lint --ignore cre", ["credential"]),
        ("ratchet add-", ["add-step"]),
    ],
)
def test_names_are_offered(folder: Path, line: str, names: list[str]) -> None:
    assert sorted(offered(folder, line)) == sorted(names)


@pytest.mark.parametrize("content", ["", "[1]", "a: b: c", "pipelines: 7", "pipelines: {a: 7}", "\xff", None])
def test_what_cannot_be_read_offers_nothing_and_says_nothing(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "pipelines.yaml").write_text(content, encoding="latin-1")
    assert offered(tmp_path, "ratchet schedule pause ") == []
    assert offered(tmp_path, "ratchet schedule list --server ") == []

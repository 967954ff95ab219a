"""`ratchet replay` as a user mistypes it, and the example's own settings."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kfp_ratchet.pipelines.replay.settings import load

ROOT = Path(__file__).parent.parent.parent.parent
FLIGHTS = ROOT / "examples" / "flights"
RATCHET = Path(sys.executable).parent / "ratchet"
CONFIG = "name: mine\nsource: data.csv\nschema: schema.yaml\ncolumns: {target: y, problem: binary, id: id}\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "no period to replay; write e.g. `periods: 2025-01..2025-12`, or give --periods"),
        (("nowhere",), "nowhere/ratchet.yaml does not exist"),
        (("--periods", "2025-01..2025-03", "--until", "2025-04"), "--until 2025-04: not one of the periods"),
        (
            ("--periods", "2025-01..2025-03", "-p", "store=s3://live"),
            "-p store cannot be set: the replay keeps it inside its own folder",
        ),
        (("--periods", "2025-01..2025-03", "-p", "trails=2"), "did you mean 'trials'"),
        (("--periods", "whenever"), "--periods whenever: 'whenever' is not an ISO month"),
    ],
)
def test_each_mistake_is_named_and_nothing_is_written(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    (tmp_path / "ratchet.yaml").write_text(CONFIG)
    (tmp_path / "schema.yaml").write_text("schema_type: polars_dataframe\ncolumns: {}\n")
    done = subprocess.run([RATCHET, "replay", *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert told in re.sub(r"\s*remedy:\s*", "; ", " ".join(done.stderr.split()))
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"ratchet.yaml", "schema.yaml"}


def test_what_the_example_says_of_its_incidents_is_what_its_feed_does() -> None:
    sys.path.insert(0, str(FLIGHTS))
    try:
        spec = importlib.util.spec_from_file_location("incidents", FLIGHTS / "incidents.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FLIGHTS))
        sys.modules.pop("feed", None)
    assert set(load(FLIGHTS).incidents) == set(module.INCIDENTS)

"""A small project, and the command as a user types it in its folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RATCHET = Path(sys.executable).parent / "ratchet"
CONFIG = "name: mine\nsource: data.csv\nschema: schema.yaml\ncolumns: {target: y, problem: binary, id: id}\n"
SCHEMA = "schema_type: polars_dataframe\ncolumns:\n  y:\n    dtype: Int64\nstrict: false\n"


class Project:
    """A folder with a `ratchet.yaml`; its data, `data.csv`, is not there."""

    command = RATCHET

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "ratchet.yaml").write_text(CONFIG)
        (folder / "schema.yaml").write_text(SCHEMA)

    def ratchet(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [RATCHET, *arguments],
            cwd=self.folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [RATCHET, *arguments],
            cwd=self.folder,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "my pröject"
    folder.mkdir()
    return Project(folder)

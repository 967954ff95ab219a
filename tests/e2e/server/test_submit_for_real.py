"""From a table to a model that is live, by way of a server whose runs really run: init, apply, submit, and again."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from sklearn import datasets

from kfp_ratchet.components.shared.journal import read_run
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.pipelines.project import Project
from kfp_ratchet.testing.kfp_server import KfpServer

RATCHET = Path(sys.executable).with_name("ratchet")
PLAY = Path(__file__).with_name("play.py")
STATES = {"succeeded": "SUCCEEDED", "failed": "FAILED", "running": "RUNNING"}
pytestmark = pytest.mark.slow


class Player:
    """Runs what the server is asked to, and tells it what the journal says of the steps, as a cluster does of its pods."""

    def __init__(self, server: KfpServer, folder: Path) -> None:
        self._server = server
        self._folder = folder
        server.execute = self.execute

    def execute(self, run: dict[str, Any]) -> None:
        home = self._folder / "server" / run["run_id"]
        home.mkdir(parents=True)
        (home / "run.json").write_text(json.dumps(run))
        (home / "pipeline.yaml").write_text(yaml.safe_dump_all(self._documents(run)))
        with (
            (home / "log.txt").open("w") as log,
            subprocess.Popen(
                [sys.executable, PLAY, home],
                cwd=self._folder,
                env=Project.open(self._folder / "ratchet.yaml").environment,
                stdout=log,
                stderr=log,
            ) as process,
        ):
            while process.poll() is None:
                self._server.set_run(run["run_id"], "RUNNING", self._tasks(run["run_id"]))
                time.sleep(0.3)
        self._server.set_run(
            run["run_id"], "SUCCEEDED" if process.returncode == 0 else "FAILED", self._tasks(run["run_id"])
        )

    def _documents(self, run: dict[str, Any]) -> list[Any]:
        version = run["pipeline_version_reference"]["pipeline_version_id"]
        versions = [one for pipeline in self._server.pipelines for one in pipeline["versions"]]
        spec = next(one["pipeline_spec"] for one in versions if one["pipeline_version_id"] == version)
        return [spec["pipeline_spec"], spec["platform_spec"]] if "pipeline_spec" in spec else [spec]

    def _tasks(self, run: str) -> dict[str, str]:
        return {
            step: STATES[record.state]
            for step, record in read_run(Store(str(self._folder / ".ratchet/store")), run).items()
        }


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    subprocess.run([RATCHET, "stop"], cwd=tmp_path, check=False)


def test_a_table_goes_live_by_way_of_a_server(folder: Path) -> None:
    pl.from_pandas(datasets.load_breast_cancer(as_frame=True).frame).write_parquet(folder / "cells.parquet")
    with KfpServer(pace=1) as server:
        Player(server, folder)
        environment = {**os.environ, "RATCHET_SERVER": server.url, "KUBECONFIG": str(folder / "none")}

        def ratchet(*arguments: str) -> subprocess.CompletedProcess[str]:
            done = subprocess.run([RATCHET, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
            return done

        ratchet("init", "cells.parquet", "--target", "target")
        ratchet("server", "apply")
        told = ratchet("submit", "cells", "-p", "trials=0", "--follow").stdout
        assert "✓ train" in told
        assert "Promoted" in told
        again = json.loads(ratchet("submit", "cells", "-p", "trials=0", "--wait", "--json").stdout)
        assert (again["outcome"], again["decision"]["unchanged"]) == ("rejected", True)
        assert Path(again["report"]).exists()
        rows = json.loads(ratchet("runs", "list", "--json").stdout)
        assert [row["verdict"] for row in rows] == ["rejected", "promoted"]
        live = json.loads(ratchet("model", "live", "--json").stdout)
        assert live["answers"]
        history = json.loads(ratchet("model", "history", "--json").stdout)
        assert rows[1]["run"] in json.dumps(history), "the ledger must know the run by the server's id"
        record = read_run(Store(str(folder / ".ratchet/store")), rows[0]["run"])["register"]
        assert "yaml_digest" in record.parameters["provenance"]

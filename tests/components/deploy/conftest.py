"""A tiny real model (y = slope * x), real servers, and whatever is left of them stopped at the end."""

import json
import shutil
from pathlib import Path

import pytest

from kfp_ratchet.components.deploy import process
from kfp_ratchet.components.deploy.by_hand import Place
from kfp_ratchet.components.deploy.local import LocalTarget
from kfp_ratchet.components.deploy.probe import Probe
from kfp_ratchet.components.deploy.serving import Serving
from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.model import Card, model_digest
from kfp_ratchet.components.shared.store import Store

WORKLOADS = Path(__file__).parent / "workloads"


@pytest.fixture(scope="session")
def saved_line(tmp_path_factory):
    import polars as pl

    from kfp_ratchet.components.train.pyfunc import save_pyfunc

    folder = tmp_path_factory.mktemp("line")
    workload = folder / "workload"
    workload.mkdir()
    (workload / "weights.json").write_text(json.dumps({"slope": 1.0}))
    card = Card(
        workload="line:Line",
        parameters={"slope": 1},
        columns=Columns(target="y", problem="regression"),
        features={"x": "Float64"},
        revision="sha256:r",
        window={},
        split_rule="hash",
        rows=10,
        seed=0,
        device="cpu",
        metrics={"loss": 0.5},
    )
    save_pyfunc(folder / "model", workload, card, pl.DataFrame({"x": [1.0, 2.0]}))
    return folder / "model"


class Bench:
    """One model's ledger and local target, and lines of different slopes to deploy."""

    def __init__(self, folder: Path, saved: Path) -> None:
        self.folder, self.saved = folder, saved
        self.store = str(folder / "store")
        self.ledger = Ledger(Store(self.store), "line")
        self.serving = Serving(folder=str(folder / "serving"))
        self.target = LocalTarget(self.serving, "line")
        self.place = Place(self.store, "line", "", self.serving)

    def model(self, version: str) -> Path:
        made = self.folder / "models" / version
        if not made.exists():
            shutil.copytree(self.saved, made)
            (made / "artifacts" / "workload" / "weights.json").write_text(json.dumps({"slope": float(version)}))
        return made

    def fetch(self, version: str):
        return lambda into: Path(shutil.copytree(self.model(version), into))

    def draft(self, version: str, run: str = "", kind: str = "promote") -> Draft:
        champion = self.ledger.champion()
        return Draft(
            kind=kind,
            version=version,
            digest=model_digest(self.model(version)),
            epoch=champion.epoch if champion else 0,
            run=run or f"run-{version}",
        )

    def probe(self, version: str) -> Probe:
        return Probe(rows={"columns": ["x"], "data": [[1.0], [2.5]]}, scores=[float(version), 2.5 * float(version)])

    def running(self) -> list[int]:
        return [each.pid for each in process.running(self.target.folder)]


@pytest.fixture(scope="session")
def new_bench(saved_line):
    """Makes a bench in a folder."""
    return lambda folder: Bench(folder, saved_line)


@pytest.fixture
def bench(tmp_path, saved_line, monkeypatch):
    # Where the servers find the class of the model.
    monkeypatch.setenv("PYTHONPATH", str(WORKLOADS))
    made = Bench(tmp_path, saved_line)
    yield made
    process.stop(process.running(tmp_path))

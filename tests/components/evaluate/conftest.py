"""A small data set, and models whose scores can be worked out by hand."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kfp_ratchet.components.evaluate.scoring import evaluate_models
from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.dataset import Dataset, write_table
from kfp_ratchet.components.shared.journal import read_run
from kfp_ratchet.components.shared.model import Card, model_digest
from kfp_ratchet.components.shared.store import Store

ROLES = {"target": "late", "id": "key", "time": "at", "slices": ["port"]}


class Bench:
    """Writes data and models, runs evaluate on them, and reads what it left."""

    def __init__(self, folder, fetch):
        self.folder = folder
        self.fetch = fetch
        """The real way to a champion, which the fixture replaces."""

    def rows(self, n=400, seed=0):
        rng = np.random.default_rng(seed)
        x, noise = rng.normal(size=n), rng.normal(size=n)
        start = datetime(2020, 1, 1, tzinfo=UTC)
        return pl.DataFrame(
            {
                "key": [f"k{i:04d}" for i in rng.permutation(n)],
                "at": [start + timedelta(hours=6 * i) for i in range(n)],
                "x": x,
                "z": noise,
                "seen": [start + timedelta(days=i) if i % 3 else None for i in range(n)],
                "port": [("A", "B", None)[i] for i in rng.integers(0, 3, n)],
                "late": np.where(x + rng.normal(size=n) > 0.5, "yes", "no"),
                "kind": rng.choice(["a", "b", "c"], n),
                "minutes": 10 * x + rng.normal(size=n),
                "worth": rng.choice([1.0, 2.0], n),
            }
        )

    def data(self, rows, name="data"):
        folder = self.folder / name
        table = write_table(rows, folder, "rows")
        Dataset(revision="sha256:data", source="test", tables={"rows": table}).write(folder)
        return folder

    def model(
        self,
        name="candidate",
        weights=None,
        kind="Weighing",
        problem="binary",
        target="late",
        classes=("no", "yes"),
        features=None,
    ):
        weights = weights or {"x": 1.0}
        saved = self.folder / name / "artifacts" / "workload"
        saved.mkdir(parents=True)
        classes = [] if problem == "regression" else list(classes)
        (saved / "weights.json").write_text(json.dumps({"problem": problem, "weights": weights, "classes": classes}))
        Card(
            workload=f"weighing:{kind}",
            parameters={},
            columns=Columns(target=target, problem=problem),
            features=features or dict.fromkeys(weights, "Float64"),
            classes=classes,
            revision="sha256:data",
            window={},
            split_rule="",
            rows=10,
            seed=0,
            device="cpu",
        ).write(self.folder / name)
        return self.folder / name

    def evaluate(self, data, model, champion=None, anchor=None, out="evidence", roles=ROLES, window="{}", **shown):
        pins = [pin for one, version in ((champion, "3"), (anchor, "2")) for pin in self._pin(one, version)]
        folders = json.dumps({"champion": str(champion or ""), "anchor": str(anchor or "")})
        evaluate_models(
            str(data), "/root/run-1/prepare/rows", str(model), "/root/run-1/train/model", json.dumps(roles), window, "flights",
            *pins, folders, str(self.folder / "store"), str(self.folder / out),
            f"/root/run-1/evaluate/{out}", **shown,
        )  # fmt: skip
        return self.folder / out

    def _pin(self, model, version):
        return (version, model_digest(model)) if model else ("", "")

    def record(self):
        return read_run(Store(str(self.folder / "store")), "run-1")["evaluate"]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Champions come from the folder that stands in the tracking URI; the registry has its own tests."""
    from kfp_ratchet.components.evaluate import scoring
    from kfp_ratchet.components.evaluate.contender import Contender

    fetch = scoring._fetch
    monkeypatch.syspath_prepend(Path(__file__).parent / "workloads")
    monkeypatch.setattr(
        scoring,
        "_fetch",
        lambda folder, model_name, name, version, digest, into, roles: Contender.load(
            f"{name} v{version}", json.loads(folder)[name], roles
        ),
    )
    return Bench(tmp_path, fetch)

"""A project whose steps run one after the other in this process, up to the gate, on whatever table a test writes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from kfp_ratchet.components.ingest.tables import ingest_source
from kfp_ratchet.components.pin.pins import pin_run
from kfp_ratchet.components.prepare.recipe import prepare_rows
from kfp_ratchet.components.shared.journal import Record, read_run
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.components.train.encoding import Encoder
from kfp_ratchet.components.train.rows import FitRows, read_fit_rows
from kfp_ratchet.components.validate.draft import draft_schema
from kfp_ratchet.components.validate.validation import validate_dataset

ROLES = {"target": "late", "id": "flight", "time": "when"}


def table_of(rows: int = 400, **changed: Any) -> pl.DataFrame:
    """A learnable table of flights, one row an hour; `changed` replaces or adds columns."""
    random = np.random.default_rng(0)
    distance = random.normal(1000, 300, rows)
    table = {
        "flight": [f"f{number:05d}" for number in range(rows)],
        "when": [datetime(2024, 1, 1) + timedelta(hours=number) for number in range(rows)],
        "distance": distance,
        "seats": random.integers(50, 300, rows),
        "origin": random.choice(["EWR", "JFK", "LGA"], rows),
        "late": (distance + random.normal(0, 200, rows) > 1000).astype(int),
    }
    given = {name: value if isinstance(value, pl.Expr) else pl.Series(value) for name, value in changed.items()}
    return pl.DataFrame(table).with_columns(**given)


DRAFT = draft_schema(table_of(), "flights")


@dataclass
class Project:
    """Settings of the steps, and the folder of their data and of what they leave."""

    root: Path
    columns: dict[str, Any] = field(default_factory=lambda: dict(ROLES))
    window: dict[str, Any] = field(default_factory=lambda: {"evaluate": "3d"})
    checks: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=lambda: {"min_rows": 20, "min_class_rows": 2})
    schema: str = DRAFT
    recipe: Mapping[str, str] | None = None
    source: str = ""
    """The folder `data` when empty."""
    as_of: str = ""
    pinned: str = ""
    """The window, as pin gave it."""

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def records(self) -> dict[str, Record]:
        return read_run(Store(self.store), "run-1")

    @property
    def report(self) -> str:
        """Validation's page."""
        return (self.root / "run-1" / "validate" / "report.html").read_text(encoding="utf-8")

    @property
    def store(self) -> str:
        return str(self.root / "store")

    def write(self, table: pl.DataFrame | str | bytes, name: str = "", draft: bool = False) -> Path:
        """A file of the source: Parquet unless `name` says otherwise, text as CSV; `draft` takes its types for the schema."""
        frame = isinstance(table, pl.DataFrame)
        path = self.data / (name or ("rows.parquet" if frame else "rows.csv"))
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(table, pl.DataFrame):
            path.write_bytes(table if isinstance(table, bytes) else table.encode())
        elif path.suffix == ".csv":
            table.write_csv(path)
        else:
            table.write_parquet(path)
        if draft and isinstance(table, pl.DataFrame):
            self.schema = draft_schema(table, "rows")
        return path

    def pin(self) -> str:
        """The pinned revision."""
        out = self._out("pin", "pins")
        pins = pin_run(
            self.source or str(self.data), "flights", self.store, json.dumps(self.columns), json.dumps(self.window),
            self.as_of, out, out,
        )  # fmt: skip
        self.pinned = pins.window
        return pins.revision

    def accepted(self, before_ingest: Callable[[], object] = lambda: None) -> Path:
        """Pin, ingest, validate and, with a recipe, prepare."""
        revision, columns = self.pin(), json.dumps(self.columns)
        before_ingest()
        raw, kept = self._out("ingest", "dataset"), self._out("validate", "accepted")
        ingest_source(
            self.source or str(self.data), revision, columns, self.pinned, self.schema, self.store, raw, raw
        )  # fmt: skip
        validate_dataset(
            raw, raw, self.schema, json.dumps(self.checks), columns, self.pinned, 0, self.store, kept, kept,
            self._out("validate", "report.html"),
        )  # fmt: skip
        if self.recipe is None:
            return Path(kept)
        rows = self._out("prepare", "rows")
        prepare_rows(kept, kept, json.dumps(self.recipe), json.dumps(self.checks), columns, self.store, rows, rows)
        return Path(rows)

    def encoded(self) -> FitRows:
        """All up to what a network gets, of training rows and of rows it never saw."""
        fit = read_fit_rows(str(self.accepted()), json.dumps(self.columns), self.pinned)
        encoder = Encoder.learn(fit.rows, fit.columns.features(fit.rows.columns), 1)
        for part in (fit.rows, fit.tail):
            codes, numbers = encoder.encode(part)
            assert codes.shape[0] == part.height and np.isfinite(numbers).all()
        return fit

    def verdict(self) -> str:
        """All up to the gate's verdict on a tiny network; there is no champion."""
        from kfp_ratchet.components.evaluate.scoring import evaluate_models
        from kfp_ratchet.components.gate.files import decide_from_files
        from kfp_ratchet.components.train.fit import train_workload

        rows, columns = str(self.accepted()), json.dumps(self.columns)
        model, evidence = self._out("train", "model"), self._out("evaluate", "evidence")
        decision, page = self._out("gate", "decision"), self._out("gate", "report.html")
        small = json.dumps({"epochs": 1, "hidden": 8})
        train_workload(rows, rows, "tabular", columns, self.pinned, small, 0, "cpu", self.store, model, model)
        evaluate_models(
            rows, rows, model, model, columns, self.pinned, "flights", "", "", "", "", "", self.store, evidence, evidence
        )  # fmt: skip
        return decide_from_files(evidence, evidence, json.dumps(self.policy), self.store, decision, decision, page)

    def _out(self, step: str, name: str) -> str:
        path = self.root / "run-1" / step / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(path)


@pytest.fixture(scope="session")
def flights() -> Callable[..., pl.DataFrame]:
    return table_of


@pytest.fixture(scope="session")
def project_in() -> type[Project]:
    """Makes a project in a folder: for tests that need many."""
    return Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)

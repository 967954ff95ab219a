"""A workload of one's own: scikit-learn's histogram gradient boosting, saved with skops and without pickle.

Name it as `workload: workload:GradientBoosting` with this folder on `PYTHONPATH`; it needs scikit-learn and skops.
"""

import copy
import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import skops.io
from pydantic import BaseModel, ConfigDict, Field
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from kfp_ratchet.components.shared.canonical import dumps
from kfp_ratchet.components.shared.columns import Columns, Problem
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.train import measures
from kfp_ratchet.components.train.encoding import Encoder
from kfp_ratchet.components.train.hyperparameters import read_hyperparameters
from kfp_ratchet.components.train.labels import class_names, encode_target, row_weights
from kfp_ratchet.components.train.workload import FitContext

_TRUSTED = ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]


class Parameters(BaseModel):
    """Hyperparameters of `GradientBoosting`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    iterations: int = Field(default=200, ge=1, description="Most trees (a class).")
    report_every: int = Field(default=20, ge=1, description="Trees between two looks at the validation rows.")
    patience: int = Field(default=2, ge=1, description="Looks without a better loss before stopping.")
    learning_rate: float = Field(default=0.1, gt=0)
    max_leaf_nodes: int = Field(default=31, ge=2)
    min_samples_leaf: int = Field(default=20, ge=1)
    l2_regularization: float = Field(default=0.0, ge=0)


class GradientBoosting:
    """Histogram gradient boosting over the encoder that `tabular` uses; trees take category codes as numbers."""

    def __init__(self, problem: Problem, classes: list[str], encoder: Encoder, model: Any) -> None:
        self.problem = problem
        self.classes = classes
        self._encoder = encoder
        self._model = model

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        return {
            "learning_rate": {"type": "float", "low": 0.02, "high": 0.3, "log": True, "default": 0.1},
            "max_leaf_nodes": {"type": "int", "low": 7, "high": 127, "log": True, "default": 31},
            "min_samples_leaf": {"type": "int", "low": 5, "high": 200, "log": True, "default": 20},
        }

    @classmethod
    def fit(
        cls,
        rows: pl.DataFrame,
        validation: pl.DataFrame,
        columns: Columns,
        parameters: Mapping[str, Any],
        context: FitContext,
    ) -> Self:
        p = read_hyperparameters(Parameters, parameters, "gradient boosting")
        classes = class_names(rows[columns.target], columns)
        encoder = Encoder.learn(rows, columns.features(rows.columns), min_category_rows=1)
        kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
        model = kind(
            learning_rate=p.learning_rate,
            max_leaf_nodes=p.max_leaf_nodes,
            min_samples_leaf=p.min_samples_leaf,
            l2_regularization=p.l2_regularization,
            early_stopping=False,
            random_state=context.seed,
            warm_start=True,
        )
        features, target = _features(encoder, rows), encode_target(rows[columns.target], classes)
        weight = row_weights(rows, columns)
        label = encode_target(validation[columns.target], classes)
        known = np.isfinite(label)
        label, label_weight = label[known], row_weights(validation, columns)[known]
        judged = _features(encoder, validation.filter(known))
        best, best_loss, stale, looks = model, float("inf"), 0, -(-p.iterations // p.report_every)
        for look in range(1, looks + 1):
            model.set_params(max_iter=min(p.iterations, look * p.report_every))
            model.fit(features, target, sample_weight=weight)
            scores = _scores(model, columns.problem, judged)
            loss = measures.loss(columns.problem, label, scores, label_weight)
            context.report(look, {"loss": loss, **measures.score(columns.problem, label, scores)}, looks)
            stale = 0 if loss < best_loss else stale + 1
            if not stale:
                best, best_loss = copy.deepcopy(model), loss
            if stale >= p.patience:
                break
        return cls(columns.problem, classes, encoder, best)

    def predict(self, rows: pl.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
        return _scores(self._model, self.problem, _features(self._encoder, rows))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        spec = {"problem": self.problem, "classes": self.classes, "encoder": self._encoder.model_dump(mode="json")}
        (folder / "spec.json").write_text(dumps(spec))
        (folder / "model.skops").write_bytes(_canonical(skops.io.dumps(self._model)))

    @classmethod
    def load(cls, folder: Path) -> Self:
        spec = json.loads((folder / "spec.json").read_text())
        content = (folder / "model.skops").read_bytes()
        strange = sorted(set(skops.io.get_untrusted_types(data=content)) - set(_TRUSTED))
        if strange:
            raise RatchetError(
                f"{folder / 'model.skops'} holds {strange[0]}, which no model of ours does", "train again"
            )
        model = skops.io.loads(content, trusted=_TRUSTED)
        return cls(spec["problem"], spec["classes"], Encoder.model_validate(spec["encoder"]), model)


def _features(encoder: Encoder, rows: pl.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    codes, numbers = encoder.encode(rows)
    return np.hstack([codes.astype(np.float64), numbers.astype(np.float64)])


def _scores(model: Any, problem: Problem, features: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    if problem == "regression":
        return np.asarray(model.predict(features), dtype=np.float64)
    scores = np.asarray(model.predict_proba(features), dtype=np.float64)
    return scores[:, 1] if problem == "binary" else scores


def _canonical(archive: bytes) -> bytes:
    """The same archive without what differs between two runs: memory addresses as names, and times of day."""
    source = zipfile.ZipFile(io.BytesIO(archive))
    schema = source.read("schema.json").decode()
    names = {old: str(new) for new, old in enumerate(dict.fromkeys(re.findall(r'"__id__": (\d+)', schema)))}
    schema = re.sub(r'"__id__": (\d+)', lambda found: f'"__id__": {names[found[1]]}', schema)
    files = [name for name in source.namelist() if name != "schema.json"]
    renamed = {name: f"{names[Path(name).stem]}{Path(name).suffix}" for name in files}
    for old, new in renamed.items():
        schema = schema.replace(f'"{old}"', f'"{new}"')
    content = {"schema.json": schema.encode(), **{renamed[name]: source.read(name) for name in files}}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for name in sorted(content):
            file.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content[name])
    return target.getvalue()

"""Workloads whose scores can be worked out by hand; they are never fitted."""

import json
import sys
import time

import numpy as np
import polars as pl


class Weighing:
    """Scores are a weighted sum of features, through a sigmoid or softmax for classes."""

    def __init__(self, saved):
        self.saved = saved
        self.classes = saved["classes"]

    @classmethod
    def search_space(cls):
        return {}

    @classmethod
    def fit(cls, rows, validation, columns, parameters, context):
        raise NotImplementedError

    def save(self, folder):
        (folder / "weights.json").write_text(json.dumps(self.saved))

    @classmethod
    def load(cls, folder):
        return cls(json.loads((folder / "weights.json").read_text()))

    def sums(self, rows):
        weights = self.saved["weights"]
        columns = [rows[name].cast(pl.Float64).fill_null(0.0).to_numpy() for name in weights]
        return np.column_stack(columns) @ np.array(list(weights.values()), dtype=float)

    def predict(self, rows):
        total = self.sums(rows)
        if self.saved["problem"] == "regression":
            return total
        if self.saved["problem"] == "binary":
            return 1 / (1 + np.exp(-total))
        odds = np.exp(total)
        return odds / odds.sum(axis=1, keepdims=True)


class PeeksAtTheBatch(Weighing):
    """Centres by the rows it is asked about: right in training, wrong for a single request."""

    def predict(self, rows):
        total = self.sums(rows)
        return 1 / (1 + np.exp(-(total - total.mean())))


class GoesByPosition(Weighing):
    def predict(self, rows):
        return np.linspace(0.1, 0.9, rows.height)


class ThrowsDice(Weighing):
    def predict(self, rows):
        return np.random.default_rng().random(rows.height)


class SaysNaN(Weighing):
    def predict(self, rows):
        scores = super().predict(rows)
        scores[0] = np.nan
        return scores


class SaysTheSame(Weighing):
    def predict(self, rows):
        return np.full(rows.height, 0.5)


class SaysLogits(Weighing):
    def predict(self, rows):
        return 5 * self.sums(rows)


class TwoColumns(Weighing):
    def predict(self, rows):
        return np.zeros((rows.height, 2))


class Crashes(Weighing):
    def predict(self, rows):
        raise KeyError("x")


class NeedsThisProcess(Weighing):
    """Cannot be loaded where pytest is not."""

    @classmethod
    def load(cls, folder):
        assert "pytest" in sys.modules
        return super().load(folder)


class HoldsFortyMegabytes(Weighing):
    def __init__(self, saved):
        super().__init__(saved)
        self.ballast = np.ones(40 * 2**20, dtype=np.uint8)


class TakesItsTime(Weighing):
    def predict(self, rows):
        time.sleep(0.02)
        return super().predict(rows)

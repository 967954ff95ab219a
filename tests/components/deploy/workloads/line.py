"""A workload whose answers can be worked out by hand: y = slope * x."""

import json
from pathlib import Path


class Line:
    classes = []

    def __init__(self, slope):
        self.slope = slope

    @classmethod
    def search_space(cls):
        return {}

    @classmethod
    def fit(cls, rows, validation, columns, parameters, context):
        return cls(1.0)

    def predict(self, rows):
        return self.slope * rows["x"].to_numpy()

    def save(self, folder: Path):
        (folder / "weights.json").write_text(json.dumps({"slope": self.slope}))

    @classmethod
    def load(cls, folder: Path):
        return cls(json.loads((folder / "weights.json").read_text())["slope"])

"""A tiny correct workload: the mean target by group, shrunk to the overall mean. Torch-free, instant, and easy to break."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.train.hyperparameters import read_hyperparameters
from kfp_ratchet.components.train.labels import class_names, encode_target


class Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid")
    shrink: float = 1.0
    epochs: int = 3
    by: str = "place"


class Toy:
    def __init__(self, problem, classes, by, overall, means):
        self.problem, self.classes, self.by, self.overall, self.means = problem, classes, by, overall, means

    @classmethod
    def search_space(cls):
        return {"shrink": {"type": "float", "low": 0.1, "high": 100.0, "log": True, "default": 1.0}}

    @classmethod
    def fit(cls, rows, validation, columns, parameters, context):
        p = read_hyperparameters(Parameters, parameters, "toy")
        classes = class_names(rows[columns.target], columns)
        target = _outputs(encode_target(rows[columns.target], classes), columns.problem, classes)
        overall = target.mean(axis=0)
        groups = rows[p.by].cast(pl.String).fill_null("").to_numpy()
        means = {}
        for group in sorted(set(groups)):
            held = target[groups == group]
            means[group] = ((held.sum(axis=0) + p.shrink * overall) / (len(held) + p.shrink)).tolist()
        model = cls(columns.problem, classes, p.by, overall.tolist(), means)
        label = _outputs(encode_target(validation[columns.target], classes), columns.problem, classes)
        loss = float(((model._outputs(validation) - label) ** 2).mean()) / max(1.0, float(target.var()))
        for epoch in range(1, p.epochs + 1):
            context.report(epoch, {"loss": loss + 1 / epoch}, p.epochs)
        return model

    def _outputs(self, rows):
        groups = rows[self.by].cast(pl.String).fill_null("").to_list()
        return np.array([self.means.get(group, self.overall) for group in groups], dtype=np.float64)

    def predict(self, rows):
        outputs = self._outputs(rows)
        return outputs if self.problem == "multiclass" else outputs[:, 0]

    def save(self, folder: Path):
        (folder / "toy.json").write_text(json.dumps(self.__dict__, sort_keys=True))

    @classmethod
    def load(cls, folder: Path):
        return cls(**json.loads((folder / "toy.json").read_text()))


def _outputs(target, problem, classes):
    return np.eye(len(classes))[target.astype(int)] if problem == "multiclass" else target[:, None]


class Raises(Toy):
    @classmethod
    def fit(cls, *args):
        raise KeyError("wheels")


class ScoresNan(Toy):
    def predict(self, rows):
        return super().predict(rows) * float("nan")


class Diverges(Toy):
    @classmethod
    def fit(cls, rows, validation, columns, parameters, context):
        context.report(1, {"loss": float("nan")})


class SometimesDiverges(Toy):
    @classmethod
    def fit(cls, rows, validation, columns, parameters, context):
        if parameters["shrink"] > 1.0:
            raise RatchetError("the fit diverged", "lower shrink")
        return super().fit(rows, validation, columns, parameters, context)


class Killed(Toy):
    """Logs every fit to the file of `TOY_LOG`, and dies by SIGKILL in the one whose number is `TOY_DIES_AT`."""

    @classmethod
    def fit(cls, rows, validation, columns, parameters, context):
        log = Path(os.environ["TOY_LOG"])
        with log.open("a") as file:
            file.write(f"{parameters['shrink']!r}\n")
        if len(log.read_text().splitlines()) == int(os.environ.get("TOY_DIES_AT", "0")):
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        return super().fit(rows, validation, columns, parameters, context)

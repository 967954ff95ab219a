"""The built-in workload: entity embeddings and an MLP for any table, for all three kinds of problem."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import polars as pl
import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from kfp_ratchet.components.shared.canonical import dumps
from kfp_ratchet.components.shared.columns import Columns, Problem
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.train import measures
from kfp_ratchet.components.train.encoding import Encoder
from kfp_ratchet.components.train.hyperparameters import read_hyperparameters
from kfp_ratchet.components.train.labels import class_names, encode_target, row_weights
from kfp_ratchet.components.train.loop import Batchable, Recipe, seeded, train_network
from kfp_ratchet.components.train.network import Network
from kfp_ratchet.components.train.workload import FitContext

_PREDICT_ROWS = 65_536
_MIN_STEPS = 50

Array = np.ndarray[Any, np.dtype[np.float64]]


class Parameters(BaseModel):
    """Hyperparameters of `tabular`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(default=12, ge=1, description="Most passes over the training rows.")
    patience: int = Field(default=3, ge=1, description="Epochs without a better validation loss before stopping.")
    batch_size: int = Field(
        default=2048, ge=1, description="Rows a step; fewer on small tables, so that an epoch has some 50 steps."
    )
    learning_rate: float = Field(default=2e-3, gt=0, description="Peak learning rate.")
    weight_decay: float = Field(default=1e-2, ge=0)
    hidden: int = Field(default=128, ge=8, description="Width of the first layer; each further layer has half.")
    layers: int = Field(default=2, ge=0, le=6, description="Hidden layers; 0 is a linear model over embeddings.")
    dropout: float = Field(default=0.1, ge=0, lt=1)
    activation: Literal["relu", "gelu", "silu"] = "relu"
    max_embedding: int = Field(default=8, ge=1, description="Widest embedding of a category column.")
    min_category_rows: int = Field(
        default=50,
        ge=1,
        description="Rarer categories share the code for unseen ones; less on tables under 10,000 rows.",
    )
    class_weight: Literal["none", "balanced"] = Field(
        default="none",
        description="none keeps the probabilities calibrated; balanced gives every class the same total weight, which "
        "does not, and seldom ranks better.",
    )


class Spec(BaseModel):
    """All of a fitted model but its weights."""

    model_config = ConfigDict(frozen=True)

    problem: Problem
    classes: list[str]
    parameters: Parameters
    encoder: Encoder
    center: float = Field(default=0.0, description="Regression: mean of the target in training.")
    spread: float = Field(default=1.0, description="Regression: standard deviation of the target in training.")

    def network(self) -> Network:
        """The untrained network this model has."""
        p = self.parameters
        return Network(
            self.encoder.cardinalities,
            self.encoder.width,
            len(self.classes) if self.problem == "multiclass" else 1,
            p.hidden,
            p.layers,
            p.dropout,
            p.activation,
            p.max_embedding,
        )


class Tabular:
    """Entity embeddings and an MLP (torch); see `Parameters` and `Encoder`."""

    def __init__(self, spec: Spec, network: nn.Module) -> None:
        self.spec = spec
        self.classes = spec.classes
        self._network = network.eval()

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """What is worth searching on most tables; `default` is tried first."""
        return {
            "learning_rate": {"type": "float", "low": 3e-4, "high": 1e-2, "log": True, "default": 2e-3},
            "hidden": {"type": "int", "low": 64, "high": 256, "step": 64, "default": 128},
            "dropout": {"type": "float", "low": 0.0, "high": 0.4, "default": 0.1},
            "weight_decay": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True, "default": 1e-2},
            "max_embedding": {"type": "categorical", "choices": [4, 8, 16, 32], "default": 8},
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
        """Fit; see `Workload.fit`."""
        p = read_hyperparameters(Parameters, parameters, "tabular")
        classes = class_names(rows[columns.target], columns)
        encoder = Encoder.learn(
            rows, columns.features(rows.columns), min(p.min_category_rows, max(1, rows.height // 200))
        )
        target, weight = encode_target(rows[columns.target], classes), row_weights(rows, columns)
        if not np.isfinite(target).all():
            raise RatchetError(
                f"target column {columns.target!r} has {int((~np.isfinite(target)).sum())} missing or infinite values "
                "in the training rows",
                "drop these rows in prepare",
            )
        center = float(np.average(target, weights=weight)) if not classes else 0.0
        spread = float(np.sqrt(np.average((target - center) ** 2, weights=weight))) if not classes else 1.0
        spec = Spec(
            problem=columns.problem,
            classes=classes,
            parameters=p,
            encoder=encoder,
            center=center,
            spread=spread or 1.0,
        )
        if p.class_weight == "balanced" and classes:
            totals = np.bincount(target.astype(int), weights=weight, minlength=len(classes))
            weight = weight / np.maximum(totals, 1e-12)[target.astype(int)]
        weight = weight / weight.mean()
        with seeded(context.seed, 0, context.device):
            network = spec.network()
        network.start_at(_prior(spec, target, weight))
        network.to(context.device)
        model = cls(spec, network)
        train_network(
            network,
            model._tensors(rows, (target - spec.center) / spec.spread, weight, context.device),
            _losses(spec.problem),
            model._judge(validation, columns, context.device),
            Recipe(
                epochs=p.epochs,
                patience=p.patience,
                batch_size=min(p.batch_size, max(32, rows.height // _MIN_STEPS)),
                learning_rate=p.learning_rate,
                weight_decay=p.weight_decay,
            ),
            context,
        )
        network.to("cpu")
        return model

    def predict(self, rows: pl.DataFrame) -> Array:
        """Scores for raw rows; see `Workload`."""
        codes, numbers = self.spec.encoder.encode(rows)
        return self._scores(self._network, torch.from_numpy(codes), torch.from_numpy(numbers))

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors` and `spec.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: tensor.contiguous() for name, tensor in self._network.state_dict().items()},
            folder / "weights.safetensors",
        )
        (folder / "spec.json").write_text(dumps(self.spec.model_dump(mode="json")))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load what `save` wrote, on the CPU."""
        try:
            spec = Spec.model_validate(json.loads((folder / "spec.json").read_text()))
            network = spec.network()
            network.load_state_dict(load_file(folder / "weights.safetensors"))
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise RatchetError(f"{folder} is not a saved tabular model: {error}", "train it again") from error
        return cls(spec, network)

    def _tensors(self, rows: pl.DataFrame, target: Array, weight: Array, device: str) -> Batchable:
        codes, numbers = self.spec.encoder.encode(rows)
        kind = torch.int64 if self.spec.problem == "multiclass" else torch.float32
        return Batchable(
            torch.from_numpy(codes).to(device),
            torch.from_numpy(numbers).to(device),
            torch.from_numpy(target).to(device, kind),
            torch.from_numpy(weight).to(device, torch.float32),
        )

    def _judge(self, validation: pl.DataFrame, columns: Columns, device: str) -> Any:
        label = encode_target(validation[columns.target], self.classes)
        weight = row_weights(validation, columns)
        # A class that training never saw has no score; nothing can be learnt about it here.
        known = np.isfinite(label) & (weight > 0)
        if not known.any():
            raise RatchetError("no validation row has a label that training rows have", "widen window.train")
        label, weight = label[known], weight[known]
        encoded = self.spec.encoder.encode(validation.filter(known))
        codes, numbers = (torch.from_numpy(array).to(device) for array in encoded)

        def judge(network: nn.Module) -> dict[str, float]:
            scores = self._scores(network, codes, numbers)
            # In units of the target's variance, so that losses of different windows compare.
            loss = measures.loss(self.spec.problem, label, scores, weight) / self.spec.spread**2
            return {"loss": loss, **measures.score(self.spec.problem, label, scores)}

        return judge

    def _scores(self, network: nn.Module, codes: Tensor, numbers: Tensor) -> Array:
        with torch.inference_mode():
            outputs = [
                network(c, x).double()
                for c, x in zip(torch.split(codes, _PREDICT_ROWS), torch.split(numbers, _PREDICT_ROWS), strict=True)
            ]
            output = torch.cat(outputs)
            if self.spec.problem == "binary":
                output = torch.sigmoid(output)[:, 0]
            elif self.spec.problem == "multiclass":
                output = torch.softmax(output, dim=1)
            else:
                output = output[:, 0] * self.spec.spread + self.spec.center
            scores: Array = output.cpu().numpy()
            return scores


def _prior(spec: Spec, target: Array, weight: Array) -> Tensor:
    """Output of the model that knows no feature: log odds, log shares, or the mean (0 once standardised)."""
    if not spec.classes:
        return torch.zeros(1)
    totals = np.bincount(target.astype(int), weights=weight, minlength=len(spec.classes))
    logs = torch.from_numpy(np.log(np.maximum(totals, 1e-12) / totals.sum()))
    return (logs if spec.problem == "multiclass" else logs[1:] - logs[:1]).float()


def _losses(problem: Problem) -> Any:
    if problem == "multiclass":
        return lambda output, target: F.cross_entropy(output, target, reduction="none")
    if problem == "binary":
        return lambda output, target: F.binary_cross_entropy_with_logits(output[:, 0], target, reduction="none")
    return lambda output, target: (output[:, 0] - target) ** 2

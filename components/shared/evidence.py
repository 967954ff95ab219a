"""The Evidence contract: what `evaluate` saw, row by row, and all that `gate` may look at.

A folder with `rows.parquet` (columns below), `evidence.json` and `probe.json`. Score columns are named `candidate` and `champion`
(binary: probability of the positive class; regression: the prediction), or `candidate:<class>` and `champion:<class>`, one a class,
for multiclass. `label` is 0/1 for binary, the class's index for multiclass, the value for regression. Read in sorted `id` order.
"""

import json
from pathlib import Path
from typing import Any, Literal, Self

import polars as pl
from pydantic import BaseModel, Field

from kfp_ratchet.components.shared.canonical import digest, digest_file, dumps
from kfp_ratchet.components.shared.columns import Problem
from kfp_ratchet.components.shared.errors import RatchetError

ID, LABEL, WEIGHT = "id", "label", "weight"
SLICE_PREFIX = "slice:"
Model = Literal["candidate", "champion"]


class Evidence(BaseModel):
    """What `evidence.json` says."""

    problem: Problem
    classes: list[str] = Field(default_factory=list, description="Class names in label order; empty for regression.")
    slices: list[str] = Field(default_factory=list, description="Slice columns; in rows.parquet as `slice:<name>`.")
    rows: int
    accepted_rows: int = Field(description="All model rows of the revision, training rows included.")
    revision: str
    split_rule: str = Field(description="In words: which rows train and which judge.")
    candidate_digest: str
    champion_version: str = ""
    champion_digest: str = ""
    baseline: dict[str, Any] = Field(
        default_factory=dict,
        description="The trivial model from training rows: {'score': prevalence | mean} or {'scores': [per class]}.",
    )
    sanity: dict[str, bool] = Field(
        default_factory=dict, description="Named checks of the candidate's scores: finite, not constant, ..."
    )
    latency_ms: dict[str, list[float]] = Field(
        default_factory=dict, description="Samples of single-row latency by model, milliseconds."
    )

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """Read `evidence.json`.

        Raises:
            RatchetError: The folder holds no evidence.
        """
        try:
            return cls.model_validate(json.loads(Path(folder, "evidence.json").read_text()))
        except (OSError, ValueError) as error:
            raise RatchetError(
                f"{folder} is not evidence: {error}", "pass the output `evidence` of evaluate"
            ) from error

    def write(self, folder: str | Path) -> None:
        """Write `evidence.json`."""
        Path(folder, "evidence.json").write_text(self.model_dump_json(indent=1))


def read_rows(folder: str | Path) -> pl.DataFrame:
    """The scored rows in sorted row-id order, shape (rows, columns above)."""
    return pl.read_parquet(Path(folder, "rows.parquet")).sort(ID)


def evidence_digest(folder: str | Path) -> str:
    """Digest of what the gate looks at."""
    return digest(dumps([digest_file(Path(folder, name)) for name in ("rows.parquet", "evidence.json")]))


def score_columns(model: Model, evidence: Evidence) -> list[str]:
    """Names of a model's score columns, in label order."""
    return [f"{model}:{name}" for name in evidence.classes] if evidence.problem == "multiclass" else [model]

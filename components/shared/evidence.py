"""The Evidence contract: what `evaluate` saw, row by row, and all that `gate` may look at.

A folder with `rows.parquet` (columns below), `evidence.json`, `probe.json` ({"rows": {"columns", "data"}, "scores"}: a few raw rows and the
candidate's answers) and `latency.json` (milliseconds by model; apart, since a clock never gives the same bytes twice). Score columns are
named `candidate` and `champion` (binary: probability of the positive class; regression: the prediction), or `candidate:<class>` and
`champion:<class>`, one a class, for multiclass. `label` is 0/1 for binary, the class's index for multiclass, the value for
regression. Read in sorted `id` order.
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
    accepted_rows: int = Field(description="Rows of the main table that validation accepted.")
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
    rows_digest: str = Field(default="", description="Digest of rows.parquet; the gate refuses other rows.")

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


def read_latency(folder: str | Path) -> dict[str, list[float]]:
    """Samples of single-row latency by model, milliseconds; empty when there are none.

    Raises:
        RatchetError: The file is damaged.
    """
    path = Path(folder, "latency.json")
    try:
        return {name: [float(sample) for sample in samples] for name, samples in json.loads(path.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RatchetError(f"{path} is damaged: {error}", "run evaluate again") from error


def read_rows(folder: str | Path) -> pl.DataFrame:
    """The scored rows in sorted row-id order, shape (rows, columns above)."""
    return pl.read_parquet(Path(folder, "rows.parquet"), glob=False).sort(ID)


def evidence_digest(folder: str | Path) -> str:
    """Digest of what the gate looks at."""
    return digest(dumps([digest_file(Path(folder, name)) for name in ("rows.parquet", "evidence.json")]))


def score_columns(model: Model, evidence: Evidence) -> list[str]:
    """Names of a model's score columns, in label order."""
    return [f"{model}:{name}" for name in evidence.classes] if evidence.problem == "multiclass" else [model]

"""The Evidence contract: what `evaluate` saw, row by row, and all that `gate` may look at.

A folder with
- `rows.parquet`: columns `id`, `label`, `weight`, the scores of each model, and where there are any `cluster` and `slice:<name>`. Score
  columns are named by the model: `candidate`, `champion` and `anchor` (binary: probability of the positive class; regression: the
  prediction), or `candidate:<class>`, one a class, for multiclass. `label` is 0/1 for binary, the class's index for multiclass, the value
  for regression.
- `evidence.json`: `Facts`.
- `operations.json`: `Operations`; apart, since a clock never gives the same bytes twice.
- `probe.json` ({"rows": {"columns", "data"}, "scores"}): a few raw rows and the candidate's answers, for deployment; the gate reads none.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, ValidationError

from kfp_ratchet.components.shared.canonical import digest, digest_file, dumps
from kfp_ratchet.components.shared.columns import Problem
from kfp_ratchet.components.shared.errors import InputError, RatchetError

ID, LABEL, WEIGHT, CLUSTER = "id", "label", "weight", "cluster"
SLICE_PREFIX = "slice:"
MOST_ROWS = 2_000_000
"""About how many rows are judged on at most: of more, those with the smallest hashes of their id, in the order of the file. Every k-th row
would take the same few devices again and again where rows of several alternate."""
Model = Literal["candidate", "champion", "anchor"]
_ALWAYS, _OPERATIONS = ("rows.parquet", "evidence.json"), "operations.json"


class Facts(BaseModel):
    """What `evidence.json` says."""

    problem: Problem
    classes: list[str] = Field(default_factory=list, description="Class names in label order; empty for regression.")
    slices: list[str] = Field(default_factory=list, description="Slice columns; in rows.parquet as `slice:<name>`.")
    clustered_by: str = Field(default="", description="The column behind `cluster`; empty: rows are independent.")
    rows: int
    accepted_rows: int = Field(default=0, description="Rows of the main table that validation accepted.")
    start: str = Field(default="", description="Time of the first row, ISO 8601; empty without a time column.")
    end: str = Field(default="", description="Time of the last row.")
    revision: str = ""
    split_rule: str = Field(default="", description="In words: which rows train and which judge.")
    candidate_digest: str
    champion_version: str = ""
    champion_digest: str = ""
    anchor_version: str = ""
    anchor_digest: str = Field(default="", description="The last champion that was shown to be better, if another.")
    anchor_problem: str = Field(default="", description="Why the anchor could not score the rows; empty when it did.")
    baseline: dict[str, Any] = Field(
        default_factory=dict,
        description="The trivial model from training rows: {'score': prevalence | mean} or {'scores': [per class]}.",
    )
    sanity: dict[str, bool] = Field(
        default_factory=dict, description="Named checks of the candidate's scores: finite, not constant, ..."
    )
    size_mb: dict[Model, float] = Field(default_factory=dict, description="What each model's weights take, megabytes.")
    rows_digest: str = Field(default="", description="Digest of rows.parquet; the gate refuses other rows.")

    @property
    def has_anchor(self) -> bool:
        """Is there an anchor that is neither champion nor candidate, and so scored by itself?"""
        others = ("", self.champion_digest, self.candidate_digest)
        return self.anchor_digest not in others and not self.anchor_problem

    @property
    def models(self) -> list[Model]:
        """Whose scores the rows hold."""
        scored: dict[Model, bool] = {
            "candidate": True,
            "champion": bool(self.champion_digest),
            "anchor": self.has_anchor,
        }
        return [model for model, held in scored.items() if held]

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


class Operations(BaseModel):
    """What models cost to run, as measured: `operations.json`. A model that was not measured is left out."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    latency_ms: dict[Model, list[NonNegativeFloat]] = Field(
        default_factory=dict, description="Samples of the time one row takes from raw values to score, by model."
    )
    memory_mb: dict[Model, list[float]] = Field(
        default_factory=dict,
        description="Growth of a fresh process's resident memory when it loads the model and scores, by model, measured anew each time.",
    )

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """Read `operations.json`; empty when there is none.

        Raises:
            RatchetError: The file is damaged.
        """
        path = Path(folder, _OPERATIONS)
        try:
            return cls.model_validate_json(path.read_text())
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError) as error:
            raise RatchetError(f"{path} is damaged: {error}", "run evaluate again") from error

    def write(self, folder: str | Path) -> None:
        """Write `operations.json`."""
        Path(folder, _OPERATIONS).write_text(dumps(self.model_dump(mode="json")))


@dataclass(frozen=True)
class Evidence:
    """What a decision is taken on."""

    facts: Facts
    rows: pl.DataFrame
    """Any order; about `MOST_ROWS` at most when read from a folder."""
    operations: Operations = field(default_factory=Operations)
    digest: str = ""
    """Of all of the above."""
    sampled_from: int = 0
    """How many rows there were, 0 when `rows` are all of them."""

    @classmethod
    def read(cls, folder: str | Path, operations: bool = True) -> Self:
        """Read a folder that `evaluate` wrote. Of more than `MOST_ROWS` rows, a sample is read, in bounded memory.

        Args:
            folder: The folder.
            operations: Read `operations.json` too; without it, two runs on the same rows have the same evidence.

        Raises:
            RatchetError: It is no evidence, or damaged.
        """
        facts = Facts.read(folder)
        files = file_digests(folder)
        found = files["rows.parquet"]
        if found != facts.rows_digest:
            raise RatchetError(
                f"rows.parquet is not what evidence.json speaks of ({found} instead of {facts.rows_digest or 'none'})",
                "run evaluate again",
            )
        rows, sampled_from = _read_rows(folder)
        measured = Operations.read(folder) if operations else Operations()
        return cls(facts, rows, measured, digest_of_files(files, operations), sampled_from)

    @classmethod
    def of(
        cls,
        label: Any,
        candidate: Any,
        champion: Any = None,
        *,
        problem: Problem = "binary",
        anchor: Any = None,
        weight: Any = None,
        cluster: Any = None,
        slices: Mapping[str, Any] | None = None,
        ids: Any = None,
        classes: Sequence[str] = (),
        baseline: Any = None,
        latency_ms: Mapping[Model, Sequence[float]] | None = None,
    ) -> Self:
        """Evidence from arrays of n rows, for use as a library.

        Args:
            label: 0/1 for binary, class index for multiclass, value for regression; shape (n,).
            candidate: Probability of class 1, or prediction, shape (n,); probabilities by class, shape (n, classes), for multiclass.
            champion: The same of the model that is live; None judges a first model, against the trivial one.
            problem: Kind of problem.
            anchor: The same of the last champion that was shown to be better; None when that is the champion itself.
            weight: Weight of each row, all 1 when not given; shape (n,).
            cluster: Value by row, shape (n,); rows of one value (a customer, a day) are not independent of each other. Dates and times
                count by their day.
            slices: By name, the value of each row, shape (n,).
            ids: What identifies a row, shape (n,); its number when not given.
            classes: Names in label order; numbers when not given.
            baseline: What the trivial model says: prevalence or mean, or class shares, of the *training* rows; those of these rows when
                not given.
            latency_ms: Samples of single-row latency by model, for a policy with a budget.

        Raises:
            InputError: Arrays differ in length or in the index of pandas, have another shape, are masked or hold no numbers; or there is
                no such problem.
        """
        if problem not in get_args(Problem):
            raise InputError(f"there is no problem {problem!r}", f"pass one of {', '.join(get_args(Problem))}")
        if candidate is None:
            raise InputError("candidate is None", "pass the scores of the model that may go live")
        given = {"candidate": candidate, "champion": champion, "anchor": anchor}
        _check_index({"label": label, **given, "weight": weight, "cluster": cluster, "ids": ids})
        label = _numbers("label", label)
        scores = {name: _numbers(name, one) for name, one in given.items() if one is not None}
        columns = 1 if problem != "multiclass" else scores["candidate"].shape[-1]
        wanted = label.shape if problem != "multiclass" else (*label.shape, columns)
        for name, one in scores.items():
            if label.ndim != 1 or one.shape != wanted:
                raise InputError(
                    f"{name} has shape {one.shape} and label {label.shape} for a {problem} problem",
                    "pass label of shape (n,) and scores of shape (n,), or (n, classes) for multiclass",
                )
        if anchor is not None and champion is None:
            raise InputError("there is an anchor and no champion", "pass the champion's scores, too")
        if classes and (problem == "regression" or len(classes) != max(columns, 2) or len(set(classes)) < len(classes)):
            raise InputError(
                f"classes names {', '.join(map(str, classes))} for a {problem} problem of {max(columns, 2)} classes",
                "pass one name for each class, all different",
            )
        slices = {} if slices is None else slices
        if not isinstance(slices, Mapping):
            raise InputError(
                f"slices is a {type(slices).__name__}", 'pass the values of each row by name: {"port": [...]}'
            )
        names = list(classes) or ([] if problem == "regression" else [str(i) for i in range(max(columns, 2))])
        weights = np.ones(len(label)) if weight is None else _numbers("weight", weight)
        if weights.shape != label.shape:
            raise InputError(f"weight has shape {weights.shape} and label {label.shape}", "pass one weight a row")
        if cluster is not None:
            cluster = by_day(_series("cluster", cluster))
        table: dict[str, Any] = {
            ID: np.arange(len(label)) if ids is None else _series("ids", ids),
            LABEL: label,
            WEIGHT: weights,
        }
        for name, one in scores.items():
            table |= {f"{name}:{c}": one[:, i] for i, c in enumerate(names)} if one.ndim == 2 else {name: one}
        table |= {} if cluster is None else {CLUSTER: cluster}
        table |= {f"{SLICE_PREFIX}{name}": _series(f"slices.{name}", values) for name, values in slices.items()}
        try:
            rows = pl.DataFrame(table, strict=False)
        except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
            raise InputError(f"the arrays make no table: {error}", "pass arrays of one value a row") from error
        trivial = _trivial(problem, label, weights, columns) if baseline is None else _numbers("baseline", baseline)
        shape = (columns,) if problem == "multiclass" else ()
        if np.shape(trivial) != shape:
            raise InputError(
                f"baseline has shape {np.shape(trivial)}", f"pass {'one share a class' if shape else 'one number'}"
            )
        finite = np.isfinite(scores["candidate"])
        facts = Facts(
            problem=problem,
            classes=names,
            slices=list(slices),
            clustered_by="" if cluster is None else CLUSTER,
            rows=rows.height,
            candidate_digest="candidate",
            champion_digest="champion" if champion is not None else "",
            anchor_digest="anchor" if anchor is not None else "",
            baseline={"scores": list(map(float, trivial))} if shape else {"score": float(trivial)},
            sanity={
                "finite": bool(finite.all()),
                "not_constant": bool(len(label) and np.ptp(scores["candidate"], axis=0).max() > 0),
            },
            rows_digest=_table_digest(rows),
        )
        try:
            operations = Operations.model_validate({"latency_ms": dict(latency_ms or {})})
        except ValidationError as error:
            place = ".".join(map(str, error.errors()[0]["loc"]))
            raise InputError(
                f"{place}: {error.errors()[0]['msg']}", f"pass milliseconds by {', '.join(get_args(Model))}"
            ) from None
        content = [facts.model_dump_json(), operations.model_dump_json()]
        return cls(facts, rows, operations, digest("\n".join(content)))


def evidence_digest(folder: str | Path, operations: bool = False) -> str:
    """Digest of what the gate looks at: rows, facts and, when they are asked for and there, operations."""
    return digest_of_files(file_digests(folder), operations)


def file_digests(folder: str | Path) -> dict[str, str]:
    """Digest of each file that the gate may look at; operations are left out when there are none."""
    names = [*_ALWAYS, *([_OPERATIONS] if Path(folder, _OPERATIONS).exists() else [])]
    return {name: digest_file(Path(folder, name)) for name in names}


def digest_of_files(files: Mapping[str, str], operations: bool = False) -> str:
    """`evidence_digest`, of the digests of its files; others among them do not count.

    Raises:
        KeyError: The rows or the facts are missing.
    """
    names = [*_ALWAYS, *([_OPERATIONS] if operations and _OPERATIONS in files else [])]
    return digest(dumps([files[name] for name in names]))


def score_columns(model: Model, facts: Facts) -> list[str]:
    """Names of a model's score columns, in label order."""
    return [f"{model}:{name}" for name in facts.classes] if facts.problem == "multiclass" else [model]


def _read_rows(folder: str | Path) -> tuple[pl.DataFrame, int]:
    """The rows and, when they are a sample, of how many; see `MOST_ROWS`."""
    scanned = pl.scan_parquet(Path(folder, "rows.parquet"), glob=False)
    held = int(scanned.select(pl.len()).collect().item())
    if held <= MOST_ROWS:
        return scanned.collect(), 0
    drawn = scanned.filter(pl.col(ID).hash(seed=0) < MOST_ROWS * 2**64 // held)
    return drawn.collect(engine="streaming"), held


def by_day(values: pl.Series) -> pl.Series:
    """Values that say which rows belong together: dates and times count by their day."""
    return values.dt.date() if values.dtype in (pl.Date, pl.Datetime) else values


def _numbers(name: str, values: Any) -> Any:
    if np.ma.is_masked(values):
        raise InputError(f"{name} has masked values", "pass rows that all have one, or fill them with NaN")
    try:
        array = np.asarray(values)
        if np.iscomplexobj(array):
            raise TypeError("they are complex")
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} does not hold numbers: {error}",
            "pass labels as 0/1, class indices or values, and scores as numbers",
        ) from None


def _series(name: str, values: Any) -> pl.Series:
    """Values of one kind, one a row; what is neither number, text nor time counts as its text."""
    if np.ma.is_masked(values):
        raise InputError(f"{name} has masked values", "pass rows that all have one")
    try:
        made = pl.Series(name, values, strict=False)
        return pl.Series([str(one) for one in values]) if made.dtype == pl.Object else made
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name} holds no values by row: {error}", "pass one number, text or time a row") from None


def _check_index(given: Mapping[str, Any]) -> None:
    """Arrays are matched by position, and a reader of two series of pandas expects their indexes to match."""
    indexed = {name: one.index for name, one in given.items() if hasattr(one, "iloc")}
    first = next(iter(indexed), "")
    for name, index in indexed.items():
        if len(index) == len(indexed[first]) and not index.equals(indexed[first]):
            raise InputError(
                f"{name} has another index than {first}", "bring them into one order, or pass arrays with .to_numpy()"
            )


def _trivial(problem: Problem, label: Any, weight: Any, columns: int) -> Any:
    """Prevalence, mean or class shares by weight; NaN where there is nothing to take them from."""
    known = np.isfinite(label) & np.isfinite(weight) & (weight > 0)
    if not known.any():
        return [float("nan")] * columns if problem == "multiclass" else float("nan")
    if problem != "multiclass":
        return float(np.average(label[known], weights=weight[known]))
    return [float(np.average(label[known] == one, weights=weight[known])) for one in range(columns)]


def _table_digest(rows: pl.DataFrame) -> str:
    buffer = BytesIO()
    rows.write_ipc(buffer)
    return digest(buffer.getvalue())

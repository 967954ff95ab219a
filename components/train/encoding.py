"""From raw rows to what the network takes: category codes and scaled numbers. Learnt on training rows, kept with the model."""

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.names import listed
from kfp_ratchet.components.shared.split import moments
from kfp_ratchet.components.train.labels import as_text

MISSING, UNSEEN = 0, 1
"""Codes of a null and of a category that training did not know; known categories start at 2."""

_LIMIT = 10.0
# Squares of what lies between can neither overflow nor vanish.
_HUGE, _TINY = 1e100, 1e-100
_CYCLES_DAYS = {"day": 1.0, "week": 7.0, "year": 365.2425}
_DAY_MICROSECONDS = 86_400e6

Kind = Literal["category", "number", "moment", "clock"]


class Category(BaseModel):
    """A category column and its known values; their codes are their places plus 2."""

    model_config = ConfigDict(frozen=True)

    name: str
    values: tuple[str, ...]


class Scale(BaseModel):
    """How one number is standardised."""

    model_config = ConfigDict(frozen=True)

    name: str
    mean: float
    rate: float
    """1 / standard deviation; 0 for a column that was constant in training, which is thereby left out."""
    indicator: bool
    """Whether a column that says "missing" goes with it: only when training rows had missing values."""


class Encoder(BaseModel):
    """Preprocessing of a table: embedding codes for categories, standardised numbers for everything else.

    Strings, categoricals, enums and booleans are categories. Numbers are standardised, missing ones imputed by the mean and marked by
    an indicator. A date or datetime becomes days since 1970 and the phases (sine, cosine) of day, week and year.
    """

    model_config = ConfigDict(frozen=True)

    kinds: tuple[tuple[str, Kind], ...]
    """Feature columns in their order, and what each is read as."""
    categories: tuple[Category, ...]
    scales: tuple[Scale, ...]

    @classmethod
    def learn(cls, rows: pl.DataFrame, features: Sequence[str], min_category_rows: int) -> Self:
        """Learn categories and scales.

        Args:
            rows: Training rows.
            features: Columns to use, in their order.
            min_category_rows: Categories with fewer rows count as unseen, which is what trains the code for unseen ones.

        Raises:
            InputError: There is no feature, or one has a type that no model can take.
        """
        if not features:
            raise InputError("there are no feature columns", "every column has a role or is ignored; see columns")
        schema = rows.schema
        kinds = tuple((name, _kind(name, schema[name])) for name in features)
        return cls(
            kinds=kinds,
            categories=tuple(_category(rows[name], min_category_rows) for name, kind in kinds if kind == "category"),
            scales=tuple(_scale(series) for series in _numbers(rows, kinds)),
        )

    @property
    def cardinalities(self) -> list[int]:
        """Number of codes of each category column, the two reserved ones included."""
        return [len(category.values) + 2 for category in self.categories]

    @property
    def width(self) -> int:
        """Number of numeric inputs."""
        return len(self.scales) + sum(scale.indicator for scale in self.scales)

    def encode(self, rows: pl.DataFrame) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Codes, int64 of shape (n, categories), and numbers, float32 of shape (n, width).

        Raises:
            RatchetError: A feature is missing or cannot be read as what it was in training.
        """
        present = set(rows.columns)
        missing = [name for name, _ in self.kinds if name not in present]
        if missing:
            raise RatchetError(
                f"feature column {missing[0]!r} is missing (has: {listed(rows.columns)})",
                "the model takes the columns it was trained on",
            )
        codes = [_codes(rows[category.name], category.values) for category in self.categories]
        numbers = []
        for series, scale in zip(_numbers(rows, self.kinds), self.scales, strict=True):
            scaled = ((series - scale.mean) * scale.rate).clip(-_LIMIT, _LIMIT).fill_null(0.0)
            numbers.append(scaled.cast(pl.Float32).to_numpy())
            if scale.indicator:
                numbers.append(series.is_null().cast(pl.Float32).to_numpy())
        n = rows.height
        return (
            np.stack(codes, axis=1) if codes else np.zeros((n, 0), dtype=np.int64),
            np.stack(numbers, axis=1) if numbers else np.zeros((n, 0), dtype=np.float32),
        )


def _kind(name: str, dtype: pl.DataType) -> Kind:
    if dtype in (pl.String, pl.Boolean) or isinstance(dtype, pl.Categorical | pl.Enum):
        return "category"
    if dtype.is_numeric() or isinstance(dtype, pl.Duration) or dtype == pl.Null:
        return "number"
    if dtype == pl.Time:
        return "clock"
    if dtype.is_temporal():
        return "moment"
    raise InputError(
        f"feature column {name!r} holds {dtype}, which a table model cannot take",
        "turn it into numbers or text in prepare, or add it to columns.ignore",
    )


def _category(values: pl.Series, min_rows: int) -> Category:
    counts = as_text(values).drop_nulls().rename("value").value_counts(name="rows")
    return Category(name=values.name, values=tuple(counts.filter(pl.col("rows") >= min_rows)["value"].sort()))


def _codes(values: pl.Series, categories: Sequence[str]) -> np.ndarray[Any, Any]:
    known = as_text(values).cast(pl.Enum(categories), strict=False).to_physical().cast(pl.Int64) + 2
    codes = pl.select(pl.when(values.is_null()).then(MISSING).otherwise(known.fill_null(UNSEEN)).cast(pl.Int64))
    return codes.to_series().to_numpy()


def _numbers(rows: pl.DataFrame, kinds: Sequence[tuple[str, Kind]]) -> list[pl.Series]:
    """Every number of the rows as Float64, null where it is missing or not finite."""
    numbers: list[pl.Series] = []
    for name, kind in kinds:
        if kind == "category":
            continue
        # Alone: what a frame of thousands of columns takes to tell its schema, it would take for each of them.
        alone = rows[name].to_frame()
        try:
            numbers += alone.select(**_expressions(alone, name, kind)).get_columns()
        except (pl.exceptions.PolarsError, RatchetError) as error:
            raise RatchetError(
                f"feature column {name!r} holds {alone.schema[name]}, which cannot be read as a {kind}: "
                f"{str(error).splitlines()[0]}",
                "give it the type it had in training",
            ) from error
    return [series.set(~series.is_finite(), None).clip(-_HUGE, _HUGE) for series in numbers]


def _expressions(rows: pl.DataFrame, name: str, kind: Kind) -> dict[str, pl.Expr]:
    dtype, column = rows.schema[name], pl.col(name)
    if isinstance(dtype, pl.Duration):
        return {name: column.dt.total_microseconds() / 1e6}
    if kind == "number" or dtype == pl.Null:
        number = column.cast(pl.Float64)
        return {name: number} if kind == "number" else dict.fromkeys(_parts(name, kind), number)
    if kind == "clock":
        return _phases(name, column.cast(pl.Int64) / (_DAY_MICROSECONDS * 1000), ("day",))
    days = moments(rows, name).dt.epoch("us") / _DAY_MICROSECONDS
    return {name: days, **_phases(name, days, tuple(_CYCLES_DAYS))}


def _parts(name: str, kind: Kind) -> list[str]:
    cycles = ("day",) if kind == "clock" else tuple(_CYCLES_DAYS)
    return ([] if kind == "clock" else [name]) + list(_phases(name, pl.lit(0.0), cycles))


def _phases(name: str, days: pl.Expr, cycles: Sequence[str]) -> dict[str, pl.Expr]:
    angles = {cycle: days * (2 * np.pi / _CYCLES_DAYS[cycle]) for cycle in cycles}
    waves = (
        (f"{name}:{cycle}:sin", angle.sin(), f"{name}:{cycle}:cos", angle.cos()) for cycle, angle in angles.items()
    )
    return {key: wave for s, sine, c, cosine in waves for key, wave in ((s, sine), (c, cosine))}


def _scale(values: pl.Series) -> Scale:
    present = values.drop_nulls()
    deviation = float(present.std(ddof=0) or 0.0) if present.len() else 0.0  # type: ignore[arg-type]
    mean = float(present.mean() or 0.0)  # type: ignore[arg-type]
    constant = deviation <= max(_TINY, 1e-12 * abs(mean))
    return Scale(
        name=values.name, mean=mean, rate=0.0 if constant else 1 / deviation, indicator=values.null_count() > 0
    )

"""The model as MLflow serves it: a pandas frame of raw rows in, scores out."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow.pyfunc
import pandas as pd
import polars as pl
import polars.selectors as cs
from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR
from mlflow.models import ModelSignature
from mlflow.types.schema import AnyType, ColSpec, Schema

from kfp_ratchet.components._image import VERSION
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.model import Card, load_model
from kfp_ratchet.components.shared.model_folder import WORKLOAD
from kfp_ratchet.components.shared.split import iso_moments

if TYPE_CHECKING:
    from kfp_ratchet.components.train.workload import Workload

_TEXT = ("String", "Categorical", "Enum")
_WHOLE = ("Int", "UInt")
_BOOLEANS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


class Served(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """A saved workload behind MLflow's interface."""

    card: Card
    workload: "Workload"

    def load_context(self, context: Any) -> None:
        """Load card and workload from the model folder around the artifact."""
        folder = Path(context.artifacts["workload"]).parents[len(WORKLOAD.parts) - 1]
        # MLflow has just imported the folder's script, and Python left its bytecode beside it.
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
        self.card, self.workload = Card.read(folder), load_model(folder)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
        """Scores of raw rows: a list of floats, or one column a class for multiclass.

        Raises:
            RatchetError: A feature is missing or cannot be read as what it was in training.
        """
        scores = self.workload.predict(polars_rows(model_input, self.card.features))
        if scores.ndim == 2:
            return pd.DataFrame(scores, columns=self.card.classes)
        return scores.tolist()


def polars_rows(frame: pd.DataFrame, features: Mapping[str, str]) -> pl.DataFrame:
    """A pandas frame as polars rows with the features' types of the card; other columns are left out.

    JSON knows neither dates nor whole numbers that are missing, so values arrive as text, floats or objects.

    Args:
        frame: Raw rows.
        features: polars types by name.

    Raises:
        RatchetError: A feature is missing or cannot be read as its type.
    """
    missing = [name for name in features if name not in frame.columns]
    if missing:
        raise RatchetError(
            f"feature column {missing[0]!r} is missing (has: {', '.join(map(str, frame.columns))})",
            f"the model takes {', '.join(features)}",
        )
    return pl.DataFrame([_series(frame[name], name, dtype) for name, dtype in features.items()])


def signature(features: Mapping[str, str], classes: list[str], problem: str) -> ModelSignature:
    """The model's signature.

    Text is declared as text; everything else as any type, because MLflow would refuse a whole number for a double, a missing one
    for a long and a date as text before the model can convert it.
    """
    inputs = [ColSpec("string" if dtype.startswith(_TEXT) else AnyType(), name) for name, dtype in features.items()]
    outputs = [ColSpec("double", name) for name in classes] if problem == "multiclass" else [ColSpec("double")]
    return ModelSignature(Schema(inputs), Schema(outputs))


def save_pyfunc(folder: str | Path, saved: Path, card: Card, example: pl.DataFrame) -> None:
    """Write the MLflow model folder around what a workload saved.

    Args:
        folder: Where to; must not exist or be empty.
        saved: What `Workload.save` wrote.
        card: The model's card.
        example: A few raw rows of features, kept with the model.
    """
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    mlflow.pyfunc.save_model(
        folder,
        python_model=str(Path(__file__).with_name("served.py")),
        artifacts={"workload": str(saved)},
        input_example=_sayable(example).to_pandas(),
        signature=signature(card.features, card.classes, card.columns.problem),
        pip_requirements=[f"kfp-ratchet[train]=={VERSION}"],
    )
    # As MLflow wrote them, a missing value is NaN, which is no JSON.
    rows = _sayable(example)
    split = {"columns": rows.columns, "data": rows.rows()}
    for name, content in (("input_example", split), ("serving_input_example", {"dataframe_split": split})):
        Path(folder, f"{name}.json").write_text(json.dumps(content, indent=1, allow_nan=False, default=str))
    card.write(folder)


def _sayable(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with values that JSON and MLflow's schema know; `polars_rows` reads them back. MLflow writes a missing time as "NaT"."""
    rows = rows.with_columns(
        cs.datetime().dt.to_string("iso:strict"),
        cs.duration().dt.total_microseconds() / 1e6,
        cs.decimal().cast(pl.Float64),
        cs.by_dtype(pl.Date, pl.Time, pl.Categorical, pl.Enum).cast(pl.String),
    )
    return rows.with_columns(pl.when(cs.float().is_finite()).then(cs.float()))


def _series(values: pd.Series, name: str, dtype: str) -> pl.Series:
    try:
        try:
            series = pl.Series(name, pl.from_pandas(values, nan_to_null=True))
        except Exception:
            # A column of mixed objects, e.g. [true, null] or [1, "2"]: by way of text.
            series = pl.Series(name, [None if pd.isna(value) else str(value) for value in values], dtype=pl.String)
        return _cast(series, dtype)
    except pl.exceptions.PolarsError as error:
        raise RatchetError(
            f"feature column {name!r} cannot be read as {dtype}: {str(error).splitlines()[0]}",
            "send the type it had in training",
        ) from error


def _cast(series: pl.Series, dtype: str) -> pl.Series:
    if series.dtype == pl.Null or dtype == "Null":
        return series
    if dtype.startswith(_TEXT):
        return series.cast(pl.String)
    if dtype.startswith(_WHOLE):
        number = series.cast(pl.Float64) if series.dtype == pl.String else series
        whole = number.dtype.is_integer() or bool((number.drop_nulls() % 1 == 0).all())
        return number.cast(pl.Int64) if whole else number.cast(pl.Float64)
    if dtype.startswith(("Float", "Decimal")):
        return series.cast(pl.Float64)
    if dtype == "Boolean":
        if series.dtype == pl.Boolean:
            return series
        return series.cast(pl.String).str.to_lowercase().replace_strict(_BOOLEANS, return_dtype=pl.Boolean)
    if dtype.startswith("Datetime"):
        return _moments(series, dtype)
    if dtype == "Date":
        return _dates(series)
    if dtype == "Time" and series.dtype == pl.String:
        return series.str.to_time()
    if dtype.startswith("Duration") and series.dtype.is_numeric():
        return (series * 1e6).cast(pl.Duration("us"))
    return series


def _dates(series: pl.Series) -> pl.Series:
    """Dates; MLflow and pandas write them as datetimes at midnight."""
    if series.dtype != pl.String and not isinstance(series.dtype, pl.Datetime):
        return series.cast(pl.Date)
    moments = _moments(series, "Datetime")
    dates = moments.dt.date()
    strange = series.filter((moments != dates.cast(pl.Datetime("us"))).fill_null(False))
    if strange.len():
        raise pl.exceptions.InvalidOperationError(f"{strange[0]!s} is a time of day, not a date")
    return dates


def _moments(series: pl.Series, dtype: str) -> pl.Series:
    """Datetimes; with a time zone when training had one, then text without one counts as UTC."""
    if series.dtype == pl.String:
        read = series.to_frame().select(iso_moments(pl.col(series.name))).to_series()
        strange = series.filter(read.is_null() & series.is_not_null())
        if strange.len():
            raise pl.exceptions.InvalidOperationError(f"{strange[0]!r} is not an ISO date or time")
        series = read
    elif isinstance(series.dtype, pl.Datetime) and series.dtype.time_zone:
        series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    zone = re.search(r"time_zone='([^']+)'", dtype)
    naive = series.cast(pl.Datetime("us"))
    return naive.dt.replace_time_zone("UTC").dt.convert_time_zone(zone[1]) if zone else naive

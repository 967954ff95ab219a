"""The example's main job as one plain script, without pipeline, journal, ledger or report: what `pipeline_overhead.py` compares with.

    python benchmarks/bare_flights.py DATA SCRATCH

Reads, validates, joins, tunes (10 trials), fits, saves, scores, explains, decides, registers with MLflow, serves and asks: the same work
with the same libraries, the same network and the same seeds as `ratchet run` on examples/flights.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pyfunc
import numpy as np
import optuna
import pandas as pd
import polars as pl
from scipy.stats import rankdata

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.train.contexts import Pruned
from kfp_ratchet.components.train.tabular import Tabular
from kfp_ratchet.components.tune.space import read_space, suggest
from kfp_ratchet.components.tune.study import TrialContext, open_study
from kfp_ratchet.components.validate.schema import parse_schemas

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "flights"
TRIALS, SEED, RESAMPLES, REPEATS, SAMPLE = 10, 7, 2000, 5, 2000
SERVER = """
import sys, uvicorn
from mlflow.pyfunc import load_model, scoring_server
uvicorn.run(scoring_server.init(load_model(sys.argv[1])), fd=int(sys.argv[2]))
"""
COLUMNS = Columns(target="late", problem="binary", id="flight_id", time="time_hour", slices=("origin",))


class Served(mlflow.pyfunc.PythonModel):
    """The fitted network behind MLflow's interface."""

    def load_context(self, context: Any) -> None:
        self.model = Tabular.load(Path(context.artifacts["fitted"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> list[float]:
        return self.model.predict(pl.from_pandas(model_input)).tolist()


def auc(label: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve, by ranks."""
    positive = label > 0
    wins = rankdata(scores)[positive].sum() - positive.sum() * (positive.sum() + 1) / 2
    return float(wins / positive.sum() / (~positive).sum())


def read(data: Path) -> dict[str, pl.DataFrame]:
    """The three tables, as the schemas type them, rows that keep their schema."""
    schemas = parse_schemas(
        json.dumps({name: (EXAMPLE / f"schemas/{name}.yaml").read_text() for name in ("flights", "weather", "planes")}),
        ["flights", "weather", "planes"],
    )
    weather_types = {name: column.dtype.type for name, column in schemas["weather"].columns.items()}
    planes_types = {name: column.dtype.type for name, column in schemas["planes"].columns.items()}
    tables = {
        "flights": pl.read_parquet(data / "flights" / "*.parquet"),
        "weather": pl.read_csv(data / "weather" / "*.csv", schema_overrides=weather_types),
        "planes": pl.read_csv(data / "planes.csv", schema_overrides=planes_types),
    }
    for name, table in tables.items():
        try:
            schemas[name].validate(table, lazy=True)
        except Exception as error:
            bad = error.failure_cases["index"].drop_nulls().unique()
            tables[name] = table.with_row_index("row").filter(~pl.col("row").is_in(bad.implode())).drop("row")
    assert not tables["flights"].select("year", "month", "day", "carrier", "flight", "origin").is_duplicated().any()
    return tables


def fit(train: pl.DataFrame, tail: pl.DataFrame) -> Tabular:
    """Tune, then fit with the best hyperparameters."""
    study, space = open_study("bare", None), read_space(dict(Tabular.search_space()), "tabular")
    study.sampler = optuna.samplers.TPESampler(seed=SEED, n_startup_trials=5, multivariate=True)
    study.enqueue_trial({name: dimension.default for name, dimension in space.items()})

    def objective(trial: optuna.Trial) -> float:
        context = TrialContext(trial, SEED, "cpu")
        try:
            Tabular.fit(train, tail, COLUMNS, suggest(trial, space), context)
        except Pruned:
            raise optuna.TrialPruned from None
        return context.best

    study.optimize(objective, n_trials=TRIALS)
    final = TrialContext(optuna.create_study().ask(), SEED, "cpu")
    return Tabular.fit(train, tail, COLUMNS, study.best_params, final)


def main(data: Path, scratch: Path) -> None:
    """The whole job."""
    tables = read(data)
    rows = pl.SQLContext(tables).execute((EXAMPLE / "features.sql").read_text(), eager=True).sort("time_hour")
    moments = rows["time_hour"].str.to_datetime() if rows["time_hour"].dtype == pl.String else rows["time_hour"]
    judged = moments > moments.max() - timedelta(days=14)
    before, evaluate = rows.filter(~judged), rows.filter(judged)
    cut = round(0.85 * before.height)
    train, tail = before[:cut], before[cut:]
    model = fit(train, tail)

    features = COLUMNS.features(rows.columns)
    label, scores = evaluate["late"].to_numpy(), model.predict(evaluate)
    value = auc(label, scores)
    random = np.random.default_rng(SEED)
    draws = (random.integers(0, len(label), len(label)) for _ in range(RESAMPLES))
    low = np.quantile([auc(label[draw], scores[draw]) - 0.5 for draw in draws], 0.05)
    sample = evaluate.sample(SAMPLE, seed=SEED)
    known = sample["late"].to_numpy()
    for feature in features:
        for _ in range(REPEATS):
            auc(known, model.predict(sample.with_columns(sample[feature].shuffle())))

    fitted = scratch / "fitted"
    model.save(fitted)
    mlflow.set_tracking_uri(f"sqlite:///{scratch}/mlflow.db")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("flights", str(scratch / "mlartifacts")))
    with mlflow.start_run():
        mlflow.log_params(model.spec.parameters.model_dump())
        mlflow.log_metrics({"roc_auc": value, "low": low})
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=Served(),
            artifacts={"fitted": str(fitted)},
            pip_requirements=[],
            registered_model_name="flights",
        )
    if low <= 0:
        sys.exit(f"roc_auc {value:.3f}: not shown to be better than the trivial model")
    folder = mlflow.artifacts.download_artifacts(logged.model_uri, dst_path=str(scratch / "serving"))
    questions = evaluate.select(features).head(20).to_pandas()
    answers = serve_and_ask(folder, questions)
    assert np.allclose(answers, model.predict(pl.from_pandas(questions)), atol=1e-5)
    mlflow.MlflowClient().set_registered_model_alias("flights", "champion", logged.registered_model_version)
    print(f"roc_auc {value:.4f}, gain at least {low:.4f}, live")


def serve_and_ask(folder: str, questions: pd.DataFrame) -> list[float]:
    """Start MLflow's scoring app, ask it, stop it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        command = [sys.executable, "-c", SERVER, folder, str(listening.fileno())]
        server = subprocess.Popen(
            command,
            pass_fds=[listening.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        )
        try:
            time.sleep(0.1)
            body = json.dumps({"dataframe_split": json.loads(questions.to_json(orient="split", index=False))}).encode()
            request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=120) as response:
                return json.loads(response.read())["predictions"]
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

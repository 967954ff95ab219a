"""The train step: rows in, a model folder out."""

import contextlib
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from kfp_ratchet.components.shared.errors import RatchetError, disk_trouble
from kfp_ratchet.components.shared.journal import journal
from kfp_ratchet.components.shared.manifest import counted
from kfp_ratchet.components.shared.model import Card, load_model, model_digest, workload_class
from kfp_ratchet.components.shared.shown import Scalars, show
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.components.train import measures
from kfp_ratchet.components.train.baseline import baseline
from kfp_ratchet.components.train.contexts import Pruned, TrainContext
from kfp_ratchet.components.train.device import resolve_device
from kfp_ratchet.components.train.hyperparameters import parse_hyperparameters
from kfp_ratchet.components.train.labels import encode_target, row_weights
from kfp_ratchet.components.train.provenance import code_versions, fit_key
from kfp_ratchet.components.train.rows import FitRows, read_fit_rows
from kfp_ratchet.components.train.workload import Workload

_PROBE_ROWS = 5


def train_workload(
    dataset: str,
    dataset_uri: str,
    workload: str,
    columns: str,
    window: str,
    parameters: str,
    seed: int,
    device: str,
    store: str,
    model: str,
    model_uri: str,
    scalars: Scalars | None = None,
) -> None:
    """Fit a workload on the training window and write its model folder.

    Args:
        dataset: Folder of the model rows.
        dataset_uri: URI of the same.
        workload: `tabular` or `package.module:Class`.
        columns: `Columns` as JSON.
        window: `Window` as JSON.
        parameters: Hyperparameters as JSON.
        seed: Seed of every random choice.
        device: auto, cpu, cuda or cuda:N.
        store: URI of the store; "" keeps neither journal nor checkpoints.
        model: Folder to write.
        model_uri: URI of the same.
        scalars: Where metrics of the held-out tail are shown.

    Raises:
        InputError: A parameter is wrong, or the device is not there.
        RatchetError: The rows cannot be fitted, the fit diverges, or the workload fails.
    """
    called = {
        "workload": workload,
        "columns": columns,
        "window": window,
        "parameters": parameters,
        "seed": seed,
        "device": device,
    }
    with journal(store, model_uri, {"dataset": dataset_uri}, called) as step:
        kind = workload_class(workload)
        hyperparameters = parse_hyperparameters(parameters)
        data = read_fit_rows(dataset, columns, window)
        place = resolve_device(device)
        features = data.columns.features(data.rows.columns)
        step.progress(
            f"fitting {workload} on {counted(data.rows.height, 'row')} and {counted(len(features), 'feature')}, {place}"
        )
        context = TrainContext(
            seed,
            place,
            step.progress,
            Store(store) if store else None,
            fit_key(data, workload, seed, place, parameters=hyperparameters),
        )
        fitted = fit_named(kind, workload, data, hyperparameters, context)
        metrics = _probe(fitted, workload, data)
        card = _card(fitted, workload, data, hyperparameters, seed, place, metrics)
        step.progress("saving")
        _save(fitted, model, card, data.rows.select(features).head(_PROBE_ROWS))
        digest = model_digest(model)
        if scalars is not None:
            show(scalars, metrics)
        context.finish()
        shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        step.found(
            f"{workload} on {counted(card.rows, 'row')}, {counted(len(context.curve), 'epoch')} on {place}; {shown} on the held-out tail",
            workload=workload,
            curve=context.curve,
            device=place,
            rows=card.rows,
            tail_rows=data.tail.height,
            unlabelled_rows=data.unlabelled,
            features=features,
            parameters=hyperparameters,
            metrics=metrics,
            digest=digest,
        )


def fit_named(kind: type[Workload], name: str, data: FitRows, parameters: Mapping[str, Any], context: Any) -> Workload:
    """Fit a workload; an error of its own names the class and the remedy."""
    with blaming(name, "fit"), context.checkpoints.heeding_sigterm():
        return kind.fit(data.rows, data.tail, data.columns, parameters, context)


@contextlib.contextmanager
def blaming(workload: str, method: str) -> Iterator[None]:
    """Turn what a workload raises into a RatchetError that names it; the cause is kept.

    Raises:
        RatchetError: Always instead of another error; a RatchetError or Pruned passes through.
    """
    try:
        # Paths of store and registry may count from the working directory, which is not the workload's to change.
        with contextlib.chdir(Path.cwd()):
            yield
    except (RatchetError, Pruned):
        raise
    except Exception as error:
        raise RatchetError(
            f"workload {workload} failed in {method}: {type(error).__name__}: {error}",
            disk_trouble(error) or "fix the workload; kfp_ratchet.testing.check_workload finds most such faults",
        ) from error


def _probe(fitted: Workload, workload: str, data: FitRows) -> dict[str, float]:
    """Scores of the tail, checked: a model that cannot be served must not leave this step."""
    with blaming(workload, "predict"):
        scores = fitted.predict(data.tail.drop(data.columns.target))
    n, classes = data.tail.height, fitted.classes
    shape = (n, len(classes)) if data.columns.problem == "multiclass" else (n,)
    if scores.shape != shape:
        raise RatchetError(f"workload {workload} gave scores of shape {scores.shape}, not {shape}", "fix its predict")
    if not np.isfinite(scores).all():
        bad = int((~np.isfinite(scores)).sum())
        raise RatchetError(
            f"workload {workload} gave {counted(bad, 'NaN or infinite score')} on {counted(n, 'row')}",
            "fix its predict",
        )
    label = encode_target(data.tail[data.columns.target], classes)
    known = np.isfinite(label)
    weight = row_weights(data.tail, data.columns)[known]
    if not known.any() or not weight.sum() > 0:
        return {}
    problem = data.columns.problem
    found = {
        "loss": measures.loss(problem, label[known], scores[known], weight),
        **measures.score(problem, label[known], scores[known]),
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _card(
    fitted: Workload,
    workload: str,
    data: FitRows,
    parameters: dict[str, Any],
    seed: int,
    device: str,
    metrics: dict[str, float],
) -> Card:
    every = data.all
    features = data.columns.features(every.columns)
    return Card(
        workload=workload,
        parameters=parameters,
        columns=data.columns,
        features={name: str(dtype) for name, dtype in every.select(features).schema.items()},
        classes=list(fitted.classes),
        revision=data.dataset.revision,
        window=data.window.model_dump(mode="json"),
        split_rule=data.rule,
        rows=every.height,
        seed=seed,
        device=device,
        code=code_versions(type(fitted)),
        metrics=metrics,
        baseline=baseline(every, features),
    )


def _save(fitted: Workload, model: str, card: Card, example: pl.DataFrame) -> None:
    """Write the model folder, and read it back once: what cannot be loaded must not leave this step."""
    from kfp_ratchet.components.train.pyfunc import save_pyfunc

    with tempfile.TemporaryDirectory() as scratch:
        saved = Path(scratch, "workload")
        saved.mkdir()
        with blaming(card.workload, "save"):
            fitted.save(saved)
        save_pyfunc(model, saved, card, example)
    with blaming(card.workload, "load"):
        again = load_model(model).predict(example)
    if not np.allclose(again, fitted.predict(example), rtol=1e-5, atol=1e-6):
        raise RatchetError(f"workload {card.workload} scores differently after save and load", "fix its save and load")

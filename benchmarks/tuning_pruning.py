"""What pruning saves: epochs of a study with and without it, to the same validation loss, on a quarter of the flights up to June.

    python benchmarks/tuning_pruning.py [--trials 10] [--seeds 10]

Studies are the step's own (`run_trials`: same sampler, same seeds, the defaults tried first) and differ in the pruner only; fits stop early
in all of them. A fit is a function of its hyperparameters and seed, so each is computed once, and its curve replayed to every study that
draws it. A study *reaches* a loss when a complete trial is within the tolerance of it; a pruned study may go on to three times the trials.
"""

import argparse
import math
import os
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import optuna
import polars as pl
import torch
from june import COLUMNS, june
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)
from results import keep
from scipy.stats import spearmanr

from kfp_ratchet.components.train.contexts import TrainContext
from kfp_ratchet.components.train.tabular import Parameters, Tabular
from kfp_ratchet.components.tune.space import read_space
from kfp_ratchet.components.tune.study import TrialContext, open_study, run_trials

SHARE, TOLERANCE, AIM = 4, 0.001, 3.0
EPOCHS = Parameters().epochs


@dataclass(frozen=True)
class Way:
    """A pruner, and from which epoch on it is asked."""

    name: str
    pruner: Callable[[], BasePruner]
    first_epoch: int = 3


WITHOUT = Way("no pruning", NopPruner)
OWN = Way("**25 %, from epoch 3** (the step's)", lambda: PercentilePruner(25.0, n_startup_trials=1))
OTHERS = (
    Way("25 %, from epoch 2", lambda: PercentilePruner(25.0, n_startup_trials=1), 2),
    Way("median after 5 trials, from epoch 2", lambda: MedianPruner(n_startup_trials=5), 2),
    Way("successive halving, 2 epochs, a third", lambda: SuccessiveHalvingPruner(2, 3, 0), 1),
    Way("hyperband, a third", lambda: HyperbandPruner(1, EPOCHS, 3), 1),
)


class Fits:
    """Learning curves, each computed once."""

    def __init__(self) -> None:
        of_quarter = pl.col("flight_id").hash(seed=1) % SHARE == 0
        self.rows, self.tail = (rows.filter(of_quarter) for rows in june())
        self.curves: dict[str, list[float]] = {}

    def curve(self, parameters: Mapping[str, Any], seed: int) -> list[float]:
        """Validation loss after each epoch, until the fit stops early."""
        key = f"{seed} {sorted(parameters.items())}"
        if key not in self.curves:
            context = TrainContext(seed, "cpu", lambda line: None)
            Tabular.fit(self.rows, self.tail, COLUMNS, parameters, context)
            self.curves[key] = [epoch["loss"] for epoch in context.curve]
        return self.curves[key]


@dataclass(frozen=True)
class Ran:
    """A study trial by trial: epochs spent so far, and the best loss of its complete trials so far."""

    epochs: list[int]
    best: list[float]

    def until(self, loss: float) -> float:
        """Epochs spent until it reaches a loss; infinite if it never does."""
        return next((e for e, b in zip(self.epochs, self.best, strict=True) if b <= loss + TOLERANCE), math.inf)


def search(way: Way, fits: Fits, trials: int, seed: int, target: float | None = None) -> Ran:
    """Run a study; when it ends without having reached the target, on and on up to three times its trials."""
    study = open_study(f"{way.name} {seed}", None)
    study.pruner = way.pruner()

    def fit(parameters: Mapping[str, Any], context: TrialContext) -> None:
        for epoch, loss in enumerate(fits.curve(parameters, seed), start=1):
            context.report(epoch, {"loss": loss}, EPOCHS)

    space, most = read_space(dict(Tabular.search_space()), ""), trials if target is None else 3 * trials
    with patch.multiple("kfp_ratchet.components.tune.study", _WARM_UP_EPOCHS=way.first_epoch, _WARM_UP_SHARE=0.0):
        for wanted in range(trials, most + 1):
            ran = told(run_trials(study, space, {}, fit, wanted, seed, "cpu", lambda line: None))
            if target is not None and ran.until(target) < math.inf:
                break
    return ran


def told(study: optuna.Study) -> Ran:
    """The study trial by trial."""
    epochs, best = [0], [math.inf]
    for trial in study.trials:
        complete = trial.state == optuna.trial.TrialState.COMPLETE
        epochs.append(epochs[-1] + len(trial.intermediate_values))
        best.append(min(best[-1], trial.value if complete and trial.value is not None else math.inf))
    return Ran(epochs[1:], best[1:])


def row(way: Way, fits: Fits, plain: list[Ran], trials: int) -> str:
    """A line of the table: medians over seeds."""
    pairs = [(ran, search(way, fits, trials, seed, ran.best[-1])) for seed, ran in enumerate(plain)]
    spent = [pruned.epochs[trials - 1] for _, pruned in pairs]
    whole = [ran.epochs[-1] / epochs for (ran, _), epochs in zip(pairs, spent, strict=True)]
    reach = [ran.until(ran.best[-1]) / pruned.until(ran.best[-1]) for ran, pruned in pairs]
    worse = sorted(pruned.best[trials - 1] - ran.best[-1] for ran, pruned in pairs)
    return (
        f"| {way.name} | {statistics.median(spent):.0f} | {statistics.median(whole):.2f}x | "
        f"{EPOCHS * trials / statistics.median(spent):.2f}x | {statistics.median(reach):.2f}x | "
        f"{statistics.median(worse):+.4f} [{worse[0]:+.4f}, {worse[-1]:+.4f}] |"
    )


def told_by(epoch: int, fits: Fits) -> float:
    """Rank correlation of the best loss after so many epochs with the one at the end, over all fits."""
    curves = list(fits.curves.values())
    return float(spearmanr([min(curve[:epoch]) for curve in curves], [min(curve) for curve in curves]).statistic)


def why(fits: Fits, plain: list[Ran]) -> str:
    """What keeps it from saving more."""
    alone = statistics.mean(map(len, fits.curves.values()))
    told = ", ".join(f"{told_by(epoch, fits):.2f}" for epoch in (1, 2, 3, 4))
    places = [next(i for i, loss in enumerate(ran.best, start=1) if loss <= ran.best[-1] + TOLERANCE) for ran in plain]
    return (
        f"Why not more: a fit stops early after {alone:.1f} epochs by itself, and the first ones say little: ranks of the best loss so far "
        f"correlate with those at the end by {told} after 1, 2, 3, 4 epochs. Without pruning, trial {statistics.median(places):.0f} "
        f"(median; the first in {places.count(1)} of {len(plain)} studies) is within the tolerance of the study's end, before pruning has "
        "much to prune."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    fits = Fits()
    plain = [search(WITHOUT, fits, options.trials, seed) for seed in range(options.seeds)]
    best = sorted(ran.best[-1] for ran in plain)
    lines = [
        f"{os.cpu_count()} cores; {fits.rows.height:,} rows, {options.trials} trials, medians of {options.seeds} seeds; aim {AIM:.0f}x. "
        f"Without pruning a study spends {statistics.median(ran.epochs[-1] for ran in plain):.0f} epochs (fits stop early, at most "
        f"{EPOCHS} each) and ends with a loss of {statistics.median(best):.4f} [{best[0]:.4f}, {best[-1]:.4f}].",
        "",
        "| pruner | epochs | fewer in all | than without early stopping either | fewer to the same loss | loss at the end minus without |",
        "|---|---|---|---|---|---|",
        *(row(way, fits, plain, options.trials) for way in (OWN, *OTHERS)),
        "",
        why(fits, plain),
    ]
    keep("tuning_pruning.py", "\n".join(lines))


if __name__ == "__main__":
    main()

"""Which interval the gate should use, and what it saves: false promotions of an equally good model.

    python benchmarks/gate_interval.py [--draws 1000]

Draws samples from a population in which the true gain is known, and prints for each metric and kind of interval how often each nominal
95 % end misses it (5 % is right). For models of equal quality it also prints how often the gate's rule (lower end above 0) and the
rule `candidate > champion` promote. Rewrites its part of RESULTS.md.
"""

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
from results import keep
from scipy.stats import norm

from kfp_ratchet.components.gate.bootstrap import resample
from kfp_ratchet.components.gate.metrics import score
from kfp_ratchet.components.gate.policy import METRICS

RESAMPLES = 1000
POPULATION = 400_000
Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


def binary(rng: np.random.Generator, n: int, boldness: float = 1.0) -> Sample:
    """Labels, candidate's and champion's probabilities: one signal, noise of their own; the candidate may be overconfident."""
    signal = rng.normal(size=n)
    label = (rng.random(n) < 1 / (1 + np.exp(-1.5 * signal + 1))).astype(float)
    logits = [1.2 * signal - 0.8 + 0.6 * rng.normal(size=n) for _ in range(2)]
    candidate, champion = (
        1 / (1 + np.exp(-logit * scale)) for logit, scale in zip(logits, (boldness, 1.0), strict=True)
    )
    return label, candidate, champion


def heavy_tailed(rng: np.random.Generator, n: int) -> Sample:
    """Values with Student-t(3) noise, and two predictions of equal quality."""
    signal = rng.normal(size=n)
    value = signal + 0.5 * rng.standard_t(3, size=n)
    return value, signal + 0.4 * rng.normal(size=n), signal + 0.4 * rng.normal(size=n)


CASES: dict[str, tuple[str, int, Callable[[np.random.Generator, int], Sample]]] = {
    "roc_auc, equal models, 500 rows": ("roc_auc", 500, binary),
    "average_precision, equal models, 500 rows": ("average_precision", 500, binary),
    "rmse, equal models, heavy tails, 500 rows": ("rmse", 500, heavy_tailed),
    "log_loss, overconfident candidate, 1,000 rows": ("log_loss", 1000, lambda rng, n: binary(rng, n, 3.0)),
    "log_loss, overconfident candidate, 250 rows": ("log_loss", 250, lambda rng, n: binary(rng, n, 3.0)),
}


def gain(metric: str, sample: Sample, weight: np.ndarray) -> float:
    label, candidate, champion = sample
    sign = 1 if METRICS[metric].greater_is_better else -1
    return sign * (score(metric, label, candidate, weight) - score(metric, label, champion, weight))


def ends(metric: str, sample: Sample, seed: int) -> dict[str, tuple[float, float, float]]:
    """Low and high end by kind of interval, and the estimate."""
    from kfp_ratchet.components.gate.metrics import prepare

    label, candidate, champion = sample
    ones = np.ones(len(label))
    sign = 1 if METRICS[metric].greater_is_better else -1
    statistics = [prepare(metric, label, candidate), prepare(metric, label, champion)]
    own, other = resample(statistics, ones, RESAMPLES, seed)
    gains, value = sign * (own - other), gain(metric, sample, ones)
    low, high = np.quantile(gains, [0.05, 0.95])
    spread = 1.645 * gains.std(ddof=1)
    # BCa (DiCiccio & Efron 1996): bias from the share below the estimate, acceleration from a jackknife.
    weights = 1 - np.eye(len(label))
    jack = sign * (statistics[0](weights) - statistics[1](weights))
    centred = jack.mean() - jack
    acceleration = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
    bias = norm.ppf(np.clip((gains < value).mean(), 1e-3, 1 - 1e-3))
    shifted = [norm.cdf(bias + (bias + z) / (1 - acceleration * (bias + z))) for z in (-1.645, 1.645)]
    corrected = np.quantile(gains, shifted)
    return {
        "percentile": (low, high, value),
        "basic": (2 * value - high, 2 * value - low, value),
        "normal": (value - spread, value + spread, value),
        "BCa": (corrected[0], corrected[1], value),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=1000, help="samples a case")
    draws = parser.parse_args().draws
    began = time.monotonic()
    missed = ["| case | interval | truth below low end | truth above high end |", "|---|---|---|---|"]
    promoted = ["| equal models | `candidate > champion` | gate | ratio |", "|---|---|---|---|"]
    for case, (metric, n, draw) in CASES.items():
        whole = draw(np.random.default_rng(0), POPULATION)
        truth = 0.0 if "equal" in case else gain(metric, whole, np.ones(POPULATION))
        found = [ends(metric, draw(np.random.default_rng(1 + seed), n), seed) for seed in range(draws)]
        for kind in found[0]:
            below = np.mean([each[kind][0] > truth for each in found])
            above = np.mean([each[kind][1] < truth for each in found])
            missed.append(f"| {case} | {kind} | {below:.1%} | {above:.1%} |")
        if "equal" in case:
            naive = np.mean([each["percentile"][2] > 0 for each in found])
            gate = np.mean([each["percentile"][0] > 0 for each in found])
            promoted.append(f"| {case} | {naive:.1%} | {gate:.1%} | {naive / max(gate, 1 / draws):.1f}x |")
    text = "\n".join(
        [
            f"{draws} samples a case, {RESAMPLES} resamples; Monte-Carlo error about {1.96 * (0.05 * 0.95 / draws) ** 0.5:.1%} at 5 %.",
            f"{os.cpu_count()} cores, {time.monotonic() - began:.0f} s.",
            "",
            *promoted,
            "",
            *missed,
        ]
    )
    keep("gate_interval.py", text)


if __name__ == "__main__":
    main()

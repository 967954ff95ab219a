"""Rows and pairs of models whose true difference is known: what gate_statistics.py draws from."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy.special import expit

from kfp_ratchet.components.gate.intervals import Estimated, Sampling, measure
from kfp_ratchet.components.gate.metric_kinds import METRICS, kind, parse
from kfp_ratchet.components.gate.metrics import Array, prepare

POPULATION = 200_000
COST = [[0.0, 1.0], [4.0, 0.0]]
_RARE = {"binary": (0.15, 6.0, 0.35), "regression": (0.03, 2.5, 0.3)}
"""How the unlike candidate errs: on which share of the rows, how much there, how much elsewhere."""


@dataclass(frozen=True)
class Design:
    """A way to draw labels and two models' scores.

    Both models see the same signal with noise; `correlation` of it is common. `unlike`: the candidate errs rarely and much, the
    champion often and little. With clusters, each model has noise and a noise level of its own in every cluster.
    """

    problem: str
    rows: int
    correlation: float = 0.5
    prevalence: float = 0.3
    candidate: float = 1.0
    """Size of the candidate's noise; 1 is as good as the champion, 0 as good as can be."""
    champion: float = 1.0
    unlike: bool = False
    tails: float = 3.0
    """Degrees of freedom of a regression label's noise. Below 4 its squares have no variance: hard for every method."""
    clusters: int = 0
    uneven: float = 0.0
    """Standard deviation of the logarithm of the clusters' sizes."""
    within: float = 0.0
    """Share of the noise that is common to a cluster."""

    @property
    def title(self) -> str:
        parts = [f"{self.rows:,} rows", f"correlation {self.correlation:g}"]
        if self.problem == "binary":
            parts.append(f"{self.prevalence:.0%} positive")
        if self.clusters:
            parts.append(f"{self.clusters} {'uneven' if self.uneven else 'even'} clusters")
        if self.unlike:
            parts.append("errors of another make")
        return ", ".join(parts)

    def draw(self, rng: np.random.Generator) -> tuple[Array, Array, Array, np.ndarray | None]:
        """Labels, candidate's and champion's scores, cluster codes; at least 20 rows of either class, as the gate asks for."""
        while True:
            label, candidate, champion, cluster = self._draw(rng)
            if self.problem != "binary" or min(label.sum(), len(label) - label.sum()) >= 20:
                return label, candidate, champion, cluster

    def _draw(self, rng: np.random.Generator) -> tuple[Array, Array, Array, np.ndarray | None]:
        cluster = self._cluster(rng) if self.clusters else None
        n = self.rows if cluster is None else len(cluster)
        signal, common = rng.normal(size=n), rng.normal(size=n)
        noises = [self._noise(rng, common, cluster) for _ in range(2)]
        errors = [self.candidate * noises[0], self.champion * noises[1]]
        if self.unlike:
            share, large, small = _RARE[self.problem]
            errors[0] = np.where(rng.random(n) < share, large * rng.normal(size=n), small * noises[0])
        if self.problem == "regression":
            scores = [signal + 0.4 * error if not self.unlike else signal + error for error in errors]
            return signal + 0.5 * rng.standard_t(self.tails, size=n), *scores, cluster
        base = np.log(self.prevalence / (1 - self.prevalence)) * 1.35
        label = (rng.random(n) < expit(1.5 * signal + base)).astype(float)
        return label, *(expit(0.84 * (signal + error) + base) for error in errors), cluster

    def _noise(self, rng: np.random.Generator, common: Array, cluster: np.ndarray | None) -> Array:
        noise = np.sqrt(self.correlation) * common + np.sqrt(1 - self.correlation) * rng.normal(size=len(common))
        if cluster is None:
            return noise
        own = np.sqrt(self.within) * rng.normal(size=self.clusters)[cluster] + np.sqrt(1 - self.within) * noise
        return own * np.exp(self.within * rng.normal(size=self.clusters))[cluster]

    def _cluster(self, rng: np.random.Generator) -> np.ndarray:
        sizes = np.exp(self.uneven * rng.normal(size=self.clusters) - self.uneven**2 / 2)
        return np.repeat(
            np.arange(self.clusters), np.maximum(1, np.round(self.rows / self.clusters * sizes)).astype(int)
        )

    def true_gain(self, metric: str) -> float:
        """The gain on so many rows that chance hardly matters; always the same ones."""
        label, candidate, champion, _ = replace(self, rows=POPULATION, clusters=0).draw(np.random.default_rng(5))
        ones = np.ones((1, POPULATION))
        own, other = (prepare(metric, label, scores, COST)(ones)[0] for scores in (candidate, champion))
        return float(kind(metric).sign * (own - other))

    def equal(self, metric: str) -> Self:
        """The same with a champion as good as the unlike candidate; ValueError when no noise makes it so."""
        return replace(self, champion=_solve(lambda noise: replace(self, champion=noise).true_gain(metric), 0.02, 4.0))

    def better(self, metric: str, gain: float) -> Self:
        """The same with a candidate that is truly better by a gain; ValueError when no candidate is."""
        base = self.true_gain(metric)
        noise = _solve(lambda noise: base + gain - replace(self, candidate=noise).true_gain(metric), 0.0, 1.0)
        return replace(self, candidate=noise)


def judged(design: Design, metrics: list[str], rng: np.random.Generator) -> dict[str, dict[str, Estimated]]:
    """What the gate measures on one draw: by metric, "candidate", "champion" and "gain"."""
    label, candidate, champion, cluster = design.draw(rng)
    sampling = Sampling(np.ones(len(label)), cluster, resamples=400, seed=int(rng.integers(2**32)))
    return {
        metric: measure(
            {
                "candidate": prepare(metric, label, candidate, COST),
                "champion": prepare(metric, label, champion, COST),
            },
            {"gain": ("candidate", "champion", kind(metric).sign)},
            sampling,
        )
        for metric in metrics
    }


def fits(metric: str, problem: str) -> bool:
    return problem in METRICS[parse(metric).base].problems


def _solve(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function crosses zero."""
    if not rising(low) < 0 < rising(high):
        raise ValueError("out of reach")
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2

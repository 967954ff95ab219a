"""Bootstrap: a metric's values on rows, or whole clusters of rows, drawn with replacement (Efron & Tibshirani 1993).

All statistics are computed on the same draws, so that what is hard for both models cancels out of their difference.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kfp_ratchet.components.gate.metrics import Array, Statistic

_CHUNK_CELLS = 400_000
"""Weights held at once, about 3 MB: memory stays bounded, and a chunk fits the processor's cache."""


def resample(
    statistics: Sequence[Statistic],
    weight: Array,
    resamples: int,
    seed: int,
    cluster: npt.NDArray[np.int64] | None = None,
) -> Array:
    """Values of each statistic on the same bootstrap resamples.

    Args:
        statistics: Prepared metrics of the same n rows, from `metrics.prepare`.
        weight: Weight of each row, shape (n,).
        resamples: How many.
        seed: The same seed draws the same rows, on every machine.
        cluster: Codes 0..G-1, shape (n,): draw G of the G clusters with all their rows. None: draw n of the n rows.

    Returns:
        Shape (statistics, resamples); NaN where a metric is undefined.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    n = len(weight)
    units = n if cluster is None else int(cluster.max()) + 1
    values = np.empty((len(statistics), resamples))
    chunk = max(1, _CHUNK_CELLS // n)
    for start in range(0, resamples, chunk):
        stop = min(start + chunk, resamples)
        weights = np.empty((stop - start, n))
        for row in weights:
            counts = np.bincount(rng.integers(0, units, units, dtype=np.int32), minlength=units)
            row[:] = counts if cluster is None else counts[cluster]
        weights *= weight
        for index, statistic in enumerate(statistics):
            values[index, start:stop] = statistic(weights)
    return values


def without_each(statistics: Sequence[Statistic], weight: Array, cluster: npt.NDArray[np.int64]) -> Array:
    """Values of each statistic on all rows but those of one cluster (the jackknife), shape (statistics, clusters)."""
    clusters = int(cluster.max()) + 1
    values = np.empty((len(statistics), clusters))
    chunk = max(1, _CHUNK_CELLS // len(weight))
    for start in range(0, clusters, chunk):
        left_out = np.arange(start, min(start + chunk, clusters))
        weights = weight * (cluster != left_out[:, None])
        for index, statistic in enumerate(statistics):
            values[index, left_out] = statistic(weights)
    return values

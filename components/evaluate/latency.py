"""How long does one row take from raw values to score?"""

import time
from collections.abc import Mapping

import polars as pl

from kfp_ratchet.components.evaluate.contender import Contender
from kfp_ratchet.components.evaluate.probing import spread_out
from kfp_ratchet.components.shared.evidence import Model

_WARM_UP = 5
_WANTED = 100
_LEAST = 20
_MOST = 400
_SECONDS = 0.5
"""As many samples as fit, but at least `_WANTED`."""
_CAP_SECONDS = 10.0
"""After which `_LEAST` samples have to do."""


def latencies(models: Mapping[Model, Contender], rows: pl.DataFrame) -> dict[Model, list[float]]:
    """Samples of the time that one row takes, milliseconds, by model.

    Models take turns on each row, so that what disturbs this machine meanwhile disturbs all of them.

    Args:
        models: The models, loaded.
        rows: Raw rows to ask about.
    """
    picked = spread_out(rows.height, _WARM_UP + _MOST)
    samples: dict[Model, list[float]] = {name: [] for name in models}
    began = time.perf_counter()
    for turn in range(_WARM_UP + _MOST):
        single = rows[[int(picked[turn % len(picked)])]]
        for name, model in models.items():
            asked = time.perf_counter()
            model.scores(single)
            samples[name].append(round(1000 * (time.perf_counter() - asked), 4))
        taken, spent = turn + 1 - _WARM_UP, time.perf_counter() - began
        if (taken >= _WANTED and spent > _SECONDS) or (taken >= _LEAST and spent > _CAP_SECONDS):
            break
    return {name: found[_WARM_UP:] for name, found in samples.items()}

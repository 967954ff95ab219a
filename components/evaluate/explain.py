"""Which features does a candidate go by?"""

from operator import itemgetter
from typing import Any

import numpy as np
import polars as pl

from kfp_ratchet.components.evaluate.contender import Array, Contender
from kfp_ratchet.components.evaluate.probing import spread_out
from kfp_ratchet.components.gate.metric_kinds import DEFAULT_METRIC, METRICS
from kfp_ratchet.components.gate.metrics import score

_REPEATS = 5
_T = 2.776445
"""97.5 % quantile of Student's t with `_REPEATS - 1` degrees of freedom; scipy, which knows others, takes seconds to import."""
_ROWS = 2000
_LEAST_ROWS = 200
_SCORED_ROWS = 200_000
"""Rows scored in all for the importance of features, so that a wide table costs no more than a narrow one."""
_FEATURES = 20


def importance(
    model: Contender, rows: pl.DataFrame, label: Array, weight: Array, classes: list[str]
) -> list[dict[str, Any]]:
    """Permutation importance: how much worse the model gets when one feature is shuffled (Breiman 2001).

    In the problem's default metric, positive is worse; on an even sample of the rows. The most important features only.

    Returns:
        `feature`, `importance` (mean over the shuffles), `low` and `high` (its 95 % t interval over the shuffles: the chance of the
        shuffling, not that of the rows), largest first; empty where the metric is undefined.
    """
    features = list(model.card.features)
    most = min(_ROWS, max(_LEAST_ROWS, _SCORED_ROWS // (_REPEATS * max(len(features), 1))))
    picked = spread_out(rows.height, most)
    sample, label, weight = model.raw(rows)[picked], label[picked], weight[picked]
    metric = DEFAULT_METRIC[model.card.columns.problem]
    sign = METRICS[metric].sign

    def goodness(shuffled: pl.DataFrame) -> float:
        return sign * score(metric, label, model.aligned(shuffled, classes), weight)

    whole = goodness(sample)
    if not np.isfinite(whole):
        return []
    random = np.random.default_rng(0)
    found = []
    for feature in features:
        losses = [
            whole - goodness(sample.with_columns(sample[feature][random.permutation(sample.height)]))
            for _ in range(_REPEATS)
        ]
        if np.isfinite(losses).all():
            mean, reach = float(np.mean(losses)), _T * float(np.std(losses, ddof=1)) / _REPEATS**0.5
            found.append({"feature": feature, "importance": mean, "low": mean - reach, "high": mean + reach})
    return sorted(found, key=itemgetter("importance"), reverse=True)[:_FEATURES]

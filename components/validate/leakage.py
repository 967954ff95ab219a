"""Features that know the answer: how well each numeric column alone tells the target.

AUC by ranks (Hanley & McNeil 1982, the Mann-Whitney statistic) for classes, Spearman's rank correlation for a number. Both see only
order, so no scale or skew hides a leak.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from kfp_ratchet.components.shared.columns import Columns

_MIN_ROWS = 30
_MIN_EACH_SIDE = 5
_MAX_CLASSES = 50


@dataclass(frozen=True)
class Association:
    """How well one feature alone tells the target: AUC max(a, 1 - a), or |Spearman|; 1 is perfect."""

    feature: str
    measure: Literal["AUC", "|Spearman|"]
    value: float
    of_class: str = ""
    """Multiclass: the class it tells from the rest."""

    def sentence(self) -> str:
        """For people."""
        about = f" for class {self.of_class!r}" if self.of_class else ""
        return f"{self.feature!r} alone has {self.measure} {self.value:.4f}{about}"


def associations(rows: pl.DataFrame, columns: Columns) -> list[Association]:
    """Association of each numeric or boolean feature with the target, strongest first.

    Missing and non-finite values are left out. A feature is not judged on fewer than 30 rows, a class on fewer than 5 on either side:
    a few rows are in perfect order by chance.

    Args:
        rows: Model rows, shape (n, columns).
        columns: Roles; nothing is judged when the target is not a column of `rows`.
    """
    if columns.target not in rows.columns:
        return []
    features = [
        name
        for name in columns.features(rows.columns)
        if rows.schema[name].is_numeric() or rows.schema[name] == pl.Boolean
    ]
    if not features:
        return []
    if columns.problem == "regression":
        return _ranked(_spearman(rows, features, columns.target))
    return _ranked(_auc(rows, features, columns))


def _spearman(rows: pl.DataFrame, features: list[str], target: str) -> list[Association]:
    goal = pl.col(target).cast(pl.Float64)
    queries = []
    for name in features:
        valid = _finite(name) & goal.is_finite()
        value = pl.corr(_number(name).filter(valid), goal.filter(valid), method="spearman").abs()
        queries.append(pl.when(valid.sum() >= _MIN_ROWS).then(value).alias(name))
    found = rows.select(queries).row(0, named=True)
    return [Association(name, "|Spearman|", value) for name, value in found.items() if _is_number(value)]


def _auc(rows: pl.DataFrame, features: list[str], columns: Columns) -> list[Association]:
    counts = rows[columns.target].drop_nulls().value_counts(sort=True)
    classes = counts[columns.target].to_list()
    if columns.problem == "binary":
        # Which of two classes is positive does not matter here: an AUC and its mirror image tell the same.
        classes = [value for value in classes if str(value) == str(columns.positive)] or classes[:1]
    strongest = []
    for value in classes[:_MAX_CLASSES]:
        found = rows.select(_auc_of(name, pl.col(columns.target) == value) for name in features)
        label = str(value) if columns.problem == "multiclass" else ""
        strongest += [
            Association(name, "AUC", max(auc, 1 - auc), label)
            for name, auc in found.row(0, named=True).items()
            if _is_number(auc)
        ]
    return strongest


def _auc_of(feature: str, positive: pl.Expr) -> pl.Expr:
    valid = _finite(feature) & positive.is_not_null()
    label = positive.filter(valid)
    ranks = _number(feature).filter(valid).rank("average")
    ones = label.sum().cast(pl.Float64)
    zeros = label.len() - ones
    auc = (ranks.filter(label).sum() - ones * (ones + 1) / 2) / (ones * zeros)
    enough = (label.len() >= _MIN_ROWS) & (ones >= _MIN_EACH_SIDE) & (zeros >= _MIN_EACH_SIDE)
    return pl.when(enough).then(auc).alias(feature)


def _number(feature: str) -> pl.Expr:
    return pl.col(feature).cast(pl.Float64)


def _finite(feature: str) -> pl.Expr:
    return _number(feature).is_finite().fill_null(False)


def _is_number(value: Any) -> bool:
    return isinstance(value, float) and value == value


def _ranked(found: list[Association]) -> list[Association]:
    """The strongest a feature, strongest first."""
    best: Mapping[str, Association] = {
        one.feature: one for one in sorted(found, key=lambda association: association.value)
    }
    return sorted(best.values(), key=lambda association: (-association.value, association.feature))

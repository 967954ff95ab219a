"""Features that know the answer: how well each numeric column alone tells the target.

AUC by ranks (Hanley & McNeil 1982, the Mann-Whitney statistic) for classes, Spearman's rank correlation for a number. Both see only
order, so no scale or skew hides a leak.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.validate.batches import CELLS, height

_MIN_ROWS = 30
_MOST_ROWS = 2_000_000
_GOLDEN_RATIO = 0.6180339887498949
_MIN_EACH_SIDE = 5
_MAX_CLASSES = 50
_TOGETHER = 500
"""Features asked about at once; polars holds a third of a megabyte for the question about each."""


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


def associations(rows: pl.DataFrame | pl.LazyFrame, columns: Columns) -> list[Association]:
    """Association of each numeric or boolean feature with the target, strongest first.

    Missing and non-finite values are left out. A feature is not judged on fewer than 30 rows, a class on fewer than 5 on either side:
    a few rows are in perfect order by chance. Of more than two million rows, two million spread over all of them are judged,
    which tells an AUC to about 0.001.

    Args:
        rows: Model rows, shape (n, columns).
        columns: Roles; nothing is judged when the target is not a column of `rows`.
    """
    rows = rows.lazy()
    schema = rows.collect_schema()
    if columns.target not in schema:
        return []
    features = [
        name for name in columns.features(schema.names()) if schema[name].is_numeric() or schema[name] == pl.Boolean
    ]
    judged = _spread(rows)
    few = min(_TOGETHER, max(1, CELLS // max(1, min(height(rows), _MOST_ROWS))))
    found = []
    for start in range(0, len(features), few):
        some = features[start : start + few]
        part = judged.select(columns.target, *some).collect(engine="streaming")
        found += _spearman(part, some, columns.target) if columns.problem == "regression" else _auc(part, some, columns)
    return _ranked(found)


def _spread(rows: pl.LazyFrame) -> pl.LazyFrame:
    """At most about two million rows, the same each time."""
    total = height(rows)
    if total <= _MOST_ROWS:
        return rows
    # Multiples of the golden ratio, modulo 1, are spread evenly, in step with no period of the data.
    return rows.with_row_index("").filter(pl.col("") * _GOLDEN_RATIO % 1 < _MOST_ROWS / total)


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
    # Renamed: a target may be called what the counts are called.
    labels = rows[columns.target].rename("label").drop_nulls()
    counts = labels.value_counts(name="rows").sort("rows", "label", descending=[True, False])
    classes = counts["label"].to_list()
    if columns.problem == "binary":
        # Which of two classes is positive does not matter here: an AUC and its mirror image tell the same.
        classes = [value for value in classes if str(value) == str(columns.positive)] or classes[:1]
    sums = pl.collect_all([_ranks_by_class(rows.lazy(), name, columns.target) for name in features])
    strongest = []
    for name, found in zip(features, sums, strict=True):
        of_class = {label: (ones, ranks) for label, ones, ranks in found.iter_rows()}
        total = int(found["ones"].sum())
        for value in classes[:_MAX_CLASSES]:
            ones, ranks = of_class.get(value, (0, 0.0))
            zeros = total - ones
            if total >= _MIN_ROWS and min(ones, zeros) >= _MIN_EACH_SIDE:
                auc = (ranks - ones * (ones + 1) / 2) / (ones * zeros)
                label = str(value) if columns.problem == "multiclass" else ""
                strongest.append(Association(name, "AUC", max(auc, 1 - auc), label))
    return strongest


def _ranks_by_class(rows: pl.LazyFrame, feature: str, target: str) -> pl.LazyFrame:
    """Rows of each class with a value, and the sum of their values' ranks: all that the AUC of each class needs."""
    valued = rows.filter(_finite(feature) & pl.col(target).is_not_null())
    ranked = valued.select(label=target, rank=_number(feature).rank("average"))
    return ranked.group_by("label").agg(ones=pl.len(), ranks=pl.col("rank").sum())


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

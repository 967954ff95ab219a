"""What the roles of columns ask of each row of the main table, whatever its schema says."""

from datetime import UTC, datetime, timedelta

import pandera.polars as pa
import polars as pl

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.split import moments
from kfp_ratchet.components.shared.window import Window
from kfp_ratchet.components.train.labels import unlabelled
from kfp_ratchet.components.validate.failures import LABELLED
from kfp_ratchet.components.validate.judge import RowCheck

_LOCAL_TIME = timedelta(days=1)
"""Times without a zone may be local ones, up to 14 hours ahead of UTC."""


def role_checks(rows: pl.LazyFrame, roles: Columns, span: Window, schema: pa.DataFrameSchema) -> list[RowCheck]:
    """Checks of the roles whose columns are there."""
    dtypes = rows.collect_schema()
    checks: list[RowCheck] = []
    # A schema that lets the target be missing says that the recipe of `prepare` leaves such rows out.
    if roles.target in dtypes and not (roles.target in schema.columns and schema.columns[roles.target].nullable):
        checks.append(RowCheck(roles.target, LABELLED, lambda batch: unlabelled(batch[roles.target])))
    # A schema that names the column says itself whether it may be missing.
    if roles.id in dtypes and roles.id not in schema.columns:
        checks.append(_fails(roles.id, "has an id", pl.col(roles.id).is_null()))
    if roles.time in dtypes:
        when = moments(rows, roles.time)
        if dtypes[roles.time] == pl.String:
            checks.append(
                _fails(roles.time, "is an ISO date or time", pl.col(roles.time).is_not_null() & when.is_null())
            )
        if not span.end:
            # One of them would move the window past all real rows. What once was not in the future never is: the step stays cacheable.
            future = when > datetime.now(UTC).replace(tzinfo=None) + _LOCAL_TIME
            checks.append(_fails(roles.time, "is not in the future", future.fill_null(False)))
    return checks


def _fails(column: str, check: str, bad: pl.Expr) -> RowCheck:
    return RowCheck(column, check, lambda batch: batch.select(bad).to_series())

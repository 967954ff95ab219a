"""What becomes of one table: its rows pass, some of them, or none."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandera.polars as pa
import polars as pl

from kfp_ratchet.components.shared.manifest import counted
from kfp_ratchet.components.validate.batches import where
from kfp_ratchet.components.validate.checks import CheckResult
from kfp_ratchet.components.validate.failures import Failure
from kfp_ratchet.components.validate.judge import Judged, RowCheck, judge, judge_again
from kfp_ratchet.components.validate.settings import Checks


@dataclass(frozen=True)
class TableResult:
    """What became of one table."""

    rows: int
    """Rows before."""
    kept: int
    """Rows that may pass."""
    accepted: pl.LazyFrame | None = None
    """These rows, when they are not simply all, as they came."""
    failures: tuple[Failure, ...] = ()
    blocked: str = ""
    """Why no row of it may pass, "" when they may."""

    def outcome(self, name: str) -> CheckResult:
        """As a check, for journal and report."""
        if self.blocked:
            return CheckResult(f"schema of {name}", "fail", self.blocked)
        reason = f"{counted(self.kept, 'row')} {'keeps' if self.kept == 1 else 'keep'} it"
        if quarantined := self.rows - self.kept:
            reason += f", {quarantined:,} {'is' if quarantined == 1 else 'are'} quarantined"
        return CheckResult(f"schema of {name}", "pass", reason)


def judge_table(
    rows: pl.LazyFrame,
    schema: pa.DataFrameSchema,
    name: str,
    also: Sequence[RowCheck],
    keys: Sequence[str],
    shown: Sequence[str],
    policy: Checks,
) -> TableResult:
    """Hold a table against its schema, and decide by the policy. Arguments are those of `judge`."""
    judged = judge(rows, schema, name, also, keys, shown, policy.examples)
    total, failing = judged.height, int(judged.bad.sum())
    if not total and not judged.failures:
        return TableResult(0, 0, blocked=f"table {name!r} has no rows")
    if blocked := _blocked(judged, failing, policy):
        return TableResult(total, 0, None, judged.failures, blocked)
    if not failing:
        return TableResult(total, total, judged.rows if judged.rewritten else None, judged.failures)
    accepted = where(judged.rows, ~judged.bad)
    # Judged again without them: a check of the whole table may hold for all rows and not for these.
    if not judged.of_rows and (again := judge_again(accepted, schema, name, policy.examples)):
        blocked = "rows still fail after others were quarantined"
        return TableResult(total, 0, None, (*judged.failures, *again), blocked)
    return TableResult(total, total - failing, accepted, judged.failures)


def _blocked(judged: Judged, failing: int, policy: Checks) -> str:
    if any(not failure.about_rows for failure in judged.failures):
        return "columns or whole tables fail, which leaving rows out would not mend"
    if not failing:
        return ""
    told = f"{counted(failing, 'row')} {'fails' if failing == 1 else 'fail'}"
    if policy.on_failure == "block":
        return f"{told}, and checks.on_failure is block"
    share = failing / judged.height
    if share > policy.max_quarantine_share or failing == judged.height:
        return f"{told} ({share:.2%}), and at most {policy.max_quarantine_share:.2%} may be quarantined"
    return ""

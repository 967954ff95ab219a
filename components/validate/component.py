"""Let only rows pass that keep the user's schema."""

from kfp import dsl

from kfp_ratchet.components._image import SLIM
from kfp_ratchet.components.shared.step import step


@step(SLIM)
def validate(
    dataset: dsl.Input[dsl.Dataset],
    accepted: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    schema: str = "",
    checks: str = "{}",
    columns: str = "{}",
    window: str = "{}",
    baseline_rows: int = 0,
    store: str = "",
) -> None:
    """Let only rows pass that keep the user's schema.

    Blocks the run, or quarantines failing rows up to the stated share.

    Tables are read in batches and need not fit into memory: 100 million rows of six columns take 3 GB. A check of the user's own, which
    may compare rows, takes the columns that it reads besides.

    Args:
        dataset: Tables from `ingest`.
        accepted: The tables without quarantined rows.
        report: Column, check, count and example rows of every failure.
        schema: The user's schema: pandera YAML, `package.module:Model`, or a JSON object of these by table.
        checks: What to do with failures, and the checks across rows, as JSON; see `Checks`.
        columns: Roles of columns as JSON; see `Columns`.
        window: Training and evaluation window as JSON; see `Window`.
        baseline_rows: Rows of the last accepted other revision, 0 when there is none.
        store: Folder or bucket of the run journal; empty keeps none.
    """
    from kfp_ratchet.components.validate.validation import validate_dataset

    validate_dataset(
        dataset.path,
        dataset.uri,
        schema,
        checks,
        columns,
        window,
        baseline_rows,
        store,
        accepted.path,
        accepted.uri,
        report.path,
    )

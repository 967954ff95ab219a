"""Join tables and compute features: the user's own SQL or function."""

from kfp import dsl

from kfp_ratchet.components._image import SLIM
from kfp_ratchet.components.shared.step import step


@step(SLIM)
def prepare(
    dataset: dsl.Input[dsl.Dataset],
    rows: dsl.Output[dsl.Dataset],
    recipe: str,
    checks: str = "{}",
    columns: str = "{}",
    store: str = "",
) -> None:
    """Join tables and compute features: the user's own SQL or function.

    Args:
        dataset: Accepted tables from `validate`.
        rows: One table of model rows.
        recipe: JSON: {"sql": text} over the tables by name (polars SQL), or {"function": "package.module:name"} that takes a dict of
            lazy frames by table and returns one lazy frame.
        checks: The checks across rows as JSON; see `Checks`. What `prepare` makes is judged here.
        columns: Roles of columns as JSON; each must exist in the result.
        store: Folder or bucket of the run journal; empty keeps none.
    """
    from kfp_ratchet.components.prepare.recipe import prepare_rows

    prepare_rows(dataset.path, dataset.uri, recipe, checks, columns, store, rows.path, rows.uri)

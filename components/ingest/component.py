"""Read a pinned revision of the source into a Dataset."""

from kfp import dsl

from kfp_ratchet.components._image import SLIM
from kfp_ratchet.components.shared.step import step


@step(SLIM)
def ingest(
    source: str,
    revision: str,
    dataset: dsl.Output[dsl.Dataset],
    columns: str = "{}",
    window: str = "{}",
    schema: str = "",
    store: str = "",
    cache_epoch: str = "",
) -> None:
    """Read a pinned revision of the source into a Dataset.

    Every file is verified against the revision; a change under our feet is an error that names the file.

    Args:
        source: Where the data is: a URI or path, or a JSON object of URIs by table, the main table first.
        revision: Digest of the source's manifest, from `pin`.
        dataset: One folder of Parquet files a table, and `dataset.json`.
        columns: Roles of columns as JSON; see `Columns`.
        window: Training and evaluation window as JSON; rows of the main table after its end or before its start are left out.
        schema: The user's schema: pandera YAML, `package.module:Model`, or a JSON object of these by table; gives CSV its types.
        store: Folder or bucket of the run journal; empty keeps none.
        cache_epoch: From `pin`, not read: changes when what is cached must be made anew; later steps follow, as their input is new.
    """
    from kfp_ratchet.components.ingest.tables import ingest_source

    ingest_source(source, revision, columns, window, schema, store, dataset.path, dataset.uri)

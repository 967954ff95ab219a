"""Turn every moving reference of a run into immutable ids."""

from typing import NamedTuple

from kfp import dsl

from kfp_ratchet.components._image import SLIM
from kfp_ratchet.components.shared.step import step


@step(SLIM)
def pin(
    source: str,
    model_name: str,
    store: str,
    pins: dsl.Output[dsl.Artifact],
    columns: str = "{}",
    window: str = "{}",
    as_of: str = "",
    cache_max_age: str = "",
) -> NamedTuple(
    "Pins",
    [
        ("revision", str),
        ("window", str),
        ("champion_version", str),
        ("champion_digest", str),
        ("epoch", int),
        ("anchor_version", str),
        ("anchor_digest", str),
        ("baseline_rows", int),
        ("cache_epoch", str),
    ],
):
    """Turn every moving reference of a run into immutable ids.

    Lists the source and reads the ledger; never reads data. Every later step is a pure function of what comes out here, so it can
    be cached; this step never is.

    Args:
        source: Where the data is: a URI or path, or a JSON object of URIs by table, the main table first.
        model_name: Registered name of the model.
        store: Folder or bucket of ledger and journal.
        pins: What was pinned, and the key of the source's manifest in the store (JSON).
        columns: Roles of columns as JSON; see `Columns`.
        window: Training and evaluation window as JSON; see `Window`.
        as_of: Leave out rows after this ISO month, date or time; the newest row when empty.
        cache_max_age: After which time every step is run again even if nothing has changed, e.g. 36h, 7d or 2w; empty for never.

    Returns:
        revision: Digest of the source's manifest.
        window: The window with its end fixed where it is known, as JSON.
        champion_version: Version of the live model, empty when there is none.
        champion_digest: Digest of the live model, empty when there is none.
        epoch: Number of the ledger entry that made the champion, 0 when there is none.
        anchor_version: Version of the last champion that was shown to be better, empty when that is the champion itself.
        anchor_digest: Digest of that model.
        baseline_rows: Rows of the last accepted other revision, 0 when there is none.
        cache_epoch: Start (ISO, UTC) of the stretch of `cache_max_age` that this moment lies in; empty without one.
    """
    from kfp_ratchet.components.pin.pins import pin_run

    return pin_run(source, model_name, store, columns, window, as_of, pins.path, pins.uri, cache_max_age)

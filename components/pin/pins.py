"""What a run's moving references stand for at this moment."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from kfp_ratchet.components.pin.watermark import watermark
from kfp_ratchet.components.shared.canonical import dumps
from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.journal import journal
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.manifest import Manifest, counted, list_source, short
from kfp_ratchet.components.shared.parameters import parse_parameter
from kfp_ratchet.components.shared.sources import open_source, parse_source
from kfp_ratchet.components.shared.split import length
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.components.shared.window import LENGTH, Window, exclusive_end

# Naive times may be local ones, and a day's rows are often stamped with its date: neither is the future.
_AHEAD = timedelta(days=1)


class Pins(NamedTuple):
    """The immutable ids that all later steps are functions of; fields as in the component."""

    revision: str
    window: str
    champion_version: str
    champion_digest: str
    epoch: int
    anchor_version: str
    anchor_digest: str
    baseline_rows: int
    cache_epoch: str


def pin_run(
    source: str,
    model_name: str,
    store: str,
    columns: str,
    window: str,
    as_of: str,
    pins_path: str,
    pins_uri: str,
    cache_max_age: str = "",
) -> Pins:
    """Pin source, window and champion, and keep the manifest in the store.

    Raises:
        InputError: A parameter is missing or cannot be read.
        RatchetError: The source cannot be listed.
    """
    _needed(store=store)
    called = {"source": source, "model_name": model_name, "columns": columns, "window": window, "as_of": as_of}
    called["cache_max_age"] = cache_max_age
    with journal(store, pins_uri, parameters=called) as step:
        _needed(source=source, model_name=model_name)
        roles = parse_parameter(Columns, columns, "columns")
        asked = parse_parameter(Window, window, "window")
        if as_of:
            asked = asked.model_copy(update={"end": _a_time(as_of)})
        kept = Store(store)
        step.progress(f"listing {source}")
        manifest = list_source(source, kept)
        manifest.keep(kept)
        if not asked.end and roles.time:
            main, uri = next(iter(parse_source(source).items()))
            newest = watermark(open_source(uri), manifest.tables[main], roles.time)
            # A row of the future fixes no end: validate names it, and blocks or quarantines.
            if newest is not None and newest <= datetime.now(UTC).replace(tzinfo=None) + _AHEAD:
                asked = asked.model_copy(update={"end": newest.isoformat()})
        ledger = Ledger(kept, model_name)
        champion, anchor = ledger.champion(), ledger.anchor()
        pins = Pins(
            revision=manifest.revision,
            window=dumps(asked.model_dump()),
            champion_version=champion.version if champion else "",
            champion_digest=champion.digest if champion else "",
            epoch=champion.epoch if champion else 0,
            anchor_version=anchor.version if anchor else "",
            anchor_digest=anchor.digest if anchor else "",
            baseline_rows=ledger.accepted_rows(other_than=manifest.revision),
            cache_epoch=cache_epoch(cache_max_age, datetime.now(UTC)),
        )
        facts = {**pins._asdict(), "window": asked.model_dump(), "source": source}
        Path(pins_path).write_text(dumps({**facts, "manifest": Manifest.key(manifest.revision)}))
        judged = f"champion version {champion.version}" if champion else "no champion yet"
        until = f", until {asked.end}" if asked.end else ""
        step.found(
            f"revision {short(manifest.revision)} of {counted(manifest.files, 'file')}{until}, {judged}",
            **facts,
            origins=manifest.origins,
            files={name: table.height for name, table in manifest.tables.items()},
            bytes=manifest.size,
        )
    return pins


def cache_epoch(max_age: str, now: datetime) -> str:
    """Start of the stretch of time that `now` lies in: what is cached in one stretch is not served in the next.

    Stretches are counted from 1970, so that all runs agree on them: what is served is at most `max_age` old, and often younger.

    Args:
        max_age: Length of a stretch such as 36h, 7d or 2w; "" for one that never ends.
        now: Aware.

    Returns:
        ISO, UTC; "" without an end.

    Raises:
        InputError: `max_age` is not a length.
    """
    if not max_age:
        return ""
    if not re.fullmatch(LENGTH, max_age):
        raise InputError(f"cache_max_age {max_age!r} is not a length", "write e.g. 36h, 7d or 2w")
    return (now - (now - datetime(1970, 1, 1, tzinfo=UTC)) % length(max_age)).astimezone(UTC).isoformat()


def _needed(**parameters: str) -> None:
    for name, value in parameters.items():
        if not value.strip():
            raise InputError(f"{name} is empty", f"set the parameter `{name}`")


def _a_time(as_of: str) -> str:
    try:
        exclusive_end(as_of)
    except ValueError as error:
        raise InputError(f"as_of: {error}", "give another one, or none for all rows") from None
    return as_of

"""Whether what is champion was forced live by a person: said in red wherever the model is spoken of, for as long as it is."""

from kfp_ratchet.components.shared.entry import Entry
from kfp_ratchet.components.shared.ledger import Ledger


def forced(ledger: Ledger) -> Entry | None:
    """The entry that forced the champion's version live; None when the gate promoted it, or there is none.

    A rollback to a forced version leaves it forced.

    Raises:
        RatchetError: The ledger is corrupt or cannot be reached.
    """
    made = ledger.made()
    if made is None or made.kind != "rollback":
        return made if made is not None and made.kind == "force" else None
    first = (entry for entry in ledger.newest() if entry.version == made.version)
    origin = next((entry for entry in first if entry.kind in ("promote", "force")), None)
    return origin if origin is not None and origin.kind == "force" else None


def warning(entry: Entry) -> str:
    """The sentence about it."""
    return f"v{entry.version} was forced live by {entry.by} on {entry.time[:16].replace('T', ' ')} UTC: {entry.reason}"

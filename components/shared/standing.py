"""How a ledger's standing follows from one entry to the next: the whole protocol's state, as a fold over the entries."""

from collections.abc import Callable, Sequence

from kfp_ratchet.components.shared.entry import ANSWERS, MAKES_CHAMPION, Draft, Entry, Standing

At = Callable[[int], tuple[Draft, Standing]]
"""Looks up an earlier entry, and where the ledger stood after it."""


def after(before: Standing, draft: Draft, number: int, at: At) -> Standing:
    """Where the ledger stands when `draft` has become entry `number`.

    Args:
        before: Where it stood.
        draft: What is written.
        number: Its place.
        at: Earlier entries.
    """
    intent = 0 if draft.intent and draft.intent == before.intent else before.intent
    if draft.kind in MAKES_CHAMPION:
        # What waited was judged against the former champion.
        return Standing(champion=number, beneath=_beneath(before, draft, at), intent=intent)
    if draft.kind == "deploy-started":
        return before.model_copy(update={"intent": number})
    pending, approved = before.pending, before.approved
    if draft.kind == "pending":
        pending = (*pending, number)
    elif draft.kind in ANSWERS:
        pending = tuple(each for each in pending if at(each)[0].version != draft.version)
        approved = (*approved, number) if draft.kind == "approve" else approved
    return before.model_copy(update={"intent": intent, "pending": pending, "approved": approved})


def replay(entries: Sequence[Entry]) -> dict[int, Standing]:
    """Where a ledger stood after each of its entries, found from the entries alone."""
    stood: dict[int, Standing] = {0: Standing()}
    known = {entry.number: entry for entry in entries}
    for entry in entries:
        stood[entry.number] = after(
            stood[entry.number - 1], entry, entry.number, lambda number: (known[number], stood[number])
        )
    return stood


def _beneath(before: Standing, draft: Draft, at: At) -> int:
    """What a new champion stands on: the former one; for a rollback, what the champion it goes back to stood on.

    So rolling back twice goes two champions back.
    """
    if draft.kind == "rollback":
        number = before.champion
        while number:
            made, then = at(number)
            if made.version == draft.version:
                return then.beneath
            number = then.beneath
    return before.champion

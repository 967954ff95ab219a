"""Names: those of columns that no step could use, how a message lists or counts many, and which one was meant."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from kfp_ratchet.components.shared.errors import InputError

_LISTED = 20
_LENGTH = 60
_PANDERAS = "check_output"


def listed(names: Collection[str]) -> str:
    """Names for a message: the first 20 of them, long ones cut."""
    shown = [shortened(name, _LENGTH) for name in list(names)[:_LISTED]]
    return ", ".join(shown) + (f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else "")


def shortened(value: object, most: int = 200) -> str:
    """A value as text that fits into a message."""
    text = str(value)
    return text if len(text) <= most else f"{text[:most]}…"


def counted(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def suggestion(name: str, known: Iterable[str], *, most: int | None = None) -> str:
    """A remedy that names the nearest of some names, or all of them, or the last `most`."""
    names = list(known)
    near = get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names[-(most or 0) :]) or 'none'}"


def refuse_names(names: Iterable[str], where: object) -> None:
    """Refuse columns that no step could use.

    Args:
        names: Columns.
        where: The file or table that has them, for the message.

    Raises:
        InputError: A name is empty, holds a null character (pandas gets no such column), is the one that pandera adds to frames, or one
            that polars reads as a pattern of names: `*`, or `^` to `$`.
    """
    for name in names:
        if not name:
            raise InputError(
                f"{where} has a column without a name",
                "name it or leave it out; pandas writes its index so, unless told index=False",
            )
        if name == _PANDERAS:
            raise InputError(f"{where} has a column {name!r}, which pandera takes for its own", "rename it")
        if "\0" in name:
            raise InputError(f"{where} has a column {shortened(name)!r}, with a null character inside", "rename it")
        if name == "*" or (name.startswith("^") and name.endswith("$")):
            raise InputError(
                f"{where} has a column {shortened(name)!r}, which reads as a pattern of names", "rename it"
            )

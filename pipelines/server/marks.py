"""Who put something on a server, and from what: the last line of its description, since a server keeps nothing else that is ours to say."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self
from urllib.parse import quote, unquote

_BEGIN = "kfp-ratchet:"
_LONGEST = 3000
"""Characters of a description in an address, which is how it travels with an upload; what is between may cut at 8,000."""


@dataclass(frozen=True)
class Mark:
    """Owner and origin; texts that do not apply are ""."""

    owner: str = ""
    pipeline: str = ""
    schedule: str = ""
    since: str = ""
    """Of a schedule with several recurring runs: when clocks were changed and this one begins."""
    digest: str = ""
    commit: str = ""

    def __str__(self) -> str:
        """One line of ASCII."""
        said = {name: value for name, value in asdict(self).items() if value}
        return " ".join([_BEGIN, *(f"{name}={quote(value, safe='/:+@')}" for name, value in said.items())])

    @classmethod
    def read(cls, description: str) -> Self | None:
        """The mark in a description; None without one."""
        said = read_mark(description)
        if said is None:
            return None
        return cls(**{name: said[name] for name in cls.__dataclass_fields__ if name in said})


def read_mark(description: str) -> Mapping[str, str] | None:
    """All that the mark in a description says; None without one."""
    lines = [line.strip() for line in (description or "").splitlines()]
    found = next((line for line in reversed(lines) if line.startswith(_BEGIN)), None)
    if found is None:
        return None
    pairs = (each.partition("=") for each in found.removeprefix(_BEGIN).split())
    return {name: unquote(value) for name, equals, value in pairs if equals}


def described(text: str, mark: Mark) -> str:
    """A description: what people read, cut where it is too long to travel, then the mark."""
    told, room = text.strip(), _LONGEST - len(quote(str(mark)))
    if len(quote(told)) > room:
        while len(quote(told)) > room:
            # A character takes up to twelve in an address.
            told = told[: -max(1, (len(quote(told)) - room) // 12)]
        told = told.rstrip() + "…"
    return f"{told}\n\n{mark}" if told else str(mark)

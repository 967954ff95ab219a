"""What `ratchet` prints on: any terminal, pipe or file, in any locale, and with a reader that may go away."""

import codecs
import io
import re
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

_ASCII = str.maketrans({"✓": "+", "✗": "x", "▸": ">", "·": "-", "…": "~"})
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Terminal(Console):
    """A console for text that is printed as it is: no markup, no emoji codes, no colours of its own making.

    Args:
        stderr: Print on standard error.
        quiet: Print nothing.
    """

    def __init__(self, *, stderr: bool = False, quiet: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        super().__init__(
            stderr=stderr,
            quiet=quiet,
            markup=False,
            emoji=False,
            highlight=False,
            # Colours may be forced upon a log file, a moving cursor may not.
            force_interactive=None if stream is not None and stream.isatty() else False,
        )

    def say(self, *parts: str | tuple[str, str]) -> None:
        """Print texts and (text, style) pairs; what is too long is left for the terminal to wrap, so that it can be copied."""
        self.print(_assembled(parts), soft_wrap=True)

    def tell(self, *parts: str | tuple[str, str]) -> None:
        """Print prose in the same way, but on a terminal wrapped between words."""
        self.print(_assembled(parts), soft_wrap=not self.is_terminal)


def _assembled(parts: Sequence[str | tuple[str, str]]) -> Text:
    return Text.assemble(*(plain(part) if isinstance(part, str) else (plain(part[0]), part[1]) for part in parts))


def plain(text: str) -> str:
    """Text from data, models or other programs, with what could steer a terminal made visible."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def never_fail_on_characters() -> None:
    """Let standard output and error print what their encoding lacks: marks as ASCII ones, the rest as its code."""
    codecs.register_error("ratchet", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="ratchet")


def _in_ascii(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end].translate(_ASCII)
    return lost.encode("ascii", "backslashreplace").decode(), error.end

"""What a log says last, which is mostly why a process ended."""

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def last_line(text: str) -> str:
    """The last line that is not empty, without colours, "" when there is none.

    A warning counts only where there is nothing else: at its end Python may still warn of what was left open.
    """
    lines = [line.strip() for line in _COLOUR.sub("", text).splitlines() if line.strip()]
    told = [line for line in lines if "Warning:" not in line] or lines
    return told[-1] if told else ""

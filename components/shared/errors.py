"""Errors that name the thing and the remedy, and the exit code the `ratchet` command ends with."""

import errno
import re
from collections.abc import Iterator
from typing import ClassVar

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
# Libraries that are not Python's own say it in words: Rust's ("os error 28"), SQLite's, safetensors'.
_SAYS_FULL = re.compile(r"os error 28|no space left|disk is full|disk quota exceeded", re.IGNORECASE)
_SAYS_FORBIDDEN = re.compile(r"os error (30|13|1)\b|read-?only (file system|database)|permission denied", re.IGNORECASE)


class RatchetError(Exception):
    """A step could not do its work. Exit code 3.

    Args:
        message: What is wrong and where: names the file, column or setting.
        remedy: What the reader can do about it, in one sentence; "" when the message says so itself.
    """

    kind: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class InputError(RatchetError):
    """Bad input, configuration or usage. Exit code 2."""

    kind = "input"
    exit_code = 2


class InconclusiveError(RatchetError):
    """The evidence cannot carry the question, and the policy wants the run to fail then. Exit code 4."""

    kind = "inconclusive"
    exit_code = 4


class BlockedError(RatchetError):
    """Validation refused the data. Exit code 5."""

    kind = "blocked"
    exit_code = 5


def disk_trouble(error: BaseException) -> str:
    """What to do about an error that comes of a full disk or a place that may not be written; "" for any other error."""
    if disk_full(error):
        return "free space on that disk, then start it again: finished steps come from the cache"
    if _is(error, _FORBIDDEN, _SAYS_FORBIDDEN):
        return "give yourself the right to write there, or choose another place; then start it again"
    return ""


def disk_full(error: BaseException) -> bool:
    """Whether an error comes of a full disk."""
    return _is(error, _FULL, _SAYS_FULL)


def _is(error: BaseException, numbers: set[int], said: re.Pattern[str]) -> bool:
    chain = list(_chain(error))
    return any(isinstance(one, OSError) and one.errno in numbers for one in chain) or bool(
        said.search(" ".join(map(str, chain)))
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__

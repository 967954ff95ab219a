"""Errors that name the thing and the remedy, and the exit code the `ratchet` command ends with."""

from typing import ClassVar


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


class BlockedError(RatchetError):
    """Validation refused the data. Exit code 5."""

    kind = "blocked"
    exit_code = 5

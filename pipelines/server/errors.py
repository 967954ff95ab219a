"""What can go wrong between here and a server. Messages hold the server's own first sentence, never its stack trace, a page or a token."""

from kfp_ratchet.components.shared.errors import InputError, RatchetError


class ServerError(RatchetError):
    """The server answered otherwise than it should. Exit code 3."""


class NotFoundError(ServerError):
    """What was asked for is not on the server (404)."""


class ConflictError(ServerError):
    """The name is taken, or the thing is not in a state for this (409)."""


class UnauthorizedError(ServerError):
    """The server does not know the caller (401), or does not let them (403)."""


class UnreachableError(ServerError):
    """No answer within the patience: no connection, a timeout, or only 429 and 5xx."""


class UnclearError(UnreachableError):
    """A creation ended without an answer: it may have been done."""


class RefusedError(InputError):
    """The server says that what it was given is wrong (400, 413)."""

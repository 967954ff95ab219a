"""How the server says no: two shapes of error, and the status of each gRPC code."""

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

PLAIN = "text/plain; charset=utf-8"
UNKNOWN = 2
INVALID, NOT_FOUND, TAKEN, FORBIDDEN, ABORTED, UNIMPLEMENTED, INTERNAL, UNAUTHENTICATED = 3, 5, 6, 7, 10, 12, 13, 16
LARGEST_WHOLE = 2**53
"""From here on, doubles do not hold every whole number."""
STATUS = {
    INVALID: 400,
    NOT_FOUND: 404,
    TAKEN: 409,
    FORBIDDEN: 403,
    ABORTED: 409,
    UNIMPLEMENTED: 501,
    INTERNAL: 500,
    UNAUTHENTICATED: 401,
}


def through_doubles(value: Any) -> Any:
    """JSON as it comes back from a protobuf Struct: every number was a double, and a whole one is written without a fraction."""
    if isinstance(value, dict):
        return {key: through_doubles(each) for key, each in value.items()}
    if isinstance(value, list):
        return [through_doubles(each) for each in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return int(value) if float(value).is_integer() and abs(value) < LARGEST_WHOLE else float(value)
    return value


@dataclass
class Refusal(Exception):  # noqa: N818 (an answer, not a mistake of this program)
    """An answer that is an error; `body` is JSON, or plain text where the real server answers so."""

    status: int
    body: Json | str
    content_type: str = "application/json"


def refusal(code: int, message: str, detail: str | None = None, detail_code: int | None = None) -> Refusal:
    """What every call but an upload answers: `code`, `message`, `details`. A `detail` of None leaves the details out."""
    body: Json = {"code": code, "message": message}
    if detail is not None:
        kind = "type.googleapis.com/google.rpc.Status"
        body["details"] = [{"@type": kind, "code": detail_code or code, "message": detail}]
    return Refusal(STATUS[code], body)


def internal(message: str) -> Refusal:
    """A 500. The details never say more than the fixed text."""
    return refusal(INTERNAL, message, "Internal Server Error")


def missing(doing: str, kind: str, name: str) -> Refusal:
    """A 404 for something asked for by its id."""
    return refusal(NOT_FOUND, f"{doing}: ResourceNotFoundError: {kind} {name} not found", f"{kind} {name} not found")


def upload_refusal(status: int, message: str, *, plain: bool = False) -> Refusal:
    """What an upload answers: `error_message`, `error_details`; `plain`, it forgets to say that this is JSON."""
    body: Json = {"error_message": message, "error_details": f"{message}\n"}
    return Refusal(status, body, PLAIN if plain else "application/json")

"""Lists: filters, order and pages. A page's token carries the filter and the order, and wins over those of the call."""

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from kfp_ratchet.testing.kfp_server.answers import INVALID, UNIMPLEMENTED, Json, refusal
from kfp_ratchet.testing.kfp_server.objects import folded

PAGE, LARGEST_PAGE = 20, 200
"""Entries in a page unless told, and at most: the recordings never reach either, these are KFP's own defaults."""

OPERATIONS = {1: "EQUALS", 2: "NOT_EQUALS", 9: "IS_SUBSTRING"}
VALUES = ("stringValue", "string_value", "intValue", "int_value", "longValue", "long_value", "boolValue", "bool_value")


class Kept(Protocol):
    """Whatever is listed."""

    id: str
    created: int

    def shown(self) -> Json:
        """As the API shows it."""


Fields = Mapping[str, Callable[[Any], Any]]


def page(key: str, kind: str, entries: Iterable[Kept], fields: Fields, query: Mapping[str, str]) -> Json:
    """One page of a list, under `key`; {} where there is none.

    Args:
        key: Name of the list in the answer.
        kind: Name of the entries in error messages.
        entries: All there are, in any order.
        fields: What may be filtered and sorted by, and how it is read from an entry.
        query: The call's `filter`, `sort_by`, `page_size` and `page_token`.

    Raises:
        Refusal: 400 for a token, filter, field or page size that cannot be.
    """
    asked = {name: query.get(name, "") for name in ("page_token", "page_size", "sort_by", "filter")}
    doing = (
        f"Failed to list {key} due invalid list options: pageToken: {asked['page_token']}, pageSize: "
        f"{asked['page_size'] or 0}, sortBy: {asked['sort_by']}, filter: {asked['filter']}"
    )

    def invalid(detail: str) -> Exception:
        return refusal(INVALID, f"{doing}: Invalid input error: {detail}", detail)

    try:
        size = int(asked["page_size"] or 0)
    except ValueError:
        raise refusal(INVALID, f'parsing field "page_size": strconv.ParseInt: parsing "{asked["page_size"]}"') from None
    if size < 0:
        raise invalid(f"The page size should be greater than 0. Got {size}")
    size = min(size or PAGE, LARGEST_PAGE)
    start: list[Any] | None = None
    if asked["page_token"]:
        try:
            token = json.loads(base64.b64decode(asked["page_token"], validate=True))
            predicates, field, descending, start = token["filter"], token["sort"], token["desc"], token["start"]
        except (binascii.Error, ValueError, TypeError, KeyError):
            raise invalid("Invalid page token") from None
    else:
        predicates = _predicates(key, asked["filter"])
        field, descending = _order(asked["sort_by"])
    if field not in fields:
        raise invalid(f'Invalid sorting field: "{field}" on listable type {kind}')
    if unknown := next((each["key"] for each in predicates if each["key"] not in fields), None):
        raise invalid(f'no support for filtering on unrecognized field "{unknown}"')

    def place(entry: Kept) -> list[Any]:
        return [fields[field](entry), entry.id]

    found = [entry for entry in entries if all(_holds(each, fields[each["key"]](entry)) for each in predicates)]
    found.sort(key=place, reverse=descending)
    if not found:
        return {}
    rest = found
    if start is not None:
        rest = [entry for entry in found if (place(entry) <= start if descending else place(entry) >= start)]
    answer: Json = {key: [entry.shown() for entry in rest[:size]], "total_size": len(found)}
    if len(rest) > size:
        token = {"filter": predicates, "sort": field, "desc": descending, "start": place(rest[size])}
        answer["next_page_token"] = base64.b64encode(json.dumps(token).encode()).decode()
    return answer


def _order(sort_by: str) -> tuple[str, bool]:
    field, _, direction = (sort_by or "created_at").strip().partition(" ")
    return field, direction.strip() == "desc"


def _predicates(key: str, text: str) -> list[Json]:
    """A filter's predicates, each as `operation`, `key` and `value`."""
    if not text:
        return []

    def malformed(detail: str) -> Exception:
        doing = f"Failed to list {key} due to invalid tag filter in filter spec"
        detail = f"failed to parse filter spec: proto: {detail}"
        return refusal(INVALID, f"{doing}: Invalid input error: {detail}", detail)

    try:
        spec = json.loads(text)
    except ValueError as error:
        raise malformed(f"syntax error {error}") from None
    if not isinstance(spec, dict) or set(spec) - {"predicates"} or not isinstance(spec.get("predicates", []), list):
        raise malformed("unknown field")
    found = []
    for predicate in spec.get("predicates", []):
        if not isinstance(predicate, dict):
            raise malformed("unexpected token")
        if unknown := next((name for name in predicate if name not in ("operation", "key", *VALUES)), None):
            raise malformed(f'unknown field "{unknown}"')
        operation = predicate.get("operation")
        if isinstance(operation, int):
            operation = OPERATIONS.get(operation)
        if operation not in tuple(OPERATIONS.values()):
            raise refusal(UNIMPLEMENTED, f"the double does not know the filter operation {operation}")
        value = next((predicate[name] for name in VALUES if name in predicate), "")
        found.append({"operation": operation, "key": predicate.get("key", ""), "value": value})
    return found


def _holds(predicate: Json, value: Any) -> bool:
    wanted, has = folded(str(predicate["value"])), folded(str(value))
    if predicate["operation"] == "IS_SUBSTRING":
        return wanted in has
    equal = wanted == has
    return equal if predicate["operation"] == "EQUALS" else not equal

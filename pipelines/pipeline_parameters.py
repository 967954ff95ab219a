"""The parameters of a compiled pipeline, and values for them as a server takes them."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from kfp_ratchet.components.shared import canonical
from kfp_ratchet.components.shared.credentials import HIDDEN, names_secret, secret_in
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.names import shortened, suggestion

_EXACT = 2**53
_WANTED = {
    "STRING": "a text",
    "NUMBER_INTEGER": "a whole number",
    "NUMBER_DOUBLE": "a number",
    "BOOLEAN": "true or false",
    "LIST": "a list",
    "STRUCT": "a mapping",
}
READABLE_BY_ALL = (
    "everyone who sees a run can read it: take it out, replace the secret, keep the new one in a Kubernetes secret, and "
    "name that in `kubernetes.secrets` of ratchet.yaml, or in kubernetes.use_secret_as_env for a step of your own"
)


@dataclass(frozen=True)
class Parameter:
    """One input of a pipeline."""

    name: str
    type: str
    """STRING, NUMBER_INTEGER, NUMBER_DOUBLE, BOOLEAN, LIST or STRUCT."""
    default: Any
    """None without one."""
    has_default: bool
    description: str = ""
    optional: bool = False
    """Whether a run may leave it out."""
    literals: tuple[Any, ...] = ()
    """The only values it takes; empty for any."""

    @classmethod
    def of(cls, name: str, definition: Mapping[str, Any]) -> Self:
        """From an entry of `inputDefinitions.parameters`."""
        default = definition.get("defaultValue")
        has_default = default is not None
        return cls(
            name,
            str(definition.get("parameterType", "STRING")),
            default,
            has_default,
            str(definition.get("description", "")),
            bool(definition.get("isOptional")) or has_default,
            tuple(definition.get("literals", ())),
        )

    def value(self, given: Any) -> Any:
        """A value of the parameter's type; a text is read as one where the type is another.

        Raises:
            ValueError: It is of another type; says which is wanted.
        """
        found = self._typed(given)
        if self.literals and found not in self.literals:
            raise ValueError(f"must be one of {', '.join(map(canonical.dumps, self.literals))}, not {_shown(given)}")
        return found

    def _typed(self, given: Any) -> Any:
        if self.type == "STRING":
            if isinstance(given, str):
                return given
            quoted = isinstance(given, bool | int | float | dict | list)
            raise ValueError(f"must be a text, not {_shown(given)}" + ("; put it in quotes" if quoted else ""))
        if self.type not in _WANTED:
            raise ValueError(f"is a {self.type}, which nobody can give")
        value = _read(given) if isinstance(given, str) else given
        if self.type == "BOOLEAN":
            right = isinstance(value, bool)
        elif self.type in ("LIST", "STRUCT"):
            right = isinstance(value, list if self.type == "LIST" else dict)
            _refuse_not_finite(value)
        else:
            right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if right and self.type == "NUMBER_INTEGER":
                right = value == int(value)
                value = int(value) if right else value
            if right and isinstance(value, int) and abs(value) > _EXACT:
                raise ValueError(f"is {value}, which a server would round: it keeps numbers as doubles")
        if not right:
            raise ValueError(f"must be {_WANTED[self.type]}, not {_shown(given)}")
        return value


def checked(
    parameters: Mapping[str, Parameter], values: Mapping[str, Any], where: str, *, whole: bool = True
) -> dict[str, Any]:
    """Values as a server takes them; see `PipelineText.check`.

    Args:
        parameters: What there is, by name.
        values: By name.
        where: Where they stand, for messages.
        whole: Whether a run is to be started with them, so that none without a default may be missing.
    """
    found: dict[str, Any] = {}
    problems: list[tuple[str, str]] = []
    for name, given in values.items():
        parameter = parameters.get(name)
        if parameter is None:
            problems.append((f"{where}: the pipeline has no parameter {name!r}", suggestion(name, parameters)))
            continue
        try:
            found[name] = parameter.value(given)
        except ValueError as error:
            problems.append((f"{where}: {name} {error}", parameter.description))
            continue
        if what := credential_in_value(name, found[name]):
            problems.append((f"{where}: {name} holds {what}", READABLE_BY_ALL))
    for name, parameter in parameters.items():
        if whole and not parameter.optional and name not in values:
            problems.append((f"{where}: {name} is missing, and has no default", parameter.description))
    if problems:
        raise InputError("; ".join(text for text, _ in problems), next((told for _, told in problems if told), ""))
    return found


def credential_in_value(name: str, value: Any) -> str:
    """What in a parameter's value looks like a secret, in words that do not repeat it; "" when nothing does."""
    text = value if isinstance(value, str) else json.dumps(value)
    if found := secret_in(text):
        return found
    return "a secret, by its name" if isinstance(value, str) and value and names_secret(name) else ""


def _read(text: str) -> Any:
    """JSON, or None for what is none."""
    try:
        return canonical.loads(text.strip())
    except ValueError:
        return None


def _refuse_not_finite(value: Any) -> None:
    try:
        canonical.dumps(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"holds what JSON cannot say: {error}") from None


def _shown(value: Any) -> str:
    if isinstance(value, str) and secret_in(value):
        return HIDDEN
    return "nothing (null)" if value is None else shortened(repr(value), 60)

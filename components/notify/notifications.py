"""What is told about a run's end, and to whom: the section `notifications:` of ratchet.yaml."""

from importlib.util import find_spec
from typing import Literal, Self, get_args
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from kfp_ratchet.components.shared.credentials import credential_in
from kfp_ratchet.components.shared.parameters import parse_parameter

Outcome = Literal["promoted", "pending", "unchanged", "rejected", "inconclusive", "blocked", "failed", "interrupted"]
"""How a run can end. `pending` waits for a person's approval; `unchanged` is the end of `approve` where nothing waited."""


class Notifications(BaseModel):
    """Messages at the end of a run. The step's own log always says the same."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    on: tuple[Outcome, ...] = Field(
        default=get_args(Outcome), description="Outcomes that are told; every one when not given."
    )
    file: str = Field(default="", description="Append one JSON line a run to this file; empty writes none.")
    urls: tuple[str, ...] = Field(
        default=(),
        description="Apprise URLs without credentials, e.g. json://localhost:1234; those with credentials go to `urls_env`.",
    )
    urls_env: str = Field(
        default="RATCHET_NOTIFY_URLS",
        description="Name of the environment variable that holds Apprise URLs, separated by whitespace; set it from a secret.",
    )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the parameter `notifications`.

        Raises:
            InputError: It is not JSON, has an unknown key or value, or a URL holds credentials. No URL is repeated.
        """
        return parse_parameter(cls, text, "notifications")

    @field_validator("urls")
    @classmethod
    def _no_credentials(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for place, url in enumerate(urls):
            found = secret_in(url)
            if found:
                raise ValueError(
                    f"entry {place + 1} holds {found}; parameters can be read by everyone, "
                    "so put this URL into the environment variable that urls_env names"
                )
        return urls


def secret_in(url: str) -> str:
    """What in an Apprise URL looks like a secret, in words that do not repeat it; "" when nothing does.

    Apprise knows which parts of each service's URL are private; without it installed only the general signs are seen.
    """
    found = credential_in(url)
    if found:
        return found
    # json://host?+Name=value sends a header; parse_qsl reads the plus as a space.
    if any(name.startswith(("+", " ")) for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)):
        return "a request header"
    if find_spec("apprise") is None:
        return ""
    import apprise

    service = apprise.Apprise.instantiate(url, suppress_exceptions=True)
    if service is None:
        raise ValueError("is not a URL that Apprise understands; see https://appriseit.com")
    return "a token or password" if service.url(privacy=True) != service.url(privacy=False) else ""

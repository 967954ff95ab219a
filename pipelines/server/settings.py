"""Where a Kubeflow Pipelines server is and how to speak to it: a section of `pipelines.yaml`, or the environment."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.names import suggestion
from kfp_ratchet.pipelines.config_problems import nearest

_HEADER = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
SERVER, ENDPOINT = "RATCHET_SERVER", "KF_PIPELINES_ENDPOINT"
"""Environment variables: which server, by its name in `pipelines.yaml` or its URL; and KFP's own for a URL."""


def _web_address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be the address of the server, such as https://kubeflow.example.com/pipeline")
    if parts.username or parts.password or parts.query or parts.fragment:
        # Not repeated: it may hold a password.
        raise ValueError(
            "must hold neither user, password, query nor fragment; credentials are named in the section auth"
        )
    try:
        parts.port  # noqa: B018 - it is read to be checked
    except ValueError:
        raise ValueError("has a port that is no number from 0 to 65535") from None
    # Whoever copies it from the browser has the API's own path with it.
    return re.sub(r"(/apis/v[0-9a-z]+)?/*$", "", url)


def _a_variable(name: str) -> str:
    # Not a pattern: what does not fit would be told, and may be the secret itself.
    if not re.fullmatch(_VARIABLE, name):
        raise ValueError("must be the name of an environment variable, such as KFP_TOKEN, and never the value itself")
    return name


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"there is no time zone {name!r}{nearest(name, available_timezones())}")
    return name


Variable = Annotated[str, AfterValidator(_a_variable)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
TimeZone = Annotated[str, AfterValidator(_known_zone)]


class Authentication(BaseModel):
    """Where credentials lie: names of environment variables and paths of files, never a credential itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token_env: Variable | None = Field(
        default=None, description="Environment variable that holds a bearer token.", examples=["KFP_TOKEN"]
    )
    token_file: str = Field(
        default="",
        description="File that holds a bearer token; read again when it changes, as a projected service-account token does.",
        examples=["/var/run/secrets/kubeflow/pipelines/token"],
    )
    cookie_env: Variable | None = Field(
        default=None, description="Environment variable that holds the session's cookie.", examples=["KFP_COOKIE"]
    )
    headers_env: dict[Annotated[str, Field(pattern=_HEADER)], Variable] = Field(
        default={},
        description="Further headers: the environment variable that holds the value, by the header's name.",
        examples=[{"X-Forwarded-User": "KFP_USER"}],
    )

    @property
    def is_default(self) -> bool:
        """Whether nothing was said, so that the usual places are looked at."""
        return not (self.token_env or self.token_file or self.cookie_env or self.headers_env)


class ServerSettings(BaseModel):
    """A server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: WebAddress = Field(
        description="Address of the Pipelines API, with the path it is under.",
        examples=["https://kubeflow.example.com/pipeline"],
    )
    ui: WebAddress | None = Field(
        default=None,
        description="Address of the UI where it is another: links lead there.",
        examples=["https://kubeflow.example.com/_/pipeline"],
    )
    namespace: str = Field(
        default="",
        pattern=r"^$|^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="Profile namespace on a multi-user server; a single-user server has none.",
        examples=["team-delays"],
    )
    time_zone: TimeZone = Field(
        default="UTC",
        description="Time zone in which the server reads cron expressions: its CRON_SCHEDULE_TIMEZONE.",
        examples=["UTC"],
    )
    ca: str = Field(
        default="",
        description="File of the certificate authority that signed the server's certificate, in PEM.",
        examples=["/etc/ssl/company.pem"],
    )
    timeout: float = Field(default=30, gt=0, le=600, description="Seconds to wait for one answer.", examples=[30])
    patience: float = Field(
        default=60, ge=0, le=3600, description="Seconds for which a call is tried again.", examples=[60]
    )
    auth: Authentication = Field(
        default=Authentication(),
        description="Where the credentials lie. When nothing is said: KFP_TOKEN, a projected service-account token, KFP_COOKIE, or none.",
        examples=[{"token_env": "KFP_TOKEN"}],
    )

    @classmethod
    def at(cls, url: str) -> Self:
        """The server at a URL, with the usual settings.

        Raises:
            InputError: It is no web address, or holds a credential.
        """
        try:
            return cls(url=_web_address(url))
        except ValueError as error:
            said = url if "@" not in url else "the server's URL"
            raise InputError(f"{said} {error}", "name a server of pipelines.yaml, or its URL") from None

    def within(self, folder: Path) -> Self:
        """With relative paths made absolute, as seen from the folder of `pipelines.yaml`."""
        auth = self.auth
        if auth.token_file:
            auth = auth.model_copy(update={"token_file": str(folder / auth.token_file)})
        return self.model_copy(update={"auth": auth, **({"ca": str(folder / self.ca)} if self.ca else {})})


def server_settings(which: str, declared: Mapping[str, ServerSettings]) -> ServerSettings:
    """The server that is meant.

    Args:
        which: Its name among `declared`, or a URL. "" takes $RATCHET_SERVER, the first declared one, or $KF_PIPELINES_ENDPOINT.
        declared: The servers of `pipelines.yaml`.

    Raises:
        InputError: There is none of that name, or none is named anywhere.
    """
    which = which or os.environ.get(SERVER, "")
    if which in declared:
        return declared[which]
    if "://" in which:
        return ServerSettings.at(which)
    if ":" in which or "." in which:
        raise InputError(
            f"{which!r} is no server of pipelines.yaml, and no URL",
            f"a URL begins with http:// or https://: http://{which}",
        )
    if which:
        raise InputError(
            f"there is no server {which!r}",
            suggestion(which, declared) if declared else "give its URL, or name it under `servers` in pipelines.yaml",
        )
    if declared:
        return next(iter(declared.values()))
    if endpoint := os.environ.get(ENDPOINT, ""):
        return ServerSettings.at(endpoint if "://" in endpoint else f"http://{endpoint}")
    raise InputError(
        "no Kubeflow Pipelines server is named",
        f"give --server URL, set {SERVER} or {ENDPOINT}, or name it under `servers` in pipelines.yaml",
    )

"""`pipelines.yaml`: what should be on a server. One validated model that imports nothing heavy, so that every command can."""

import json
import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.config_problems import nearest, problems_of
from kfp_ratchet.pipelines.config_yaml import read_yaml
from kfp_ratchet.pipelines.declared_schedules import DeclaredSchedule
from kfp_ratchet.pipelines.images import Images
from kfp_ratchet.pipelines.server.settings import ServerSettings

OURS = ("continuous_training", "approve")
"""Pipelines of this package, which need a `config`."""
_KEY = r"^[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?$"
_IN_MODULE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_LONGEST_NAME = 128


def _a_key(key: str) -> str:
    if not re.fullmatch(_KEY, key):
        raise ValueError(f"{key!r} is not of lower case letters, digits and dashes, up to 50")
    return key


def _a_web_address(url: str) -> str:
    # Not a pattern: what does not fit would be told, and may hold a token.
    if url and not re.fullmatch(r"https?://[^\s@]+", url):
        raise ValueError("must be a web address without user and password, such as https://github.com/example/delays")
    return url


# Not as a pattern, by which a JSON Schema would no longer say what is below the key.
Key = Annotated[str, AfterValidator(_a_key)]
OnServer = Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST_NAME)]


class DeclaredPipeline(BaseModel):
    """A pipeline on the server, where its content comes from, and when it runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pipeline: str = Field(
        description="What it is: continuous_training or approve, of this package; package.module:function for one of your own; or the path "
        "of a compiled YAML.",
        examples=["continuous_training"],
    )
    config: str = Field(
        default="",
        description="The ratchet.yaml whose values become defaults, for continuous_training and approve; relative to this file.",
        examples=["ratchet.yaml"],
    )
    description: str = Field(
        default="",
        description="Shown on the server; the pipeline's own when not given.",
        examples=["Delays of flights, retrained each night"],
    )
    owners: tuple[str, ...] = Field(
        default=(), description="Who answers for it, shown on the server.", examples=[["team-delays@example.com"]]
    )
    parameters: dict[str, Any] = Field(
        default={}, description="Defaults of parameters, made part of what is uploaded.", examples=[{"trials": 20}]
    )
    schedules: dict[Key, DeclaredSchedule] = Field(
        default={},
        description="When it is started, by a name of lower case letters, digits and dashes.",
        examples=[{"nightly": {"cron": "0 3 * * *", "time_zone": "Europe/Berlin"}}],
    )

    @field_validator("pipeline")
    @classmethod
    def _is_one_of_three(cls, what: str, info: ValidationInfo) -> str:
        if what in OURS or _IN_MODULE.fullmatch(what):
            return what
        if what.endswith((".yaml", ".yml", ".json")):
            _refuse_missing(what, info)
            return what
        raise ValueError(
            f"{what!r} is not continuous_training, approve, package.module:function or a path.yaml{nearest(what, OURS)}"
        )

    @field_validator("config")
    @classmethod
    def _config_exists(cls, path: str, info: ValidationInfo) -> str:
        if path:
            _refuse_missing(path, info)
        return path

    @model_validator(mode="after")
    def _config_where_it_counts(self) -> Self:
        if self.pipeline == "continuous_training" and not self.config:
            raise ValueError("config is missing; name the ratchet.yaml of the model")
        if self.config and self.pipeline not in OURS:
            raise ValueError(f"config says nothing to {self.pipeline}; leave it out")
        return self


class Declared(BaseModel):
    """What should be on a server."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="pipelines.yaml")
    _folder: Path = PrivateAttr(default=Path())

    name: str = Field(
        pattern=_KEY,
        description="The owner of everything this file puts on a server: lower case letters, digits and dashes. What another owner put "
        "there is never touched.",
        examples=["delays"],
    )
    repository: Annotated[str, AfterValidator(_a_web_address)] = Field(
        default="",
        description="Web address of the Git repository, for links; that of Git's origin when not given.",
        examples=["https://github.com/example/delays"],
    )
    servers: dict[Key, ServerSettings] = Field(
        default={},
        description="Servers by name; the first is the default of `--server`.",
        examples=[{"staging": {"url": "http://localhost:8888"}}],
    )
    images: Images | None = Field(
        default=None,
        description="Container images of continuous_training and approve, in place of what each ratchet.yaml says.",
        examples=[{"registry": "registry.example.com/team", "repository": "flights", "tag": "2026-11"}],
    )
    experiments: dict[OnServer, str] = Field(
        default={},
        description="Experiments and what each is for; made when they are missing. Where there are some, schedules can name no other.",
        examples=[{"flights": "Delays of flights out of New York"}],
    )
    pipelines: dict[OnServer, DeclaredPipeline] = Field(
        default={},
        description="Pipelines by their name on the server.",
        examples=[
            {
                "flights": {
                    "pipeline": "continuous_training",
                    "config": "ratchet.yaml",
                    "owners": ["team-delays@example.com"],
                    "schedules": {
                        "nightly": {"cron": "0 3 * * *", "time_zone": "Europe/Berlin", "experiment": "flights"}
                    },
                }
            }
        ],
    )

    @field_validator("experiments", "pipelines")
    @classmethod
    def _names_differ_for_a_database(cls, named: dict[str, Any]) -> dict[str, Any]:
        seen: dict[str, str] = {}
        for name in named:
            if name != name.strip() or not name.isprintable():
                raise ValueError(
                    f"the name {name!r} has a space at an end, or what cannot be seen; a server confuses it with others"
                )
            if (other := seen.setdefault(as_database(name), name)) != name:
                raise ValueError(f"{other!r} and {name!r} are one name to a server: capitals and accents do not count")
        return named

    @model_validator(mode="after")
    def _experiments_are_there(self) -> Self:
        for name, pipeline in self.pipelines.items():
            for key, schedule in pipeline.schedules.items():
                wanted = schedule.experiment
                if wanted and self.experiments and wanted not in self.experiments:
                    raise ValueError(
                        f"pipelines.{name}.schedules.{key}.experiment: `experiments` has no {wanted!r}{nearest(wanted, self.experiments)}"
                    )
        return self

    @property
    def folder(self) -> Path:
        """Where the file lies."""
        return self._folder

    def experiment_of(self, pipeline: str, schedule: DeclaredSchedule) -> str:
        """Name of the experiment that a schedule's runs are filed in."""
        return schedule.experiment or next(iter(self.experiments), pipeline)


def load_declared(path: Path) -> Declared:
    """Read and check a `pipelines.yaml`.

    Raises:
        InputError: The file cannot be read, or something in it is wrong: every problem is listed with its line.
    """
    if not path.exists():
        raise InputError(
            f"{path} does not exist", "write one as docs/pipelines.md shows, or name another with --pipelines"
        )
    marked = read_yaml(path)
    problems = list(marked.problems)
    settings = {key: value for key, value in marked.value.items() if value is not None}
    try:
        declared = Declared.model_validate_json(json.dumps(settings), strict=True, context={"folder": path.parent})
        declared._folder = path.resolve().parent
    except ValidationError as error:
        problems += problems_of(error, marked, Declared.model_json_schema())
    if problems:
        raise InputError(
            "\n".join(f"{path}:{line}: {text}" for line, text in sorted(problems)),
            "fix what is named; docs/pipelines.md of kfp-ratchet explains every key",
        )
    return declared


def as_database(name: str) -> str:
    """A name as a server's database compares it: capitals, accents and spaces at the end do not count."""
    decomposed = unicodedata.normalize("NFKD", name.rstrip())
    return "".join(character for character in decomposed if not unicodedata.combining(character)).casefold()


def _refuse_missing(path: str, info: ValidationInfo) -> None:
    file = Path((info.context or {}).get("folder", ""), path)
    if not file.is_file():
        near = nearest(file.name, [each.name for each in file.parent.iterdir()]) if file.parent.is_dir() else ""
        raise ValueError(f"the file {path!r} does not exist{near}")

"""`ratchet.yaml`: everything a project sets, in one validated model. Imports nothing heavy, so that every command can."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from kfp_ratchet.components.deploy.serving import AnyServing, KubernetesServing, Serving
from kfp_ratchet.components.gate.policy import Policy
from kfp_ratchet.components.notify.notifications import Notifications
from kfp_ratchet.components.shared.canonical import dumps
from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.credentials import credential_in
from kfp_ratchet.components.shared.dataset import MAIN
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.model import BUILT_IN
from kfp_ratchet.components.shared.names import shortened
from kfp_ratchet.components.shared.window import LENGTH, Window
from kfp_ratchet.components.tune.space import Dimension
from kfp_ratchet.components.validate.settings import Checks
from kfp_ratchet.pipelines.config_problems import nearest, problems_of
from kfp_ratchet.pipelines.config_yaml import read_yaml
from kfp_ratchet.pipelines.images import Images
from kfp_ratchet.pipelines.kubernetes_settings import STEPS, KubernetesSettings

_IN_MODULE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""`package.module:Name`."""
SECTIONS = ("columns", "window", "checks", "parameters", "search_space", "policy", "serving", "notifications")
_TEXTS = (
    "source",
    "model_name",
    "store",
    "tracking_uri",
    "as_of",
    "cache_max_age",
    "schema",
    "workload",
    "device",
    *SECTIONS,
)
PARAMETERS: Mapping[str, type[str] | type[int]] = {**dict.fromkeys(_TEXTS, str), "trials": int, "seed": int}
"""Type by parameter of `continuous_training`, known without importing kfp."""
APPROVE_PARAMETERS: Mapping[str, type[str] | type[int]] = dict.fromkeys(
    ("model_name", "version", "by", "reason", "serving", "notifications", "store", "tracking_uri"), str
)
"""The same of `approve`."""


def _without_credentials(value: str | dict[str, str]) -> str | dict[str, str]:
    for uri in value.values() if isinstance(value, dict) else [value]:
        if found := credential_in(uri):
            raise ValueError(
                f"the URI holds {found}, and parameters can be read by everyone; pass it by the environment or a secret"
            )
    return value


def _named(columns: Columns) -> Columns:
    if not columns.target:
        raise ValueError("target is missing; name the column to predict")
    return columns


def _not_empty(value: str | dict[str, str]) -> str | dict[str, str]:
    if not value:
        raise ValueError("names no table")
    return value


def _known_workload(name: str) -> str:
    return name if name in BUILT_IN else _in_module(name, list(BUILT_IN))


def _a_text(value: str) -> str:
    if not value.strip() or "\0" in value:
        raise ValueError("must not be blank, nor hold a null character")
    return value


_Text = Annotated[str, Field(min_length=1), AfterValidator(_a_text)]
Uri = Annotated[_Text, AfterValidator(_without_credentials)]
TableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Source = Annotated[_Text | dict[TableName, _Text], AfterValidator(_without_credentials), AfterValidator(_not_empty)]


class Prepare(BaseModel):
    """How tables become model rows: one of the two."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sql: str = Field(
        default="",
        description="A .sql file, or the query itself (polars SQL), over the tables by name.",
        examples=["rows.sql"],
    )
    function: str = Field(
        default="",
        description="package.module:name of a function that takes a dict of lazy frames by table and returns one lazy frame.",
        examples=["features:prepare"],
    )

    @property
    def sql_file(self) -> str:
        """The path when `sql` names a file, "" when it is the query."""
        return self.sql if self.sql.endswith(".sql") and "\n" not in self.sql else ""

    @field_validator("function")
    @classmethod
    def _function_is_in_a_module(cls, name: str) -> str:
        return _in_module(name) if name else name

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if bool(self.sql) == bool(self.function):
            raise ValueError("give either sql or function")
        return self


class Config(BaseModel):
    """Settings of one project. Paths are relative to the file's folder, where steps run."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="ratchet.yaml")
    _folder: Path = PrivateAttr(default=Path())

    name: str = Field(
        pattern=r"^[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?$",
        description="Name of the model: lower case letters, digits and dashes.",
        examples=["flights"],
    )
    source: Source = Field(
        description="Where the data is: a path or URI of a file or folder; or one for each table, the main table first.",
        examples=["data/flights", {"flights": "data/flights", "weather": "data/weather.csv"}],
    )
    row_schema: str | dict[TableName, str] = Field(
        alias="schema",
        description="What rows must look like: a pandera YAML file or package.module:Class; or one for each table. Run "
        "`ratchet data draft-schema`, review what it writes, and set it here.",
        examples=["schema.yaml", {"flights": "schema.yaml", "weather": "schemas:Weather"}],
    )
    prepare: Prepare | None = Field(
        default=None,
        description="How tables become model rows; left out of the pipeline when not given.",
        examples=[{"sql": "rows.sql"}],
    )
    columns: Annotated[Columns, AfterValidator(_named)] = Field(
        description="What each column of the model's rows is for.",
        examples=[{"target": "late", "id": "flight_id", "time": "time_hour", "slices": ["origin"]}],
    )
    window: Window = Field(
        default=Window(),
        description="Which rows train and which rows judge.",
        examples=[{"train": "90d", "evaluate": "14d"}],
    )
    checks: Checks = Field(
        default=Checks(),
        description="What to do with rows that fail the schema, and the checks across rows.",
        examples=[{"on_failure": "quarantine", "max_quarantine_share": 0.02}],
    )
    workload: Annotated[str, AfterValidator(_known_workload)] = Field(
        default="tabular",
        description="The model: tabular, or package.module:Class that follows the workload protocol.",
        examples=["tabular"],
    )
    hyperparameters: dict[str, Any] = Field(
        default={},
        alias="parameters",
        description="Hyperparameters that are fixed; the workload's defaults for the others.",
        examples=[{"epochs": 20}],
    )
    search_space: dict[str, Dimension] = Field(
        default={},
        description="Hyperparameters to search, by name; the workload's own search space when empty.",
        examples=[{"learning_rate": {"type": "float", "low": 0.0001, "high": 0.01, "log": True}}],
    )
    trials: int = Field(
        default=10, ge=0, description="How many trials the search has; 0 takes the workload's defaults.", examples=[10]
    )
    # Larger ones are refused by numpy's generators.
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="Seed of every random choice.", examples=[0])
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$",
        description="auto, cpu, cuda or cuda:N.",
        examples=["auto"],
    )
    policy: Policy = Field(
        default=Policy(),
        description="What the gate asks of a challenger.",
        examples=[{"metric": "roc_auc", "margin": 0.002}],
    )
    serving: AnyServing = Field(
        default=Serving(), description="Where and how the model is served.", examples=[{"port": 8080}]
    )
    notifications: Notifications = Field(
        default=Notifications(), description="What is sent, when and where.", examples=[{"on": ["rejected", "failed"]}]
    )
    kubernetes: KubernetesSettings = Field(
        default=KubernetesSettings(),
        description="What the pods of a compiled pipeline ask of a cluster; runs on this machine ignore it. See docs/kubernetes.md.",
        examples=[
            {
                "fit": {"memory": "8G", "memory_limit": "16G", "timeout": "12h"},
                "gpu": {"count": 1, "steps": ["tune", "train"], "shared_memory": "8Gi"},
                "secrets": {"s3": {"name": "ratchet-s3"}, "notify": {"name": "ratchet-notify", "optional": True}},
                "config_maps": [{"name": "ratchet", "env": {"region": "AWS_REGION"}}],
                "deployer_secret": "ratchet-deployer",
                "labels": {"cost-center": "delays"},
            }
        ],
    )
    images: Images = Field(
        default=Images(),
        description="Which container images the steps of a compiled pipeline run in: REGISTRY/REPOSITORY/slim:TAG, and so on. See "
        "docs/images.md.",
        examples=[{"registry": "registry.example.com/team", "repository": "flights", "tag": "2025-06"}],
    )
    step_timeout: str = Field(
        default="24h",
        pattern=r"^off$|^[1-9][0-9]*[smhd]$",
        description="How long a step may run on this machine until `ratchet run` ends it, such as 90s, 30m, 6h or 2d; or off.",
        examples=["6h"],
    )
    cache_max_age: str = Field(
        default="",
        pattern=rf"^$|{LENGTH}",
        description="After which time every step is run again even if nothing has changed, such as 36h, 7d or 2w; never when not given. "
        "For what no pinned id can see, such as a service that `prepare` asks.",
        examples=["7d"],
    )
    store: Uri = Field(
        default=".ratchet/store",
        description="Folder or bucket that holds ledger, journal, studies and checkpoints.",
        examples=["s3://bucket/ratchet"],
    )
    tracking_uri: Uri = Field(
        default="sqlite:///.ratchet/mlflow.db",
        description="MLflow tracking URI of the model registry.",
        examples=["http://mlflow:5000"],
    )

    @field_validator("row_schema")
    @classmethod
    def _schemas_exist(cls, value: str | dict[str, str], info: ValidationInfo) -> str | dict[str, str]:
        for reference in value.values() if isinstance(value, dict) else [value]:
            if not _IN_MODULE.fullmatch(reference):
                _existing(reference, info)
        source = info.data.get("source")
        if isinstance(value, dict) and source is not None:
            tables = list(source) if isinstance(source, dict) else [MAIN]
            if tables[0] not in value:
                raise ValueError(
                    f"the main table {tables[0]!r} has none; run `ratchet data draft-schema` and review it"
                )
            for table in value:
                if table not in tables:
                    raise ValueError(f"source has no table {table!r}{nearest(table, tables)}")
        return value

    @field_validator("prepare")
    @classmethod
    def _sql_exists(cls, value: Prepare | None, info: ValidationInfo) -> Prepare | None:
        if value and value.sql_file:
            _existing(value.sql_file, info)
        return value

    @model_validator(mode="after")
    def _sections_fit_each_other(self) -> Self:
        check_fit(self.columns, self.policy, self.window, self.checks)
        for key, step in self.kubernetes.named_steps().items():
            if step not in STEPS:
                raise ValueError(f"kubernetes.{key}: there is no step {step!r}{nearest(step, STEPS)}")
        return self

    def parameters(self) -> dict[str, str | int]:
        """Value by parameter of `continuous_training`: what the file sets, so that all else keeps the package's defaults.

        Raises:
            InputError: A schema file cannot be read.
        """
        sections = self.model_dump(mode="json", exclude_unset=True, by_alias=True)
        if isinstance(self.serving, KubernetesServing) and not self.serving.image:
            sections["serving"]["image"] = self.images.serve
        main = next(iter(self.source)) if isinstance(self.source, dict) else MAIN
        schemas = self.row_schema if isinstance(self.row_schema, dict) else {main: self.row_schema}
        embedded = {table: self._embedded(reference) for table, reference in schemas.items()}
        return {
            # Not canonical: the order of tables matters, the first is the main one.
            "source": self.source if isinstance(self.source, str) else json.dumps(self.source),
            "model_name": self.name,
            "store": self.store,
            "tracking_uri": self.tracking_uri,
            "as_of": "",
            "cache_max_age": self.cache_max_age,
            # Never the text itself: KFP writes defaults into comments, which a line break ends.
            "schema": dumps(embedded),
            "workload": self.workload,
            "trials": self.trials,
            "seed": self.seed,
            "device": self.device,
            **{name: dumps(sections.get(name, {})) for name in SECTIONS},
        }

    def recipe(self) -> str:
        """JSON for `prepare`, a SQL file's text embedded; "" when there is nothing to prepare.

        Raises:
            InputError: The SQL file cannot be read.
        """
        if self.prepare is None:
            return ""
        if self.prepare.function:
            return dumps({"function": self.prepare.function})
        return dumps({"sql": self._text(self.prepare.sql_file) if self.prepare.sql_file else self.prepare.sql})

    def modules(self) -> list[str]:
        """The user's modules that steps import: of workload, schemas, prepare and metrics."""
        schemas = [self.row_schema] if isinstance(self.row_schema, str) else list(self.row_schema.values())
        names = [self.workload, *schemas, self.prepare.function if self.prepare else "", *self.policy.functions()]
        return list(dict.fromkeys(name.split(":")[0] for name in names if _IN_MODULE.fullmatch(name)))

    def _embedded(self, reference: str) -> str:
        return reference if _IN_MODULE.fullmatch(reference) else self._text(reference)

    def _text(self, path: str) -> str:
        try:
            return (self._folder / path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read: {error}", "check the path in ratchet.yaml") from error


def load(path: Path) -> Config:
    """Read and check a `ratchet.yaml`.

    Raises:
        InputError: The file cannot be read, or something in it is wrong: every problem is listed with its line.
    """
    marked = read_yaml(path)
    problems = list(marked.problems)
    # A section whose lines are all commented out is null in YAML.
    settings = {key: value for key, value in marked.value.items() if value is not None}
    try:
        # By way of JSON and strict: `trials: "3"` and `seed: true` are mistakes, lists for tuples are not.
        config = Config.model_validate_json(json.dumps(settings), strict=True, context={"folder": path.parent})
        config._folder = path.parent
    except ValidationError as error:
        problems += problems_of(error, marked, Config.model_json_schema())
    if problems:
        raise InputError(
            "\n".join(f"{path}:{line}: {text}" for line, text in sorted(problems)),
            "fix what is named; docs/configuration.md of kfp-ratchet explains every key",
        )
    return config


def check_fit(columns: Columns, policy: Policy, window: Window, checks: Checks) -> None:
    """Whether the other sections can do what they say with these columns.

    Raises:
        ValueError: A metric does not fit the problem, slices or clusters are asked for that no column makes, or a setting would do
            nothing because there is a time column or none; begins with the key.
    """
    try:
        policy.metric_for(columns.problem)
    except InputError as error:
        raise ValueError(str(error)) from None
    if policy.slices and "slices" in policy.model_fields_set and not columns.slices:
        raise ValueError("policy.slices: columns.slices names no column; name some, or leave it out")
    if "min_clusters" in policy.model_fields_set and not columns.cluster:
        raise ValueError("policy.min_clusters: columns.cluster names no column to count by; name it, or leave it out")
    if columns.time and "share" in window.model_fields_set:
        raise ValueError("window.share: rows are split by columns.time, and a share has no say; leave it out")
    for key in () if columns.time else ("train", "evaluate", "end"):
        if key in window.model_fields_set:
            raise ValueError(f"window.{key}: columns.time names no column to go by; name it, or leave {key} out")
    if checks.max_age and not columns.time:
        raise ValueError("checks.max_age: columns.time names no column to go by; name it, or leave max_age out")


def _in_module(name: str, others: list[str] | None = None) -> str:
    if not _IN_MODULE.fullmatch(name):
        raise ValueError(f"{name!r} is not of the form package.module:name{nearest(name, others or [])}")
    return name


def _existing(path: str, info: ValidationInfo) -> None:
    file = Path((info.context or {}).get("folder", ""), path)
    try:
        if file.is_file():
            return
        near = nearest(path, [entry.name for entry in file.parent.iterdir()]) if file.parent.is_dir() else ""
    except OSError:  # a name that no file can have, or a folder that may not be read
        near = ""
    raise ValueError(f"the file {shortened(path)!r} does not exist{near}")

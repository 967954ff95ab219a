"""`ratchet init`: a commented `ratchet.yaml` and a draft of a schema for a table, and a `pipelines.yaml` for a server."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Any

from kfp_ratchet.components.gate.metric_kinds import DEFAULT_METRIC
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.config import Config, load
from kfp_ratchet.pipelines.table_facts import Facts, look_at

CONFIG_FILE, SCHEMA_FILE, PIPELINES_FILE = "ratchet.yaml", "schema.yaml", "pipelines.yaml"
_SHARE = 0.2
_PIPELINES = Template("""\
# What should be on a Kubeflow Pipelines server: `ratchet server diff` tells what differs, `ratchet server apply` makes it so.
# Every key is explained in docs/pipelines.md of kfp-ratchet. Paths count from this file's folder.

# Owner of everything this file puts on a server. What others put there is never touched.
name: $name

# The first is the default of --server. A server without an address of its own: kubectl port-forward -n kubeflow svc/ml-pipeline 8888:8888
servers:
  local: {url: "http://localhost:8888"}
#  production: {url: "https://kubeflow.example.com/pipeline", namespace: team, auth: {token_env: KFP_TOKEN}}

# Where runs are filed, and what each place is for.
experiments:
  $name: Retraining of $name

# By their name on the server.
pipelines:
  $name:
    pipeline: continuous_training
    config: ratchet.yaml
#    parameters: {trials: 20}
#    schedules:
#      nightly: {cron: "0 3 * * *", time_zone: UTC, experiment: $name}
""")


@dataclass(frozen=True)
class Written:
    """What `init` wrote, and what it decided on its own."""

    config: Path
    schema: Path
    pipelines: Path | None
    """None where there is one already, or none was asked for."""
    said: tuple[str, ...]
    """One sentence for each decision; the same stand in the file as comments."""

    def lines(self) -> Iterator[str]:
        """What to show in a terminal."""
        yield f"{self.config} written"
        yield f"{self.schema} written: a draft; review it"
        if self.pipelines:
            yield f"{self.pipelines} written: for `ratchet server apply`, once you have a server"
        yield from (f"  {sentence}" for sentence in self.said)
        here = self.config == Path(CONFIG_FILE)
        yield "next: ratchet run" if here else f"next: ratchet run --config {self.config}"


def init(
    data: Path,
    target: str,
    *,
    time: str = "",
    id: str = "",
    name: str = "",
    folder: Path = Path(),
    force: bool = False,
    pipelines: bool = True,
) -> Written:
    """Write `ratchet.yaml` and `schema.yaml` for a table, and `pipelines.yaml` where there is none.

    Args:
        data: A file or a folder of files of one table.
        target: The column to predict; the kind of problem is decided from its values.
        time: The column that says when a row happened; the only date or time column when not given.
        id: The column that identifies a row; a unique column named like one when not given.
        name: Name of the model; the data's name when not given.
        folder: Where to write.
        force: Replace files that are there.
        pipelines: Whether to write `pipelines.yaml`; one that is there may say more than this table, and stays.

    Raises:
        InputError: Files are there already, the data cannot be read, a column does not exist, or nothing can be learnt.
    """
    config, schema = folder / CONFIG_FILE, folder / SCHEMA_FILE
    present = [path for path in (config, schema) if path.exists()]
    if present and not force:
        raise InputError(f"{' and '.join(map(str, present))} exist already", "use --force to replace them")
    slug = re.sub(r"[^a-z0-9]+", "-", (name or data.stem).lower()).strip("-")[:50].strip("-") or "model"
    if name and slug != name:
        raise InputError(
            f"name {name!r} has other characters than lower case letters, digits and dashes", f"try {slug}"
        )
    facts = look_at(data, target, time, id)
    texts = {config: _config_text(facts, slug, _source(data, folder)), schema: facts.draft(data.name)}
    _check(texts)
    on_server = folder / PIPELINES_FILE if pipelines and not (folder / PIPELINES_FILE).exists() else None
    if on_server:
        texts[on_server] = _PIPELINES.substitute(name=slug)
    _write(texts, folder, present)
    return Written(config, schema, on_server, tuple(facts.said.values()))


def _check(texts: Mapping[Path, str]) -> None:
    """Load the files from elsewhere first, so that nothing is written which `ratchet` itself refuses."""
    with TemporaryDirectory() as elsewhere:
        for path, text in texts.items():
            Path(elsewhere, path.name).write_text(text, encoding="utf-8")
        load(Path(elsewhere, CONFIG_FILE))


def _write(texts: Mapping[Path, str], folder: Path, present: list[Path]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        for path in texts:
            if path not in present:
                with suppress(OSError):
                    path.unlink()
        raise InputError(
            f"{folder} cannot be written to: {error.strerror or error}",
            "make it writable, or name another with --folder",
        ) from error


def _config_text(facts: Facts, name: str, source: str) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # YAML, not HTML: values are quoted by `text`.
    environment = Environment(loader=PackageLoader("kfp_ratchet.pipelines", "."), undefined=StrictUndefined)  # noqa: S701
    about = {field.alias or key: field.description for key, field in Config.model_fields.items()}
    lowered = _lowered(facts)
    said = {
        **facts.said,
        "policy": "The table is small, so fewer rows than usual suffice; their intervals are wide." if lowered else "",
    }
    text = environment.get_template("ratchet.yaml.j2").render(
        name=name,
        source=source,
        schema=SCHEMA_FILE,
        columns=facts.columns,
        said=said,
        about=about,
        evaluate=facts.evaluate,
        metric=DEFAULT_METRIC[facts.columns.problem],
        lowered=lowered,
        example=_example_feature(facts),
        text=_quoted,
    )
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _example_feature(facts: Facts) -> str:
    """A feature to show `slices` and `ignore` with, text if there is one."""
    features = facts.columns.features(facts.sample.columns)
    texts = [name for name in features if str(facts.sample.schema[name]) == "String"]
    return next(iter(texts or features), "column")


def _lowered(facts: Facts) -> Mapping[str, int]:
    """Bounds of the policy that a small table could not meet, lowered so that it can."""
    policy = Config.model_fields["policy"].default
    lowered = {}
    # A hash does not hit the share exactly, hence some room on both sides.
    if facts.evaluated < policy.min_rows * 1.2:
        lowered["min_rows"] = max(2, int(facts.evaluated * 0.7))
    if facts.rarest_evaluated is not None and facts.rarest_evaluated < policy.min_class_rows * 1.5:
        lowered["min_class_rows"] = max(1, int(facts.rarest_evaluated * 0.5))
    return lowered


def _source(data: Path, folder: Path) -> str:
    """The data's path as seen from `folder`; an absolute one elsewhere stays as given."""
    inside = data.resolve().is_relative_to(folder.resolve())
    return data.as_posix() if data.is_absolute() and not inside else Path(os.path.relpath(data, folder)).as_posix()


def _quoted(value: Any) -> str:
    """A YAML scalar: bare where nobody could misread it, else as JSON."""
    bare = isinstance(value, str) and re.fullmatch(r"(\.{0,2}/)*[A-Za-z_][\w./-]*", value, re.ASCII)
    words = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
    return value if bare and value.lower() not in words else json.dumps(value, ensure_ascii=False)

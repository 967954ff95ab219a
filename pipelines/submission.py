"""What is to be started on a server, from what, and whether it already runs."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from kfp_ratchet.components.shared.canonical import dumps
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.names import suggestion
from kfp_ratchet.pipelines.pipeline_text import PipelineText, digest_of
from kfp_ratchet.pipelines.provenance import parameter, provenance
from kfp_ratchet.pipelines.server.marks import Mark, described
from kfp_ratchet.pipelines.server.objects import Pipeline, Run, Version

if TYPE_CHECKING:
    from kfp_ratchet.pipelines.declared import Declared
    from kfp_ratchet.pipelines.server.connection import Server

PROVENANCE = "provenance"
"""Parameter that only the submitter can fill; it makes no run another one."""


@dataclass(frozen=True)
class Target:
    """A pipeline that can be started."""

    name: str
    """As it was asked for, with the version's name where it has one."""
    text: PipelineText
    pipeline_id: str = ""
    version_id: str = ""
    """"" sends the spec along."""
    experiment: str = ""
    folder: Path = Path()
    """What Git knows of it lies there."""

    @property
    def store(self) -> str:
        """Default of its parameter `store`; "" without one."""
        return str(self.effective({}).get("store", ""))

    def effective(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Value by parameter of a run, defaults included; without what only its submitter knows."""
        defaults = {name: one.default for name, one in self.text.parameters.items() if one.has_default}
        return {name: value for name, value in {**defaults, **given}.items() if name != PROVENANCE}

    def uncached(self) -> "Target":
        """The same with every step's cache off. A server takes that only from a spec that is sent along."""
        spec = json.loads(json.dumps(self.text.spec))
        plain = spec.get("pipeline_spec", spec)
        for component in (plain["root"], *plain.get("components", {}).values()):
            for task in component.get("dag", {}).get("tasks", {}).values():
                task["cachingOptions"] = {}
        return replace(self, text=PipelineText(_as_yaml(spec), spec), pipeline_id="", version_id="")


def find_target(
    which: str, server: "Server", declared: "Declared | None", digest: Callable[[str], str] | None = None
) -> Target:
    """The pipeline that is meant.

    Args:
        which: A pipeline of pipelines.yaml (then the version that holds Git's content), NAME or NAME@VERSION on the server, or the path of
            a compiled YAML.
        server: Where it is started.
        declared: The pipelines.yaml, if there is one.
        digest: Digest by image reference, if Git's content was applied with pinned images.

    Raises:
        InputError: There is none such, or the server has no version with Git's content.
    """
    if which.endswith((".yaml", ".yml", ".json")) and not (declared and which in declared.pipelines):
        return Target(which, PipelineText.read(Path(which)), folder=Path(which).absolute().parent)
    if declared is not None and which in declared.pipelines:
        return _declared(which, server, declared, digest)
    name, _, version_name = which.partition("@")
    pipeline = server.pipeline(name)
    if pipeline is None:
        known = {*(declared.pipelines if declared else ()), *(one.name for one in server.pipelines())}
        raise InputError(f"there is no pipeline {name!r}, neither in Git nor on the server", suggestion(name, known))
    versions = server.versions(pipeline.id, newest=0 if version_name else 1)
    found = [one for one in versions if not version_name or one.name == version_name]
    if not found:
        known_versions = [one.name for one in versions]
        wanted = f"{name} has no version {version_name!r}" if version_name else f"{name} has no version yet"
        raise InputError(wanted, suggestion(version_name, known_versions) if known_versions else "upload one")
    return _of_version(pipeline, found[0])


def _declared(name: str, server: "Server", declared: "Declared", digest: Callable[[str], str] | None = None) -> Target:
    from kfp_ratchet.pipelines.compile import compiled_pipelines

    only = declared.model_copy(update={"pipelines": {name: declared.pipelines[name]}})
    text = compiled_pipelines(only, digest)[name].spec
    pipeline = server.pipeline(name)
    versions = server.versions(pipeline.id, newest=2) if pipeline else []
    same = [one for one in versions if digest_of(one.spec) == text.digest]
    if pipeline and not same:
        # Pinned by digest when it was uploaded, or an older one is newest.
        same = [one for one in server.versions(pipeline.id) if digest_of(one.spec) == text.digest]
    if pipeline is None or not same:
        what = "no version with what Git says" if pipeline else "no such pipeline yet"
        raise InputError(
            f"the server has {what} of {name}",
            f"`ratchet server apply` uploads it (was it given --pin-digests? give it here, too); `ratchet submit {name}@VERSION` "
            "takes one that is there, a path sends the YAML along",
        )
    experiment = next(
        (one.experiment for one in declared.pipelines[name].schedules.values() if one.experiment),
        next(iter(declared.experiments), name),
    )
    return replace(_of_version(pipeline, same[0]), text=text, experiment=experiment, folder=declared.folder)


def _of_version(pipeline: Pipeline, version: Version) -> Target:
    text = PipelineText(_as_yaml(version.spec), version.spec)
    return Target(f"{pipeline.name}@{version.name}", text, pipeline.id, version.id, pipeline.name)


def _as_yaml(spec: Mapping[str, Any]) -> str:
    documents = [spec["pipeline_spec"], spec["platform_spec"]] if "pipeline_spec" in spec else [spec]
    return yaml.safe_dump_all(documents)


def in_progress(target: Target, given: Mapping[str, Any], runs: Sequence[Run]) -> Run | None:
    """The oldest of some runs that is the same: of the same content, with the same values of all parameters."""
    wanted = dumps(target.effective(given))
    same = [
        one
        for one in runs
        if not one.over
        and one.state != "CANCELING"
        and _same_content(one, target)
        and dumps(target.effective(one.parameters)) == wanted
    ]
    return min(same, key=lambda one: (one.created, one.id), default=None)


def _same_content(run: Run, target: Target) -> bool:
    if target.version_id:
        return run.version_id == target.version_id
    return run.spec is not None and digest_of(run.spec) == target.text.digest


def start(
    server: "Server",
    target: Target,
    given: Mapping[str, Any],
    *,
    reason: str = "",
    name: str = "",
    experiment: str = "",
    pipeline_root: str = "",
    service_account: str = "",
) -> Run:
    """Start a run.

    Args:
        server: Where.
        target: Of what.
        given: Values of parameters, checked.
        reason: Why, for its name; where this is a CI, its branch, when not given.
        name: Its name; model, time and reason when not given.
        experiment: Where it is filed; made when it is missing.
        pipeline_root: Where its artifacts go; the server's place when "".
        service_account: Of its pods; the server's when "".

    Raises:
        InputError: The experiment is archived: nobody would see the run there.
        ServerError: The server cannot start it.
    """
    named = experiment or target.experiment or target.text.name
    filed = server.experiment(named)
    if filed.archived:
        raise InputError(
            f"the experiment {named} is archived: nobody would see the run there",
            "restore it in the UI, or name another with --experiment",
        )
    told = provenance(target.folder)
    values = dict(given)
    if PROVENANCE in target.text.parameters and PROVENANCE not in values:
        values[PROVENANCE] = parameter(told, target.text.digest)
    why, now = reason or _reason(), server.health().now or datetime.now(UTC)
    about = str(target.effective(values).get("model_name") or target.text.name)
    mark = Mark(pipeline=target.name.partition("@")[0], digest=target.text.digest, commit=str(told.get("commit", "")))
    return server.create_run(
        name=name or f"{about} {now:%Y-%m-%d %H:%M} {why}",
        description=described(f"{target.name}, started {why}.", mark),
        experiment_id=filed.id,
        parameters=values,
        pipeline_id=target.pipeline_id,
        version_id=target.version_id,
        spec=None if target.version_id else target.text.spec,
        pipeline_root=pipeline_root,
        service_account=service_account,
    )


def _reason() -> str:
    branch = (
        os.environ.get("GITHUB_REF_NAME")
        or os.environ.get("CI_COMMIT_REF_NAME")
        or os.environ.get("BUILD_SOURCEBRANCHNAME")
    )
    return f"by ci of {branch}" if branch else "by hand"

"""A compiled pipeline as text: what it is called, what it takes, and the digest by which its content is known on a server.

Needs no KFP: importing that takes longer than most of what is asked here.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import yaml

from kfp_ratchet.components.shared import canonical
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.pipeline_parameters import Parameter, checked

_MOST_BYTES = 32 * 2**20
"""What a server takes in one upload."""
_MOST_VALUES = 1_000_000
_DEEPEST = 200
_SCHEMA = "2.1.0"
_EXACT = 2**53
"""Up to here a double, which is what a server keeps, holds every whole number."""
_REMEDY = "give the YAML that KFP 2 compiles a pipeline to, e.g. by `ratchet compile`"


@dataclass(frozen=True)
class PipelineText:
    """A pipeline as it is uploaded."""

    text: str
    """YAML (or JSON), with a second document for the platform when it has one."""
    spec: Mapping[str, Any]
    """The same as a server returns it: the PipelineSpec, or an object of `pipeline_spec` and `platform_spec`."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file.

        Raises:
            InputError: It cannot be read, is no UTF-8, or as for `parse`.
        """
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise _too_large(str(path))
            return cls.parse(path.read_text(encoding="utf-8-sig"), str(path))
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise InputError(f"{path}:{line}: the text is not UTF-8: {error.reason}", _REMEDY) from None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}", _REMEDY) from None

    @classmethod
    def parse(cls, text: str, where: str = "the pipeline") -> Self:
        """Read compiled YAML or JSON.

        Args:
            text: One document, or two with that of the platform `kubernetes`.
            where: Its file or name, for messages.

        Raises:
            InputError: It is no pipeline that a server takes whole: it would refuse it, or drop a document without a word.
        """
        if len(text) > _MOST_BYTES:
            raise _too_large(where)
        pipeline, *others = _documents(text, where)
        if problem := _problem(pipeline):
            raise InputError(f"{where} is no compiled pipeline: {problem}", _REMEDY)
        if not others:
            return cls(text, pipeline)
        platforms = others[0].get("platforms") if isinstance(others[0], dict) else None
        if len(others) > 1 or not isinstance(platforms, dict):
            raise InputError(
                f"{where} has a {'third document' if len(others) > 1 else 'second document that is no platform spec'}, "
                "which a server would drop without a word",
                "take it out",
            )
        if unknown := sorted(set(platforms) - {"kubernetes"}):
            raise InputError(
                f"{where} is for the platform {unknown[0]!r}, which a server drops without a word",
                "compile it for kubernetes",
            )
        return cls(text, {"pipeline_spec": pipeline, "platform_spec": others[0]})

    @property
    def pipeline_spec(self) -> Mapping[str, Any]:
        """The PipelineSpec alone."""
        return _without_platform(self.spec)

    @property
    def platform_spec(self) -> Mapping[str, Any]:
        """What Kubernetes is asked for; empty without."""
        found: Mapping[str, Any] = self.spec.get("platform_spec", {})
        return found

    @cached_property
    def digest(self) -> str:
        """`sha256:…` of the content: order of keys, comments and style of YAML do not count."""
        return digest_of(self.spec)

    @property
    def name(self) -> str:
        """The name inside the spec."""
        return str(self.pipeline_spec["pipelineInfo"].get("name", ""))

    @property
    def description(self) -> str:
        """What the pipeline says of itself."""
        return str(self.pipeline_spec["pipelineInfo"].get("description", ""))

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """What it takes, by name, in alphabetical order as a UI shows them."""
        return parameters_of(self.spec)

    def check(self, values: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Values for a run, as a server would take them; texts are converted where another type is wanted.

        Args:
            values: By parameter; those left out take their defaults.
            where: Where the values stand, for messages.

        Raises:
            InputError: A parameter is missing, unknown, of another type, or holds what looks like a credential.
        """
        return checked(self.parameters, values, where)

    @property
    def images(self) -> list[str]:
        """Container images of its steps, sorted."""
        deployment = self.pipeline_spec.get("deploymentSpec") or {}
        executors = deployment.get("executors", {}).values()
        return sorted({image for each in executors if (image := each.get("container", {}).get("image"))})

    @property
    def sdk_version(self) -> str:
        """Of the compiler: `kfp-2.17.0`."""
        return str(self.pipeline_spec.get("sdkVersion", ""))

    @property
    def size(self) -> int:
        """Bytes of the text in UTF-8."""
        return len(self.text.encode())


def digest_of(spec: Mapping[str, Any]) -> str:
    """The digest of a spec that a server returned; the same as that of the text it was uploaded from.

    Args:
        spec: A PipelineSpec, or an object of `pipeline_spec` and `platform_spec`.
    """
    return canonical.digest(canonical.dumps(_plain(spec)))


def parameters_of(spec: Mapping[str, Any]) -> Mapping[str, Parameter]:
    """The parameters of a spec that a server returned."""
    inputs = _without_platform(spec).get("root", {}).get("inputDefinitions", {}).get("parameters", {})
    return {name: Parameter.of(name, inputs[name]) for name in sorted(inputs)}


def _without_platform(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = spec.get("pipeline_spec", spec)
    return found


def _too_large(where: str) -> InputError:
    return InputError(
        f"{where} is larger than the {_MOST_BYTES // 2**20} MiB that a server takes",
        "move what is embedded in its steps into their image",
    )


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML in C where it is there: compiled pipelines are long. A date is the text it looks like, as for a server."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _documents(text: str, where: str) -> list[Any]:
    """The documents that are not empty, at least one."""
    try:
        found = [document for document in yaml.load_all(text, _Loader) if document is not None]
        counted = iter(range(_MOST_VALUES))
        plain = [_plain(document, counted) for document in found]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or error
        raise InputError(f"{where} is no compiled pipeline: {line}{problem}", _REMEDY) from None
    except (RecursionError, StopIteration):
        raise InputError(
            f"{where} is no compiled pipeline: nested too deeply, or its aliases multiply", _REMEDY
        ) from None
    except ValueError as error:
        raise InputError(f"{where} is no compiled pipeline: {error}", _REMEDY) from None
    if not plain:
        raise InputError(f"{where} is no compiled pipeline: it is empty", _REMEDY)
    return plain


def _plain(value: Any, counted: Iterator[int] | None = None, depth: int = 0) -> Any:
    """A value as JSON has it after a server kept its numbers as doubles.

    Raises:
        StopIteration: More values than `counted` lets pass.
        RecursionError: Too deep.
        ValueError: A number that is not finite.
    """
    if counted is not None:
        next(counted)
    if depth > _DEEPEST:
        raise RecursionError
    if isinstance(value, Mapping):
        return {_key(key): _plain(inner, counted, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, counted, depth + 1) for inner in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a finite number")
        return int(value) if value == int(value) and abs(value) <= _EXACT else float(value)
    raise ValueError(f"a {type(value).__name__} is no JSON")


def _key(key: Any) -> str:
    return key if isinstance(key, str) else canonical.dumps(key)


def _problem(document: Any) -> str:
    """Why a document is no pipeline; "" when it is one."""
    if not isinstance(document, dict):
        return f"it holds a {type(document).__name__}, not a mapping"
    if "kind" in document and "apiVersion" in document:
        return f"it is a Kubernetes object ({document['kind']})"
    if "implementation" in document:
        return "it is a single component of KFP 1"
    for key, kind in (("pipelineInfo", dict), ("root", dict), ("schemaVersion", str)):
        if not isinstance(document.get(key), kind):
            return f"it has no `{key}`"
    if document["schemaVersion"] != _SCHEMA:
        return f"its schemaVersion is {document['schemaVersion']}, and a server knows {_SCHEMA} alone"
    inputs = document["root"].get("inputDefinitions", {})
    parameters = inputs.get("parameters", {}) if isinstance(inputs, dict) else None
    if not isinstance(parameters, dict) or not all(isinstance(each, dict) for each in parameters.values()):
        return "its `root.inputDefinitions` is no mapping of parameters"
    deployment = document.get("deploymentSpec") or {}
    executors = deployment.get("executors", {}) if isinstance(deployment, dict) else None
    if not isinstance(executors, dict) or not all(isinstance(each, dict) for each in executors.values()):
        return "its `deploymentSpec` is no mapping of executors"
    return ""

"""What an upload may hold. The server checks the shape alone: names, fields and version, not whether the graph makes sense."""

import functools
import io
import json
import re
import tarfile
import zipfile
from typing import Any

import yaml

from kfp_ratchet.testing.kfp_server.answers import PLAIN, Json, Refusal, through_doubles, upload_refusal

LONGEST_NAME = 128
SCHEMA = "2.1.0"
UNKNOWN = "unknown template format"
INNER_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML, in C where it is there; a date stays the text it looks like."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class ShapeError(ValueError):
    """A document that is no pipeline."""


def spec_of_upload(filename: str, content: bytes, failing: str) -> Json:
    """The pipeline in an uploaded file, as the API shows it.

    Args:
        filename: Its ending says what it is: .yaml, .yml, .json, .zip or .tar.gz (with a pipeline.yaml inside).
        content: The file.
        failing: First words of the answer to a file that cannot be stored.

    Raises:
        Refusal: 400 for another file or shape, 500 for an empty file.
    """
    try:
        text = _unpacked(filename, content)
    except (KeyError, tarfile.TarError, zipfile.BadZipFile):
        raise upload_refusal(400, "Failed to read a pipeline spec file", plain=True) from None
    if not text.strip():
        raise upload_refusal(500, failing)
    try:
        return spec_of_text(text)
    except ShapeError as error:
        raise upload_refusal(400, str(error)) from None


def checked_name(name: str) -> str:
    """A name of a pipeline or version that the server takes; anything but too long a one."""
    if len(name) > LONGEST_NAME:
        text = f"Invalid input error: Pipeline.Name length cannot exceed {LONGEST_NAME}\n"
        raise Refusal(400, text, PLAIN)
    return name


@functools.lru_cache(maxsize=512)
def spec_of_text(text: bytes) -> Json:
    """The pipeline in a YAML or JSON text; with a platform spec as second document, both. Never changed by callers.

    Raises:
        ShapeError: It is none.
    """
    try:
        documents = list(yaml.load_all(text, _Loader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ShapeError(UNKNOWN) from error
    spec = documents[0] if documents else None
    if not isinstance(spec, dict):
        raise ShapeError(UNKNOWN)
    if spec.get("kind") == "Workflow" and str(spec.get("apiVersion", "")).startswith("argoproj.io/"):
        return dict(through_doubles(spec))
    check_shape(spec)
    platform = documents[1] if len(documents) > 1 else None
    if isinstance(platform, dict) and "kubernetes" in (platform.get("platforms") or {}):
        kubernetes = {"platforms": {"kubernetes": platform["platforms"]["kubernetes"]}}
        return {"pipeline_spec": through_doubles(spec), "platform_spec": through_doubles(kubernetes)}
    return dict(through_doubles(spec))


def check_shape(spec: Any) -> None:
    """Whether a mapping is a PipelineSpec as far as an upload looks.

    Raises:
        ShapeError: Says why in the server's words.
    """
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    if not isinstance(spec, dict) or not spec.get("root") or not spec.get("pipelineInfo"):
        raise ShapeError(UNKNOWN)
    try:
        json_format.ParseDict(json.loads(json.dumps(spec)), pipeline_spec_pb2.PipelineSpec())
    except (json_format.ParseError, TypeError, ValueError) as error:
        raise ShapeError(UNKNOWN) from error
    if spec.get("schemaVersion") != SCHEMA:
        version = spec.get("schemaVersion")
        raise ShapeError(f"KFP only supports schema version {SCHEMA}, but the pipeline spec has version {version}")
    if not INNER_NAME.fullmatch(str(spec["pipelineInfo"].get("name") or "")):
        raise ShapeError(
            "pipeline's name must contain only lowercase alphanumeric characters or '-' and must start with "
            "alphanumeric characters"
        )


def _unpacked(filename: str, content: bytes) -> bytes:
    if filename.endswith((".yaml", ".yml", ".json")):
        return content
    if filename.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.read("pipeline.yaml" if "pipeline.yaml" in archive.namelist() else archive.namelist()[0])
    if filename.endswith(".tar.gz"):
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            found = archive.extractfile("pipeline.yaml")
            return found.read() if found else b""
    raise KeyError(filename)

"""The recordings of a real server, and what has to be known to play them again."""

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "recordings"
NAMES = sorted(path.name.removesuffix(".jsonl.gz") for path in FOLDER.glob("*.jsonl.gz"))
API = "/apis/v2beta1"


@dataclass(frozen=True)
class Exchange:
    """A call and its answer, `t` seconds after the start of the recording."""

    n: int
    t: float
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    request: Any
    status: int
    content_type: str
    response: Any

    @property
    def upload(self) -> dict[str, Any] | None:
        """File name, size and sha256 of an upload."""
        return self.request["multipart"][0] if isinstance(self.request, dict) and "multipart" in self.request else None


@dataclass(frozen=True)
class Recording:
    """One story."""

    name: str
    exchanges: list[Exchange]
    notes: list[dict[str, Any]]


@cache
def recording(name: str) -> Recording:
    """A recording, with the repeated specs filled in."""
    lines = [json.loads(line) for line in gzip.decompress((FOLDER / f"{name}.jsonl.gz").read_bytes()).splitlines()]
    by_number = {line["n"]: line for line in lines}
    full = [_with_specs(line, by_number) for line in lines]
    exchanges = [
        Exchange(
            line["n"],
            line["t"],
            line["method"],
            line["path"],
            line["query"],
            line["request_headers"],
            line["request"],
            line["status"],
            line["response_content_type"],
            line["response"],
        )
        for line in full
        if "method" in line
    ]
    return Recording(name, exchanges, [line for line in full if "note" in line])


def _with_specs(value: Any, by_number: dict[int, Any]) -> Any:
    if isinstance(value, list):
        return [_with_specs(each, by_number) for each in value]
    if not isinstance(value, dict):
        return value
    if "$same_as_in_record" in value:
        record = by_number[value["$same_as_in_record"]]
        return next(_specs([record["response"], record["request"]]))
    return {key: _with_specs(each, by_number) for key, each in value.items()}


def _specs(value: Any) -> Iterator[Any]:
    """Every spec written out in a record, in order."""
    if isinstance(value, list):
        for each in value:
            yield from _specs(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key == "pipeline_spec" and "$same_as_in_record" not in each:
                yield each
            else:
                yield from _specs(each)


@cache
def _uploaded_specs() -> dict[str, Any]:
    """The spec that came back of each uploaded file, by the file's sha256."""
    found: dict[str, Any] = {}
    for name in NAMES:
        pipelines: dict[str, str] = {}
        for exchange in recording(name).exchanges:
            if exchange.upload and exchange.status == 200:
                if "pipeline_spec" in exchange.response:
                    found[exchange.upload["sha256"]] = exchange.response["pipeline_spec"]
                else:
                    pipelines[exchange.response["pipeline_id"]] = exchange.upload["sha256"]
            for version in exchange.response.get("pipeline_versions", []):
                if (
                    version["name"] == _pipeline_name(name, version["pipeline_id"])
                    and version["pipeline_id"] in pipelines
                ):
                    found.setdefault(pipelines[version["pipeline_id"]], version["pipeline_spec"])
    return found


@cache
def _pipeline_name(name: str, pipeline_id: str) -> str:
    for exchange in recording(name).exchanges:
        if exchange.upload and exchange.status == 200 and exchange.response["pipeline_id"] == pipeline_id:
            return str(exchange.response["name"])
    return ""


def file_of(upload: dict[str, Any]) -> bytes:
    """A file that stands for an uploaded one.

    The recordings hold its sha256 only. Where a server gave the spec back, it is that spec; else the documents of `upload_invalid`
    are made again from what their names say.
    """
    name = str(upload["filename"])
    spec = _uploaded_specs().get(upload["sha256"])
    text = _document(name) if spec is None else _text(spec, name)
    for known in ("not-yaml", "empty", "plain-mapping", "list"):
        if name == f"inv-{known}.yaml":
            assert hashlib.sha256(text).hexdigest() == upload["sha256"], "the document is known to the letter"
    if name.endswith(".zip"):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("pipeline.yaml", text)
        return packed.getvalue()
    if name.endswith(".tar.gz"):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            member = tarfile.TarInfo("pipeline.yaml")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
        return packed.getvalue()
    return text


def _text(spec: Any, name: str) -> bytes:
    if name.endswith(".json"):
        return json.dumps(spec).encode()
    documents = [spec["pipeline_spec"], spec["platform_spec"]] if "platform_spec" in spec else [spec]
    documents += {
        "inv-two-docs-unknown-second.yaml": [{"something": "else"}],
        "inv-platform-unknown.yaml": [{"platforms": {"elsewhere": {}}}],
        "inv-three-docs.yaml": [{"something": "else"}],
    }.get(name, [])
    return yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True).encode()


def _document(name: str) -> bytes:
    documents = {
        f"inv-{note['case']}.yaml": note["document"] for note in recording("upload_invalid").notes if "document" in note
    }
    if documents.get(name, "see description") != "see description":
        return str(documents[name]).encode()
    good = next(iter(_specs([each.response for each in recording("name_case").exchanges])))
    spec = json.loads(json.dumps(good))
    match name:
        case "inv-unknown-top-field.yaml":
            spec["colour"] = "red"
        case "inv-unknown-task-field.yaml":
            next(iter(spec["root"]["dag"]["tasks"].values()))["colour"] = "red"
        case "inv-no-root.yaml":
            del spec["root"]
        case "inv-no-pipeline-info.yaml":
            del spec["pipelineInfo"]
        case "inv-schema-9.yaml":
            spec["schemaVersion"] = "9.9.9"
        case "inv-bad-pipeline-name.yaml":
            spec["pipelineInfo"]["name"] = "Bad Name!"
        case "inv-txt-ext.txt":
            pass
        case _:
            raise LookupError(f"no recording shows what was in {name}")
    return yaml.safe_dump(spec, sort_keys=False).encode()

"""Every pipeline that a real server was given: lint finds those that it broke on, and nothing in those that it ran."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.lint import lint
from kfp_ratchet.pipelines.pipeline_text import PipelineText, digest_of

RECORDINGS = sorted((Path(__file__).parents[1] / "testing" / "kfp_server" / "recordings").glob("*.jsonl.gz"))
TASTE = ("unpinned-read", "cached-effect", "moving-reference", "credential")
"""Rules about what runs and is wrong all the same."""
FOUND = {
    "dangling-component": {"broken-graph"},
    "dangling-dependency": {"broken-graph"},
    "no-executors": {"broken-graph"},
    "platform-unknown-k8s-field": {"broken-graph"},
    "run_if_float_big": {"fragile-condition"},
    "run_if_float_inf": {"fragile-condition"},
    "run_if_float_nan": {"fragile-condition"},
    "run_if_string_bs": {"fragile-condition"},
    "run_if_string_nl": {"fragile-condition"},
    "run_if_strings_multi": {"fragile-condition"},
}
"""By recording or, where one holds many documents, by its case."""


def versions(recording: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Case and spec of every version that a server listed."""
    name = case = recording.name.removesuffix(".jsonl.gz")
    for line in gzip.decompress(recording.read_bytes()).splitlines():
        record = json.loads(line)
        case = record.get("case", case)
        if record.get("path", "").endswith("/versions") and record["method"] == "GET" and record["status"] == 200:
            for version in record["response"].get("pipeline_versions", []):
                if "$same_as_in_record" not in version["pipeline_spec"]:
                    yield case if name in ("upload_invalid", "run_broken_spec") else name, version["pipeline_spec"]


def as_text(spec: dict[str, Any]) -> str:
    return yaml.safe_dump_all([spec["pipeline_spec"], spec["platform_spec"]] if "platform_spec" in spec else [spec])


def test_there_are_recordings_of_every_breakage() -> None:
    cases = {case for recording in RECORDINGS for case, _ in versions(recording)}
    assert FOUND.keys() <= cases and len(cases) > 40


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.name.removesuffix(".jsonl.gz"))
def test_what_a_server_broke_on_is_found_and_what_it_ran_is_not(recording: Path) -> None:
    for case, spec in versions(recording):
        if case == "argo":
            with pytest.raises(InputError, match=r"a Kubernetes object \(Workflow\)"):
                lint(as_text(spec), case)
            continue
        assert {finding.rule for finding in lint(as_text(spec), case, TASTE)} == FOUND.get(case, set()), case
        assert PipelineText.parse(as_text(spec)).digest == digest_of(spec)

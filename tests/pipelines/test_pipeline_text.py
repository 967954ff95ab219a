"""A compiled pipeline read without KFP: the same digest for the same content, and values checked before a server sees them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.pipeline_text import PipelineText, digest_of

ROOT = Path(__file__).parent.parent.parent
COMPILED = sorted((ROOT / "compiled").glob("*.yaml"))

TYPES = {
    "text": {"parameterType": "STRING", "description": "What to say."},
    "count": {"parameterType": "NUMBER_INTEGER", "defaultValue": 3.0, "isOptional": True},
    "share": {"parameterType": "NUMBER_DOUBLE", "defaultValue": 0.5, "isOptional": True},
    "fast": {"parameterType": "BOOLEAN", "defaultValue": False, "isOptional": True},
    "items": {"parameterType": "LIST", "defaultValue": [1], "isOptional": True},
    "options": {"parameterType": "STRUCT", "isOptional": True},
    "size": {"parameterType": "STRING", "defaultValue": "s", "isOptional": True, "literals": ["s", "m"]},
    "api_token": {"parameterType": "STRING", "defaultValue": "", "isOptional": True},
}
SPEC: dict[str, Any] = {
    "pipelineInfo": {"name": "a-pipeline", "description": "Says something."},
    "root": {"dag": {"tasks": {}}, "inputDefinitions": {"parameters": TYPES}},
    "deploymentSpec": {
        "executors": {"exec-b": {"container": {"image": "b:2"}}, "exec-a": {"container": {"image": "a:1"}}}
    },
    "schemaVersion": "2.1.0",
    "sdkVersion": "kfp-2.17.0",
}
PLATFORM = {
    "platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-a": {"imagePullPolicy": "IfNotPresent"}}}}}
}


def text(*documents: Any) -> str:
    return yaml.safe_dump_all(documents, sort_keys=False)


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in SPEC.items() if name != key}


def test_what_a_pipeline_says_of_itself() -> None:
    found = PipelineText.parse(text(SPEC))
    assert (found.name, found.description, found.sdk_version) == ("a-pipeline", "Says something.", "kfp-2.17.0")
    assert found.images == ["a:1", "b:2"]
    assert list(found.parameters) == sorted(TYPES)
    assert found.parameters["text"].description == "What to say."
    assert [found.parameters[name].has_default for name in ("text", "count", "fast", "options")] == [
        False,
        True,
        True,
        False,
    ]
    assert found.size == len(text(SPEC).encode())


def test_style_of_yaml_and_order_of_keys_do_not_change_the_digest() -> None:
    digest = PipelineText.parse(text(SPEC, PLATFORM)).digest
    turned = dict(reversed(SPEC.items()))
    flow = yaml.safe_dump_all([turned, PLATFORM], default_flow_style=True)
    assert PipelineText.parse("# a comment\n" + flow + "\n---\n").digest == digest


def test_what_a_server_returns_has_the_digest_of_what_was_uploaded() -> None:
    returned = json.loads(json.dumps({"platform_spec": PLATFORM, "pipeline_spec": SPEC}).replace("3.0", "3"))
    assert digest_of(returned) == PipelineText.parse(text(SPEC, PLATFORM)).digest
    assert digest_of(json.loads(json.dumps(SPEC))) == PipelineText.parse(json.dumps(SPEC)).digest


def test_any_change_of_content_changes_the_digest() -> None:
    changed = {**SPEC, "sdkVersion": "kfp-2.18.0"}
    other = {"platforms": {"kubernetes": {}}}
    texts = [text(SPEC), text(changed), text(SPEC, PLATFORM), text(SPEC, other)]
    assert len({PipelineText.parse(each).digest for each in texts}) == len(texts)


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_our_own_pipelines_are_read(path: Path) -> None:
    found = PipelineText.read(path)
    assert found.parameters and found.images and found.description
    assert all(parameter.description for parameter in found.parameters.values())


def test_there_are_pipelines_of_our_own() -> None:
    assert COMPILED


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "it is empty"),
        ("# only a comment\n", "it is empty"),
        ("{ this is: [not yaml", "did not find expected"),
        ("a: 1\nb: two\n", "has no `pipelineInfo`"),
        ("- 1\n- 2\n", "holds a list"),
        ("just words", "holds a str"),
        (
            "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nspec: {entrypoint: a}\n",
            "a Kubernetes object (Workflow)",
        ),
        ("name: say\nimplementation: {container: {image: busybox}}\n", "single component of KFP 1"),
        (text(without("root")), "has no `root`"),
        (text(without("pipelineInfo")), "has no `pipelineInfo`"),
        (text({**SPEC, "schemaVersion": "9.9.9"}), "schemaVersion is 9.9.9"),
        (text({**SPEC, "root": {"inputDefinitions": [1]}}), "no mapping of parameters"),
        (text({**SPEC, "deploymentSpec": {"executors": [1]}}), "no mapping of executors"),
        (text(SPEC, {"other": 1}), "second document that is no platform spec"),
        (text(SPEC, PLATFORM, {"third": 1}), "third document"),
        (text(SPEC, {"platforms": {"abacus": {}}}), "platform 'abacus'"),
        (text(SPEC) + "extra: .nan\n", "not a finite number"),
        (text(SPEC) + "extra: !!python/object:os.system {}\n", "could not determine a constructor"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        (
            "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)),
            "multiply",
        ),
        ("a: &a [*a]\n", "nested too deeply"),
    ],
)
def test_what_is_no_pipeline_is_refused_by_name(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "given.yaml"
    path.write_text(content)
    with pytest.raises(InputError) as refused:
        PipelineText.read(path)
    assert said in refused.value.message
    assert str(path) in refused.value.message
    assert refused.value.remedy


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"name: x\nsaid: caf\xe9\n")
    huge = tmp_path / "huge.yaml"
    with huge.open("wb") as file:
        file.truncate(40 * 2**20)
    for path, said in (
        (latin, "latin.yaml:2: the text is not UTF-8"),
        (huge, "32 MiB"),
        (tmp_path, "cannot be read"),
        (tmp_path / "none.yaml", "cannot be read"),
    ):
        with pytest.raises(InputError, match=said):
            PipelineText.read(path)


def test_a_date_is_the_text_it_looks_like() -> None:
    found = PipelineText.parse(text(SPEC).replace("defaultValue: s\n", "defaultValue: 2026-01-31\n"))
    assert found.parameters["size"].default == "2026-01-31"


def check(**values: Any) -> dict[str, Any]:
    return PipelineText.parse(text(SPEC)).check(values, "-p")


def test_values_from_a_command_line_get_their_types() -> None:
    given = {
        "text": "7",
        "count": "12",
        "share": "1e-3",
        "fast": "true",
        "items": '["a", 1]',
        "options": '{"a": null}',
        "size": "m",
    }
    assert check(**given) == {
        "text": "7",
        "count": 12,
        "share": 0.001,
        "fast": True,
        "items": ["a", 1],
        "options": {"a": None},
        "size": "m",
    }
    assert type(check(text="", count=2.0)["count"]) is int


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("count", 1.5, "must be a whole number, not 1.5"),
        ("count", "1.5", "must be a whole number, not '1.5'"),
        ("count", "x", "must be a whole number, not 'x'"),
        ("count", True, "must be a whole number"),
        ("count", 2**60, "round"),
        ("count", None, "null"),
        ("share", float("nan"), "must be a number"),
        ("share", "NaN", "must be a number"),
        ("share", "1e999", "must be a number"),
        ("share", float("inf"), "must be a number"),
        ("share", [1], "must be a number"),
        ("fast", "yes", "must be true or false"),
        ("fast", 1, "must be true or false"),
        ("items", "a,b", "must be a list"),
        ("items", {"a": 1}, "must be a list"),
        ("options", "[]", "must be a mapping"),
        ("options", {"a": float("nan")}, "JSON cannot say"),
        ("text", 7, "put it in quotes"),
        ("text", None, "null"),
        ("size", "xl", "must be one of"),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, value: Any, said: str) -> None:
    with pytest.raises(InputError) as refused:
        check(**{"text": "a", name: value})
    assert f"-p: {name} " in refused.value.message
    assert said in refused.value.message


def test_missing_and_unknown_parameters_are_named_together_with_the_nearest() -> None:
    with pytest.raises(InputError) as refused:
        check(cuont=1)
    assert "no parameter 'cuont'" in refused.value.message
    assert "text is missing" in refused.value.message
    assert refused.value.remedy == "did you mean 'count'?"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", "AKIAIOSFODNN7EXAMPLE"),
        ("api_token", "correct horse"),
        ("options", '{"uri": "https://u:pw123@host/x"}'),
        ("count", "AKIAIOSFODNN7EXAMPLE"),
    ],
)
def test_a_secret_is_refused_and_never_repeated(name: str, value: str) -> None:
    with pytest.raises(InputError) as refused:
        check(**{"text": "a", name: value})
    assert value not in str(refused.value)
    assert "pw123" not in str(refused.value)


def test_kfp_is_not_imported() -> None:
    code = "import sys, kfp_ratchet.pipelines.pipeline_text; sys.exit('kfp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

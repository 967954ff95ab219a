"""Everything in a `pipelines.yaml`, compiled: ours, a user's functions and files, with parameters baked in, the same bytes each time."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.compile import compiled_pipelines
from kfp_ratchet.pipelines.declared import load_declared
from kfp_ratchet.pipelines.pipeline_changes import changes
from kfp_ratchet.pipelines.pipeline_text import PipelineText

ROOT = Path(__file__).parent.parent.parent
RATCHET = Path(sys.executable).with_name("ratchet")

CONFIG = "name: mine\nsource: data.csv\nschema: schema.yaml\ncolumns: {target: y, problem: binary}\n"
OWN = """\
from kfp import dsl
from own import words


@dsl.component(base_image="python:3.11")
def say(text: str, times: int = 1) -> str:
    return text * times


@dsl.pipeline(name="greet", description="Greets.")
def greet(text: str, times: int = 1, share: float = 0.5, names: list = ["a"]):
    say(text=text, times=times)


def plain_one(text: str = words.HELLO):
    \"\"\"Says hello.\"\"\"
    say(text=text)


def broken(text: str = "x"):
    say(text=text, colour="red")


number = 7
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ratchet.yaml").write_text(CONFIG)
    (tmp_path / "schema.yaml").write_text("columns: {}\n")
    package = tmp_path / "own"
    package.mkdir()
    (package / "__init__.py").write_text("print('imported')\n")
    (package / "words.py").write_text("HELLO = 'hello'\n")
    (package / "flows.py").write_text(OWN)
    return tmp_path


def declare(folder: Path, more: str = "", **pipelines: dict[str, Any]) -> Any:
    path = folder / "pipelines.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "pipelines": pipelines}, sort_keys=False) + more)
    return load_declared(path)


def test_each_kind_of_pipeline_is_compiled(folder: Path) -> None:
    (folder / "ready.yaml").write_text((ROOT / "compiled" / "approve.yaml").read_text())
    found = compiled_pipelines(
        declare(
            folder,
            **{
                "training": {"pipeline": "continuous_training", "config": "ratchet.yaml", "parameters": {"trials": 7}},
                "approval": {"pipeline": "approve", "config": "ratchet.yaml"},
                "generic": {"pipeline": "approve"},
                "greet": {"pipeline": "own.flows:greet", "parameters": {"text": "hi", "times": "3", "names": ["b"]}},
                "plain": {"pipeline": "own.flows:plain_one"},
                "ready": {"pipeline": "ready.yaml"},
                "ready/with": {"pipeline": "ready.yaml", "parameters": {"by": "ci"}},
            },
        )
    )
    assert {name: each.spec.name for name, each in found.items()} == {
        "training": "continuous-training-mine",
        "approval": "approval-mine",
        "generic": "approval",
        "greet": "greet",
        "plain": "plain-one",
        "ready": "approval",
        "ready/with": "approval",
    }
    defaults = {name: {key: one.default for key, one in each.spec.parameters.items()} for name, each in found.items()}
    assert defaults["training"]["trials"] == 7 and defaults["training"]["model_name"] == "mine"
    assert defaults["greet"] == {"text": "hi", "times": 3, "share": 0.5, "names": ["b"]}
    assert found["greet"].spec.check({}, "-p") == {}, "a parameter with a default may be left out"
    assert defaults["plain"] == {"text": "hello"} and defaults["ready/with"]["by"] == "ci"
    assert found["ready"].text == (folder / "ready.yaml").read_text()
    assert all(each.text.isascii() for each in found.values())


def test_compiling_again_gives_the_same_bytes_and_sees_a_change_of_code(folder: Path) -> None:
    declared = declare(folder, greet={"pipeline": "own.flows:greet"}, plain={"pipeline": "own.flows:plain_one"})
    first = compiled_pipelines(declared)
    assert compiled_pipelines(declared) == first
    (folder / "own" / "words.py").write_text("HELLO = 'howdy'\n"[: len("HELLO = 'hello'\n")])
    second = compiled_pipelines(declared)
    assert second["greet"] == first["greet"]
    assert second["plain"].spec.parameters["text"].default == "howdy"
    assert not list(folder.rglob("*.pyc")), "bytecode as old as the source would hide a change"
    assert "own.flows" not in sys.modules


def test_images_of_the_file_replace_those_of_each_configuration(folder: Path) -> None:
    images = "images: {registry: registry.example.com, repository: team, tag: '7'}\n"
    declared = declare(folder, images, training={"pipeline": "continuous_training", "config": "ratchet.yaml"})
    found = compiled_pipelines(declared)["training"].spec
    assert found.images == ["registry.example.com/team/slim:7", "registry.example.com/team/train:7"]
    pinned = compiled_pipelines(declared, digest=lambda image: "sha256:" + 64 * "a")["training"].spec
    assert pinned.images == [f"registry.example.com/team/{kind}@sha256:" + 64 * "a" for kind in ("slim", "train")]


@pytest.mark.parametrize(
    ("reference", "parameters", "said"),
    [
        ("own.flow:greet", {}, "no module own.flow"),
        ("own.flows:great", {}, "did you mean 'greet'"),
        ("own.flows:number", {}, "is a int, not a pipeline"),
        ("own.flows:broken", {}, "flows.py:21: TypeError"),
        ("own.raising:x", {}, "raising.py:2: ZeroDivisionError"),
        ("own.importing:x", {}, "importing.py:1: ModuleNotFoundError: No module named 'nowhere'"),
        ("own.ending:x", {}, "ending.py:1: SystemExit"),
        ("own.halves:x", {}, "halves.py:1: SyntaxError"),
        ("own.flows:greet", {"tixt": "x"}, "did you mean 'text'"),
        ("own.flows:greet", {"times": 1.5}, "pipelines.mine.parameters: times must be a whole number"),
        ("own.flows:greet", {"text": "AKIAIOSFODNN7EXAMPLE"}, "Kubernetes secret"),
    ],
)
def test_what_is_wrong_with_a_users_pipeline_is_named_with_its_place(
    folder: Path, reference: str, parameters: dict[str, Any], said: str
) -> None:
    (folder / "own" / "raising.py").write_text("\n1 / 0\n")
    (folder / "own" / "importing.py").write_text("import nowhere\n")
    (folder / "own" / "ending.py").write_text("raise SystemExit(1)\n")
    (folder / "own" / "halves.py").write_text("def x(\n")
    declared = declare(folder, mine={"pipeline": reference, "parameters": parameters})
    with pytest.raises(InputError) as refused:
        compiled_pipelines(declared)
    assert said in str(refused.value)
    assert "AKIA" not in str(refused.value)


@pytest.mark.slow
def test_many_pipelines_compile_to_what_each_compiles_to_alone(folder: Path) -> None:
    """Many are compiled in several processes; an error in one of them is told as if there were one."""
    many = {f"p{n}": {"pipeline": "own.flows:greet", "parameters": {"times": n}} for n in range(40)}
    together = compiled_pipelines(declare(folder, **many))
    assert list(together) == list(many)
    for name in ("p0", "p39"):
        assert compiled_pipelines(declare(folder, **{name: many[name]}))[name] == together[name]
    many["p33"]["parameters"] = {"tmies": 3}
    with pytest.raises(InputError, match=r"pipelines\.p33\.parameters") as refused:
        compiled_pipelines(declare(folder, **many))
    assert refused.value.remedy == "did you mean 'times'?"


def ratchet(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([RATCHET, *arguments], cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_compile_takes_pipelines_yaml_where_it_is(folder: Path) -> None:
    declare(folder, **{"a/b": {"pipeline": "own.flows:greet"}, "plain": {"pipeline": "own.flows:plain_one"}})
    written = ratchet(folder, "compile", "--json")
    assert json.loads(written.stdout) == {"compiled/a-b.yaml": "written", "compiled/plain.yaml": "written"}
    assert ratchet(folder, "compile", "--check").returncode == 0
    declare(folder, **{"a/b": {"pipeline": "own.flows:greet", "parameters": {"times": 9}}})
    checked = ratchet(folder, "compile", "--check")
    assert checked.returncode == 1
    assert "  parameter times: default 1 is now 9\n" in checked.stdout
    assert "+        defaultValue: 9.0" in checked.stdout
    both = ratchet(folder, "compile", "-c", "ratchet.yaml", "--pipelines", "pipelines.yaml")
    assert both.returncode == 2 and "exclude each other" in both.stderr


def test_changes_are_told_in_words() -> None:
    text = (ROOT / "compiled" / "flights.yaml").read_text()
    before = PipelineText.parse(text).spec

    def told(change: Any) -> list[str]:
        after = json.loads(json.dumps(before))
        change(after.get("pipeline_spec", after), after.get("platform_spec"))
        return changes(before, after)

    assert told(lambda spec, pods: None) == []
    inputs = "inputDefinitions"
    assert told(lambda spec, pods: spec["root"][inputs]["parameters"]["seed"].update(defaultValue=9)) == [
        "parameter seed: default 7 is now 9"
    ]
    assert told(lambda spec, pods: spec["root"][inputs]["parameters"].pop("seed")) == ["parameter seed is gone"]
    assert told(
        lambda spec, pods: spec["deploymentSpec"]["executors"]["exec-gate"]["container"].update(image="other:1")
    ) == ["step gate: image kfp-ratchet/slim:0.1.0 is now other:1"]
    assert told(
        lambda spec, pods: spec["deploymentSpec"]["executors"]["exec-gate"]["container"].update(command=["sh"])
    ) == ["step gate: code differs"]
    handler = "comp-exit-handler-1"
    assert told(lambda spec, pods: spec["components"][handler]["dag"]["tasks"]["gate"].update(cachingOptions={})) == [
        "task gate in exit-handler-1: cachingOptions differs"
    ]
    executors = "deploymentSpec"
    assert told(
        lambda spec, pods: pods["platforms"]["kubernetes"][executors]["executors"]["exec-gate"].update(
            imagePullPolicy="Always"
        )
    ) == ["step gate: settings of its pods differ"]
    assert told(lambda spec, pods: spec.update(sdkVersion="kfp-9")) == ['compiler "kfp-2.17.0" is now "kfp-9"']
    assert told(lambda spec, pods: spec.update(somethingElse=1)) == ["something differs that has no name here"]

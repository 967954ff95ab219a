"""`ratchet lint`: our own pipelines pass, and fail as soon as what keeps their caches right is taken away; so do other people's."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler, dsl

from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.lint import RULES, Finding, lint

ROOT = Path(__file__).parent.parent.parent
RATCHET = Path(sys.executable).parent / "ratchet"
COMPILED = sorted((ROOT / "compiled").glob("*.yaml"))
TRAINING = [path for path in COMPILED if path.stem != "approve"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dsl.component(base_image="python:3.11")
def read(uri: str, rows: dsl.Output[dsl.Dataset], revision: str = "", table_id: str = "", window: str = "") -> str:
    return uri


@dsl.component(base_image="python:3.11")
def use(rows: dsl.Input[dsl.Dataset], revision: str = "") -> str:
    return "yes"


@dsl.component(base_image="python:3.11")
def look(uri: str) -> str:
    return uri


@dsl.component(base_image="python:3.11")
def fit(seed: int = 0, tag: str = "", output_path: str = "", tracking_uri: str = "", api_key: str = "") -> str:
    return tag


@dsl.component(base_image="python:3.11")
def tell(status: dsl.PipelineTaskFinalStatus):
    print(status)


@dsl.component(base_image="python:3.11")
def finish(name: str):
    import client

    client.send_message(name)


@dsl.component(base_image="python:3.11")
def harmless(name: str):
    from polars import SQLContext

    SQLContext().register(name, None)


@dsl.container_component
def shell(text: str):
    return dsl.ContainerSpec(image="busybox:1.36", command=["python"], args=["upload.py", text])


@dsl.container_component
def fetch():
    return dsl.ContainerSpec(image="curlimages/curl:8.10.1", command=["curl"], args=["https://host/rows.csv"])


def found(build: Callable[..., Any], tmp_path: Path, **ignore: Any) -> list[Finding]:
    path = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(dsl.pipeline(name="a-pipeline")(build), str(path))
    return lint(path.read_text(), "pipeline.yaml", **ignore)


def rules(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.rule, finding.task) for finding in findings]


def uncached(task: Any) -> Any:
    return task.set_caching_options(False)


def spec(path: Path) -> dict[str, Any]:
    return next(iter(yaml.safe_load_all(path.read_text())))


def linted(pipeline: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (finding.rule, finding.task.rpartition("/")[2]) for finding in lint(yaml.safe_dump(pipeline), "mutant.yaml")
    ]


def tasks(pipeline: dict[str, Any]) -> dict[str, dict[str, Any]]:
    dags = [pipeline["root"]["dag"], *(item["dag"] for item in pipeline["components"].values() if "dag" in item)]
    return {name: task for dag in dags for name, task in dag["tasks"].items()}


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_our_own_pipelines_pass(path: Path) -> None:
    assert lint(path.read_text(), str(path)) == []


@pytest.mark.parametrize("path", TRAINING, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    ("step", "ids"),
    [
        ("ingest", ["revision"]),
        ("evaluate", ["champion_version", "champion_digest", "anchor_version", "anchor_digest"]),
    ],
)
def test_a_step_that_loses_its_pinned_id_is_found(path: Path, step: str, ids: list[str]) -> None:
    pipeline = spec(path)
    for name in ids:
        del tasks(pipeline)[step]["inputs"]["parameters"][name]
    assert linted(pipeline) == [("unpinned-read", step)]


@pytest.mark.parametrize("step", ["pin", "register", "deploy", "notify"])
def test_an_effect_that_gets_cached_is_found(step: str) -> None:
    pipeline = spec(TRAINING[0])
    tasks(pipeline)[step]["cachingOptions"] = {"enableCache": True}
    assert ("cached-effect", step) in linted(pipeline)
    # By what the code calls, too, where the name does not say so.
    component = tasks(pipeline)[step]["componentRef"]["name"]
    pipeline["components"]["comp-x"] = pipeline["components"].pop(component)
    tasks(pipeline)[step]["componentRef"]["name"] = "comp-x"
    for dag in [pipeline["root"]["dag"], *(item["dag"] for item in pipeline["components"].values() if "dag" in item)]:
        if step in dag["tasks"]:
            dag["tasks"]["x"] = dag["tasks"].pop(step)
    text = (
        yaml.safe_dump(pipeline).replace(f"- {step}\n", "- x\n").replace(f"producerTask: {step}\n", "producerTask: x\n")
    )
    assert ("cached-effect", "x") in linted(yaml.safe_load(text))


BREAKS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "task": lambda p: tasks(p)["gate"]["inputs"]["artifacts"]["evidence"]["taskOutputArtifact"].update(
        producerTask="ev"
    ),
    "dependency": lambda p: tasks(p)["gate"].update(dependentTasks=["ev"]),
    "output": lambda p: tasks(p)["gate"]["inputs"]["artifacts"]["evidence"]["taskOutputArtifact"].update(
        outputArtifactKey="proof"
    ),
    "input": lambda p: tasks(p)["gate"]["inputs"]["parameters"]["policy"].update(componentInputParameter="rules"),
    "component": lambda p: p["components"].pop("comp-gate"),
    "executor": lambda p: p["deploymentSpec"]["executors"].pop("exec-gate"),
    "no executor": lambda p: p["components"]["comp-gate"].pop("executorLabel"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_broken_graph_is_found(what: str) -> None:
    """A server takes all of these on upload."""
    pipeline = spec(TRAINING[0])
    BREAKS[what](pipeline)
    assert ("broken-graph", "gate") in linted(pipeline)


def test_a_broken_condition_is_found() -> None:
    pipeline = spec(TRAINING[0])
    tasks(pipeline)["condition-2"]["triggerPolicy"]["condition"] = "inputs.parameter_values['nobody'] == 'x'"
    assert linted(pipeline) == [("broken-graph", "condition-2")]


def test_tasks_that_wait_for_one_another_are_found() -> None:
    pipeline = spec(TRAINING[0])
    tasks(pipeline)["pin"]["dependentTasks"] = ["gate"]
    (finding,) = lint(yaml.safe_dump(pipeline), "mutant.yaml")
    assert (finding.rule, finding.task) == ("broken-graph", "exit-handler-1/condition-2")
    assert "by way of condition-2, evaluate, gate, ingest, pin" in finding.message


def test_a_name_that_a_server_refuses_is_found() -> None:
    pipeline = spec(TRAINING[0])
    pipeline["pipelineInfo"]["name"] = "Continuous Training"
    assert linted(pipeline) == [("broken-graph", "pipeline")]


@pytest.mark.parametrize(
    ("label", "settings", "task"),
    [("exec-gate", {"warpDrive": True}, "exit-handler-1/gate"), ("exec-goat", {}, "pipeline")],
)
def test_settings_of_pods_that_a_server_does_not_know_are_found(label: str, settings: Any, task: str) -> None:
    """A server takes the first on upload, and answers 500 when a run is started; nobody would miss the second."""
    pipeline, platform = yaml.safe_load_all(TRAINING[0].read_text())
    platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][label] = settings
    findings = lint(yaml.safe_dump_all([pipeline, platform]), "mutant.yaml")
    assert rules(findings) == [("broken-graph", task)]


@pytest.mark.parametrize(
    ("literal", "fragile"),
    [
        ("it's fine", True),
        ("a\\b", True),
        ("a\nb", True),
        ("a' 'b", True),
        ("' || 'x' == 'x", False),  # cannot be told from a condition of two parts
        ("needs more data", False),
        ('say "yes"', False),
        ("größer ✓", False),
        ("", False),
        ("1", False),
        ("a && (b)", False),
        ("int(x) >= 1e5", False),
    ],
)
def test_a_literal_that_a_server_reads_in_another_way_is_found(literal: str, fragile: bool, tmp_path: Path) -> None:
    """Each but the third last was run on a server."""

    def build(text: str) -> None:
        seen = use(rows=read(uri=COMMIT).outputs["rows"]).output
        with dsl.If(seen == literal):
            fit()
        with dsl.Elif(text == "b"):
            fit()
        with dsl.Else():
            fit()

    findings = found(build, tmp_path)
    places = [f"condition-branches-1/condition-{number}" for number in (2, 3, 4)]
    assert rules(findings) == fragile * [("fragile-condition", place) for place in places]


def test_a_float_that_a_step_gives_out_is_no_condition(tmp_path: Path) -> None:
    @dsl.component(base_image="python:3.11")
    def score() -> float:
        return 0.5

    @dsl.component(base_image="python:3.11")
    def count() -> int:
        return 1

    def build(share: float = 0.5) -> None:
        with dsl.If(score().output > 0.8):
            fit()
        with dsl.If(count().output > 0):
            fit()
        with dsl.If(share > 0.1):
            fit()

    assert rules(found(build, tmp_path)) == [("fragile-condition", "condition-1")]


def test_reading_a_uri_is_found_however_deep_and_wherever_it_comes_from(tmp_path: Path) -> None:
    @dsl.pipeline
    def inner(place: str = "s3://bucket/inner") -> None:
        read(uri=place)

    def build(source: str = "s3://bucket/rows", folder: str = "") -> None:
        with dsl.ExitHandler(uncached(tell())):
            seen = use(rows=read(uri=source).outputs["rows"]).output
            inner()
            with dsl.ParallelFor(["s3://bucket/1", "s3://bucket/2"]) as item:
                read(uri=item)
            with dsl.If(seen == "yes"):
                read(uri=f"s3://bucket/{folder}/rows")
            with dsl.Else():
                read(uri=folder)
        fetch()

    assert rules(found(build, tmp_path)) == [
        ("unpinned-read", "fetch"),
        ("unpinned-read", "exit-handler-1/read"),
        ("unpinned-read", "exit-handler-1/condition-branches-4/condition-5/read-3"),
        ("unpinned-read", "exit-handler-1/condition-branches-4/condition-6/read-4"),
        ("unpinned-read", "exit-handler-1/for-loop-3/read-2"),
        ("unpinned-read", "exit-handler-1/inner/read"),
    ]


def test_reading_with_an_id_passes(tmp_path: Path) -> None:
    @dsl.pipeline
    def inner(revision: str) -> None:
        read(uri="s3://bucket/inner", revision=revision)

    def build(source: str = "s3://bucket/rows", commit: str = "") -> None:
        now = uncached(look(uri=source)).output
        read(uri=source, revision=now)
        read(uri=source, revision=commit)
        read(uri=now)
        read(uri=f"s3://bucket/{now}/rows")
        read(uri=f"s3://bucket/{COMMIT}/rows.parquet")
        read(uri="s3://bucket/rows.parquet?versionId=3sL4kqtJlcpXroDTDmJ")
        inner(revision=now)
        with dsl.ParallelFor(["s3://bucket/1", "s3://bucket/2"]) as item:
            read(uri=item, revision=now)
        uncached(read(uri=source))

    assert found(build, tmp_path) == []


def test_what_does_not_identify_is_no_id(tmp_path: Path) -> None:
    """An answer from the cache may be an old one; a warehouse's table id is an address; a window says which rows, not which bytes."""

    def build(source: str = "s3://bucket/rows") -> None:
        stale = read(uri=source, revision="sha256:" + 64 * "0").outputs["Output"]
        read(uri=source, revision=stale)
        read(uri=source, table_id="flights")
        read(uri=source, window=uncached(look(uri=source)).output)
        read(uri=source, revision="latest")

    assert rules(found(build, tmp_path)) == [
        ("unpinned-read", "read-2"),
        ("unpinned-read", "read-3"),
        ("unpinned-read", "read-4"),
        ("unpinned-read", "read-5"),
        ("moving-reference", "read-5"),
    ]


def test_an_importer_is_found_unless_it_imports_anew(tmp_path: Path) -> None:
    def build(source: str = "s3://bucket/rows", digest: str = "") -> None:
        def imported(uri: Any, reimport: bool = False) -> Any:
            return dsl.importer(artifact_uri=uri, artifact_class=dsl.Dataset, reimport=reimport).output

        use(rows=imported(source))
        use(rows=imported(source, reimport=True))
        use(rows=imported(source), revision=digest)
        use(rows=imported(f"s3://bucket/{COMMIT}"))

    assert rules(found(build, tmp_path)) == [("unpinned-read", "use")]


def test_an_importer_is_found_from_within_a_branch_a_loop_and_out_of_a_nested_pipeline(tmp_path: Path) -> None:
    @dsl.pipeline
    def bring(source: str) -> dsl.Dataset:
        return dsl.importer(artifact_uri=source, artifact_class=dsl.Dataset).output

    def build(source: str = "s3://bucket/rows", wanted: str = "yes") -> None:
        rows = bring(source=source).output
        with dsl.If(wanted == "yes"), dsl.ParallelFor([1, 2]):
            use(rows=rows)
        uncached(use(rows=rows))

    assert rules(found(build, tmp_path)) == [("unpinned-read", "condition-1/for-loop-3/use")]


def test_where_results_go_is_no_read(tmp_path: Path) -> None:
    def build(output_path: str = "s3://bucket/models", tracking_uri: str = "http://mlflow:5000") -> None:
        fit(output_path=output_path, tracking_uri=tracking_uri)

    assert found(build, tmp_path) == []


def test_effects_are_found_by_name_call_command_and_place(tmp_path: Path) -> None:
    def build() -> None:
        with dsl.ExitHandler(tell()):
            finish(name="x")
            harmless(name="x")
            shell(text="x")
            fit().set_display_name("harmless")

    assert rules(found(build, tmp_path)) == [
        ("cached-effect", "tell"),
        ("cached-effect", "exit-handler-1/finish"),
        ("cached-effect", "exit-handler-1/shell"),
    ]


@pytest.mark.parametrize(
    "value",
    [
        "latest",
        "HEAD",
        "main",
        "models:/flights@champion",
        "models:/flights/Production",
        "git+https://host/code@feature/x",
    ],
)
def test_a_moving_value_is_found_where_it_is_cached(value: str, tmp_path: Path) -> None:
    def build(tag: str = value) -> None:
        fit(tag=tag)
        uncached(fit(tag=tag))

    assert ("moving-reference", "fit") in rules(found(build, tmp_path))
    assert "fit-2" not in {finding.task for finding in found(build, tmp_path)}


def test_a_branchs_name_in_a_parameter_that_takes_none_passes(tmp_path: Path) -> None:
    assert found(lambda: fit(output_path="main", api_key="") and None, tmp_path) == []


@pytest.mark.parametrize(
    "value", ["", "newest_first", "main_table", "v1.2", f"git+https://host/code@{COMMIT}", "domain"]
)
def test_a_fixed_value_passes(value: str, tmp_path: Path) -> None:
    assert found(lambda: fit(tag=value) and None, tmp_path) == []


def test_a_branch_beside_its_pinned_commit_passes(tmp_path: Path) -> None:
    """That is what `pin` is for: dvc://…@main as the source, and the revision it stands for now."""

    def build(source: str = "dvc://https://host/data.git@main:rows") -> None:
        read(uri=source, revision=uncached(look(uri=source)).output)

    assert found(build, tmp_path) == []


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        ("repo/image", True),
        ("host:5000/repo/image", True),
        ("image:latest", True),
        ("image:main", True),
        ("host:5000/image:1.2", False),
        (f"image@sha256:{64 * '0'}", False),
    ],
)
def test_images_need_a_fixed_tag(image: str, problem: bool, tmp_path: Path) -> None:
    @dsl.component(base_image=image)
    def step() -> None:
        pass

    assert rules(found(lambda: uncached(step()) and None, tmp_path)) == problem * [("moving-reference", "step")]


SECRETS = [
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "ghp_" + 36 * "a",
    "xoxb-123456789012-abcdefghijkl",
    "sk-proj-" + 24 * "a",
    "-----BEGIN RSA PRIVATE KEY-----",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "host=db password=hunter2 user=me",
    '{"password": "hunter2"}',
    "postgresql://me:hunter2@db/flights",
    "rk_live_" + 24 * "a",
    "glpat-" + 20 * "a",
    "SG." + 22 * "a" + "." + 43 * "b",
    "pypi-AgEIcHlwaS5vcmc" + 70 * "a",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("place", ["default", "constant", "variable", "command"])
def test_a_secret_is_found_and_not_repeated(secret: str, place: str, tmp_path: Path) -> None:
    def build(tag: str = secret if place == "default" else "") -> None:
        uncached(fit(tag=secret if place == "constant" else tag)).set_env_variable(
            "SETTING", secret if place == "variable" else "x"
        )
        uncached(shell(text="x" if place != "command" else secret))

    findings = found(build, tmp_path)
    (finding,) = (one for one in findings if one.rule == "credential")
    assert finding.task == {"default": "pipeline", "command": "shell"}.get(place, "fit")
    assert secret not in str(findings) and "hunter2" not in str(findings)


def test_no_other_rule_repeats_a_secret(tmp_path: Path) -> None:
    @dsl.container_component
    def curl():
        return dsl.ContainerSpec(image="curl:8", command=["curl"], args=["https://me:hunter2@host/rows"])

    def build(source: str = "https://me:hunter2@host/rows@main") -> None:
        read(uri=source)
        fit(tag="git+https://me:hunter2@host/code@main")
        curl()

    findings = found(build, tmp_path)
    assert {one.rule for one in findings} == {"unpinned-read", "moving-reference", "credential"}
    assert "hunter2" not in str(findings)


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/prefix",
        COMMIT,
        "sha256:" + 64 * "0",
        "projects/Flights/regions/us1/datasets/of2013",
        "SELECT token, password FROM users",
        '{"target": "token", "id": "key"}',
        "{{$.inputs.parameters['password']}}",
        "password=$PASSWORD",
    ],
)
def test_a_harmless_text_is_no_secret(text: str, tmp_path: Path) -> None:
    def build(tag: str = text) -> None:
        uncached(fit(tag=tag))

    assert found(build, tmp_path) == []


def test_a_parameter_named_for_a_secret_must_be_empty(tmp_path: Path) -> None:
    def build(api_key: str = "hunter2", password_file: str = "/run/secrets/db", max_tokens: int = 512) -> None:
        uncached(fit(api_key=api_key, tag=password_file, seed=max_tokens))

    (finding,) = found(build, tmp_path)
    assert finding.rule == "credential" and "`api_key`" in finding.message


def test_findings_can_be_accepted_by_rule_and_task(tmp_path: Path) -> None:
    def build() -> None:
        shell(text="x")
        finish(name="x")

    assert rules(found(build, tmp_path, ignore=["cached-effect:shell"])) == [("cached-effect", "finish")]
    assert found(build, tmp_path, ignore=["cached-effect"]) == []
    with pytest.raises(InputError, match="no rule 'cached-effects'") as caught:
        found(build, tmp_path, ignore=["cached-effects"])
    assert "cached-effect" in caught.value.remedy


@pytest.mark.parametrize(
    "text", ["", "a", "[1]", "a: b", "root: 1", "root: {dag: {tasks: {a: 1}}}", "a: b: c", "\0", "root: {x: 1}"]
)
def test_what_is_no_compiled_pipeline_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"x\.yaml is no compiled pipeline"):
        lint(text, "x.yaml")


def test_a_component_that_holds_itself_comes_to_an_end() -> None:
    pipeline = spec(TRAINING[0])
    inner = pipeline["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    for name in ("again", "and-again"):
        inner[name] = {"componentRef": {"name": "comp-exit-handler-1"}, "taskInfo": {"name": name}}
    assert linted(pipeline) == [("broken-graph", "again"), ("broken-graph", "and-again")]


def test_the_command_tells_and_exits_with_1(tmp_path: Path) -> None:
    path = tmp_path / "compiled" / "mine.yaml"
    path.parent.mkdir()
    mutant = spec(TRAINING[0])
    del tasks(mutant)["ingest"]["inputs"]["parameters"]["revision"]
    path.write_text(yaml.safe_dump(mutant))
    done = subprocess.run([RATCHET, "lint", "--json"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert [(one["file"], one["rule"]) for one in told["findings"]] == [("compiled/mine.yaml", "unpinned-read")]
    accepted = subprocess.run(
        [RATCHET, "lint", path, "--ignore", "unpinned-read:ingest"], capture_output=True, text=True
    )
    assert (accepted.returncode, accepted.stdout) == (0, "1 compiled pipeline: 0 findings\n")


def test_a_pipelines_yaml_is_compiled_and_looked_at(tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(
        "from kfp import dsl\n\n\n@dsl.container_component\ndef send():\n    return dsl.ContainerSpec(image='busybox', command=['x'])\n"
        "\n\ndef flow():\n    send()\n"
    )
    (tmp_path / "pipelines.yaml").write_text("name: mine\npipelines: {one: {pipeline: 'flows:flow'}}\n")
    done = subprocess.run([RATCHET, "lint", "--json"], cwd=tmp_path, capture_output=True, text=True)
    told = json.loads(done.stdout)
    assert done.returncode == 1 and told["files"] == ["pipelines.yaml:one"]
    assert [one["rule"] for one in told["findings"]] == ["cached-effect", "moving-reference"]


def test_without_compiled_files_the_project_is_compiled_and_looked_at() -> None:
    done = subprocess.run(
        [RATCHET, "lint", "-c", "ratchet.yaml"], cwd=ROOT / "examples" / "flights", capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "1 compiled pipeline: 0 findings\n"), done.stderr


def test_every_rule_is_documented() -> None:
    page = (ROOT / "docs" / "lint.md").read_text()
    assert [line.strip("# `") for line in page.splitlines() if line.startswith("## ")] == list(RULES)


def test_linting_needs_nothing_of_what_the_steps_need() -> None:
    """The base install can lint in CI."""
    absent = [
        "boto3",
        "jinja2",
        "mlflow",
        "numpy",
        "obstore",
        "optuna",
        "pandas",
        "pandera",
        "polars",
        "pyarrow",
        "torch",
    ]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent})); sys.argv = ['ratchet', 'lint', {str(COMPILED[0])!r}]\n"
        "from kfp_ratchet.pipelines.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "1 compiled pipeline: 0 findings\n"), done.stderr

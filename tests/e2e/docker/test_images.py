"""The images as they were built and pushed."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from kfp_ratchet.components import ops
from kfp_ratchet.components._image import VERSION
from kfp_ratchet.pipelines.compile import compiled
from kfp_ratchet.pipelines.image_building import BASE, build
from kfp_ratchet.pipelines.images import Images

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent.parent
SLIM_BYTES = 900e6
# As a strict cluster runs a pod; a lightweight component writes its source to /tmp.
STRICT = ("--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
NOT_COMPILED = """
import importlib, importlib.util, sys
for name in {modules}:
    importlib.import_module(name)
sources = {{m.__file__ for m in list(sys.modules.values()) if (getattr(m, "__file__", None) or "").startswith("/opt/venv")}}
import os
print(*[s for s in sources if s.endswith(".py") and not os.path.exists(importlib.util.cache_from_source(s))], sep="\\n")
"""


def run(image: str, *command: str, options: tuple[str, ...] = STRICT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", "run", *options, image, *command], capture_output=True, text=True)


def python(image: str, code: str) -> str:
    done = run(image, "python3", "-c", code, options=(*STRICT, "--network", "none"))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def slim(images: dict[str, str]) -> str:
    subprocess.run(["docker", "pull", "--quiet", images["slim"]], check=True, capture_output=True)
    return images["slim"]


def pin(image: str, tmp_path: Path, version: str = VERSION) -> subprocess.CompletedProcess[str]:
    """The step as its compiled YAML starts it, on a folder with one table."""
    (tmp_path / "rows.csv").write_text("a,late\n1,0\n2,1\n")
    tmp_path.chmod(0o755)
    text = (ROOT / "compiled" / "continuous_training.yaml").read_text().split("\n---")[0]
    container = yaml.safe_load(text)["deploymentSpec"]["executors"]["exec-pin"]["container"]
    (wanted,) = container["env"]
    assert wanted == {"name": "RATCHET_VERSION", "value": VERSION}
    values = {"source": "/data/rows.csv", "model_name": "m", "store": "/tmp/store"}
    executor_input = {
        "inputs": {"parameterValues": values},
        "outputs": {
            "artifacts": {
                "pins": {
                    "artifacts": [
                        {
                            "name": "pins",
                            "type": {"schemaTitle": "system.Artifact"},
                            "uri": "/tmp/root/pipeline/run-1/pin/pins",
                        }
                    ]
                }
            },
            "parameters": {"revision": {"outputFile": "/tmp/out/revision"}},
            "outputFile": "/tmp/out/executor_output.json",
        },
    }
    start = [*container["command"], *container["args"]]
    start = [json.dumps(executor_input) if each == "{{$}}" else each for each in start]
    return run(image, *start, options=(*STRICT, "-e", f"RATCHET_VERSION={version}", "-v", f"{tmp_path}:/data:ro"))


def test_slim_is_small_and_says_what_it_is(slim: str) -> None:
    (found,) = json.loads(subprocess.check_output(["docker", "image", "inspect", slim]))
    assert found["Size"] <= SLIM_BYTES
    assert found["Config"]["User"] == "65532:65532"
    assert found["Config"]["Labels"]["org.opencontainers.image.version"] == VERSION
    assert found["Config"]["Labels"]["org.opencontainers.image.title"] == "kfp-ratchet slim"
    (named,) = [each for each in found["Config"]["Env"] if each.startswith("RATCHET_IMAGE=")]
    assert named.endswith(f"/slim:{VERSION}")


def test_slim_has_no_torch_and_a_list_of_what_it_has(slim: str) -> None:
    bill = json.loads(python(slim, "print(open('/opt/venv/sbom.cdx.json').read())"))
    names = {each["name"] for each in bill["components"]}
    assert {"polars", "kfp-ratchet", "mlflow-skinny"} <= names and "torch" not in names
    assert python(slim, "import importlib.util; print(importlib.util.find_spec('torch'))") == "None"
    assert (
        python(slim, "import getpass, os; print(os.getuid(), os.getgid(), getpass.getuser())") == "65532 65532 ratchet"
    )


def test_git_fetches_for_dvc_sources(slim: str) -> None:
    script = "cd /tmp && git init -q a && git -C a -c user.name=a -c user.email=a commit -q --allow-empty -m x"
    done = run(
        slim,
        "sh",
        "-c",
        f"{script} && git init -q b && git -C b fetch -q --depth=1 /tmp/a HEAD && git ls-remote https://127.0.0.1:9/",
    )
    assert "Failed to connect" in done.stderr, f"https is missing, or fetching: {done.stderr}"


def test_what_steps_import_is_compiled(slim: str) -> None:
    """A read-only root file system keeps no bytecode: what is missing is compiled again by every pod."""
    steps = {name for name in ops.NAMES if name not in ("tune", "train", "evaluate")}
    modules = sorted(
        f"kfp_ratchet.components.{path.parent.name}.{path.stem}"
        for step in steps
        for path in (ROOT / "components" / step).glob("*.py")
        if path.stem != "__init__"
    )
    assert modules
    missing = python(slim, NOT_COMPILED.format(modules=modules)).splitlines()
    assert not missing


def test_a_step_runs_with_a_read_only_root(slim: str, tmp_path: Path) -> None:
    done = pin(slim, tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_step_of_another_version_stops_and_says_why(slim: str, tmp_path: Path) -> None:
    done = pin(slim, tmp_path, version="9.9.9")
    assert done.returncode != 0
    assert "compiled with kfp-ratchet 9.9.9" in done.stderr and f"holds {VERSION}" in done.stderr


def test_train_has_what_slim_has_and_torch(images: dict[str, str]) -> None:
    code = "import torch, polars, optuna, kfp_ratchet.components.train.fit as f; print(torch.ones(2).sum().item(), torch.version.cuda)"
    answer, cuda = python(images["train"], code).split()
    assert answer == "2.0" and cuda != "None"


def test_serve_adds_only_a_server_to_train(images: dict[str, str]) -> None:
    layers, configs = {}, {}
    for kind in ("train", "serve"):
        subprocess.run(["docker", "pull", "--quiet", images[kind]], check=True, capture_output=True)
        (found,) = json.loads(subprocess.check_output(["docker", "image", "inspect", images[kind]]))
        layers[kind], configs[kind] = found["RootFS"]["Layers"], found["Config"]
    assert layers["serve"] == layers["train"]
    assert configs["serve"]["Healthcheck"]["Test"] and "Healthcheck" not in configs["train"]
    assert list(configs["serve"]["ExposedPorts"]) == ["8080/tcp"]
    assert "the following arguments are required: folder" in run(images["serve"]).stderr


def test_pinned_pipelines_name_the_digests_that_were_pushed(images: dict[str, str], tmp_path: Path) -> None:
    if "RATCHET_TEST_REGISTRY" not in os.environ or "RATCHET_TEST_IMAGES" in os.environ:
        pytest.skip("images were not pushed by this run")
    from kfp_ratchet.pipelines.docker_engine import registry_digest

    (tmp_path / "ratchet.yaml").write_text(
        "name: flights\nsource: data\nschema: schemas:Flights\ncolumns: {target: late}\n"
        f"images: {{registry: '{os.environ['RATCHET_TEST_REGISTRY']}'}}\n"
    )
    text = compiled([tmp_path / "ratchet.yaml"], registry_digest)["flights"]
    assert f"image: {images['slim']}\n" in text and f"image: {images['train']}\n" in text


def test_a_package_of_the_user_s_is_importable_without_torch_in_slim(images: dict[str, str], tmp_path: Path) -> None:
    if "RATCHET_TEST_REGISTRY" not in os.environ or "RATCHET_TEST_IMAGES" in os.environ:
        pytest.skip("images were not built by this run")
    mine = tmp_path / "my_workload"
    mine.mkdir()
    (mine / "features.py").write_text("ANSWER = 42\n")
    (mine / "requirements.txt").write_text("polars>=1\ntorch>=2\n")
    names = Images(repository="ratchet-test/with", tag="test")
    base = os.environ.get("RATCHET_TEST_BASE", BASE)
    (made,) = build(names, kinds=["slim"], base=base, workload=mine, revision="abc", network="host")
    try:
        assert (
            python(made.reference, "import features, os; print(features.ANSWER, os.environ['RATCHET_IMAGE'])")
            == f"42 {names.slim}"
        )
        assert python(made.reference, "import importlib.util; print(importlib.util.find_spec('torch'))") == "None"
        (found,) = json.loads(subprocess.check_output(["docker", "image", "inspect", made.reference]))
        assert found["Config"]["Labels"]["org.opencontainers.image.revision"] == "abc"
    finally:
        subprocess.run(["docker", "rmi", made.reference], capture_output=True)

"""`ratchet run --runner docker`: every step a container of its image, and the model server one beside them."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from kfp_ratchet.pipelines.containers import RUN_LABEL

FLIGHTS = Path(__file__).parents[3] / "examples" / "flights"
pytestmark = pytest.mark.slow
PROMOTE = '{"metric": "roc_auc", "margin": 0.0, "min_rows": 10}'


@pytest.fixture(scope="module")
def project(images, tmp_path_factory):
    """The flights of January and February, a model that is quickly fitted, and the images under test under names of one kind."""
    folder = tmp_path_factory.mktemp("docker") / "flights with a space"
    folder.mkdir()
    for name in ("ratchet.yaml", "features.sql", "schemas", "feed.py"):
        (shutil.copytree if (FLIGHTS / name).is_dir() else shutil.copy)(FLIGHTS / name, folder / name)
    subprocess.run([sys.executable, "feed.py", "--until", "2013-02"], cwd=folder, check=True)
    # docker_run.test is no registry: what is named so cannot come from anywhere else.
    for kind in ("slim", "train", "serve"):
        subprocess.run(["docker", "tag", images[kind], f"docker-run.test/run/{kind}:1"], check=True)
    config = folder / "ratchet.yaml"
    text = config.read_text().replace("trials: 10", "trials: 0\nparameters: {epochs: 1}")
    config.write_text(f"{text}\nimages: {{registry: docker-run.test, repository: run, tag: '1'}}\n")
    yield folder
    ratchet(folder, "stop")
    for kind in ("slim", "train", "serve"):
        subprocess.run(["docker", "rmi", f"docker-run.test/run/{kind}:1"], check=False, capture_output=True)


def ratchet(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("ratchet")), *arguments]
    return subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)


def containers(label: str = RUN_LABEL) -> list[str]:
    listed = subprocess.run(["docker", "ps", "-aq", "--filter", f"label={label}"], capture_output=True, text=True)
    return listed.stdout.split()


def ask(folder: Path, url: str, version: str) -> int:
    example = folder / ".ratchet/serving/flights/versions" / version / "model/serving_input_example.json"
    request = urllib.request.Request(
        f"{url}/invocations", example.read_bytes(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request) as answer:
        return len(json.load(answer)["predictions"])


def test_promotes_serves_and_rejects(project):
    done = ratchet(project, "run", "--runner", "docker", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    first = json.loads(done.stdout)
    assert (first["outcome"], first["runner"]) == ("promoted", "docker")
    assert {step["state"] for step in first["steps"].values()} == {"succeeded"}
    assert ask(project, first["endpoint"], first["version"]) > 0
    assert "promoted" in Path(first["report"]).read_text().lower()
    made = list((project / ".ratchet").rglob("*"))
    assert made and {path.lstat().st_uid for path in made} == {os.getuid()}
    # Each step ran in its own image, as the journal says.
    records = {
        path.stem: json.loads(path.read_text())
        for path in (project / ".ratchet/store/runs" / first["run"] / "steps").iterdir()
    }
    assert "train" in records["train"]["environment"]["image"] and "slim" in records["pin"]["environment"]["image"]
    assert containers() == []

    # An equal model is not better, so nothing moves; what has not changed comes from the cache, by image instead of by code.
    done = ratchet(project, "run", "--runner", "docker", "--json", "-p", 'policy={"metric": "roc_auc", "margin": 0.3}')
    assert done.returncode == 0, done.stdout + done.stderr
    second = json.loads(done.stdout)
    assert second["outcome"] in ("rejected", "unchanged")
    assert second["steps"]["deploy"]["state"] == "not needed"
    assert (second["steps"]["train"]["state"], second["steps"]["train"]["run"]) == ("cached", first["run"])
    assert "rejected" in Path(second["report"]).read_text().lower()

    assert ratchet(project, "status").returncode == 0
    assert "stopped" in ratchet(project, "stop").stdout
    assert ratchet(project, "status").returncode == 1
    # A command by hand starts it as it was: in a container.
    assert ratchet(project, "status", "--start").returncode == 0
    live = json.loads((project / ".ratchet/serving/flights/live.json").read_text())
    assert live["image"] == "docker-run.test/run/serve:1"
    assert ask(project, live["url"], live["version"]) > 0
    assert len(containers(f"kfp-ratchet.model-folder={project}/.ratchet/serving/flights/versions/1")) == 1


def test_a_failing_step_says_why_as_in_a_local_run(project):
    (project / "broken.py").write_text("raise RuntimeError('this module is broken')\n")
    arguments = ("run", "--json", "-p", "workload=broken:Model")
    local, docker = (json.loads(ratchet(project, *arguments, *more).stdout) for more in ((), ("--runner", "docker")))
    assert docker["exit_code"] == local["exit_code"] != 0
    assert "this module is broken" in docker["reason"]
    assert (docker["reason"], docker["remedy"]) == (local["reason"], local["remedy"])
    assert Path(docker["report"]).exists()
    assert containers() == []


def test_a_failure_is_no_success_however_quick(project):
    """KFP's own runner asks for the exit code of a container that is being removed, and takes 'not found' for a success."""
    import docker

    from kfp_ratchet.pipelines.containers import run_container

    client = docker.from_env()
    for code in [7] * 10:
        assert run_container(client, "docker-run.test/run/slim:1", ["sh", "-c", f"exit {code}"], {}) == code


@pytest.mark.parametrize("what", [signal.SIGINT, signal.SIGKILL])
def test_no_container_outlives_its_run(project, what):
    (project / "slow.py").write_text("import time\ntime.sleep(600)\n")
    command = [str(Path(sys.executable).with_name("ratchet")), "run", "--runner", "docker", "-p", "workload=slow:Model"]
    run = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with contextlib.closing(run.stdout):
        for line in run.stdout:
            if "register" in line or "validate" in line:
                break
        assert (begun := _until(containers)), "no step ran"
        time.sleep(1)
        run.send_signal(what)
        run.wait(60)
    assert run.returncode == (130 if what == signal.SIGINT else -signal.SIGKILL)
    assert _until(lambda: not containers()), f"left: {containers()} after {begun}"


def test_a_missing_image_is_told_before_the_run_starts(project):
    config = project / "elsewhere.yaml"
    config.write_text((project / "ratchet.yaml").read_text().replace("tag: '1'", "tag: nothing"))
    runs = sorted((project / ".ratchet/runs").iterdir())
    done = ratchet(project, "run", "-c", "elsewhere.yaml", "--runner", "docker")
    assert done.returncode == 2
    assert "docker-run.test/run/slim:nothing" in done.stderr and "ratchet images build" in done.stderr
    assert sorted((project / ".ratchet/runs").iterdir()) == runs


def test_a_daemon_that_is_not_there(project):
    done = ratchet(project, "run", "--runner", "docker", DOCKER_HOST="unix:///nowhere/docker.sock")
    assert done.returncode == 2 and "/nowhere/docker.sock" in done.stderr


def _until(condition):
    for _ in range(300):
        if found := condition():
            return found
        time.sleep(0.1)
    return condition()

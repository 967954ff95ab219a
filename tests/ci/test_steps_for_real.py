"""The scripts of the GitHub templates, run as a runner runs them: in clones of a small repository, against a server and a forge."""

import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from templates import ACTION, FOLDER, ROOT
from werkzeug.serving import make_server

from kfp_ratchet.testing.kfp_server import KfpServer

pytestmark = pytest.mark.slow
TOKEN = "a-token-of-the-server"
FILES = {
    "ratchet.yaml": """\
name: tiny
source: data
schema: schema.yaml
columns: {target: y, problem: binary, id: id, time: day}
window: {evaluate: 10d}
trials: 5
parameters: {epochs: 2}
policy: {resamples: 400}
store: real-store
tracking_uri: sqlite:///real-registry.db
notifications: {file: told.jsonl}
""",
    "schema.yaml": """\
schema_type: polars_dataframe
columns:
  id: {dtype: Int64, nullable: false}
  day: {dtype: Date, nullable: false}
  x: {dtype: Float64, nullable: false}
  y: {dtype: Int64, nullable: false, isin: [0, 1]}
strict: false
""",
    "pipelines.yaml": """\
name: tiny
servers: {production: {url: 'URL'}}
pipelines:
  tiny: {pipeline: continuous_training, config: ratchet.yaml}
""",
    "tests/test_data.py": "def test_data_is_there():\n    assert __import__('pathlib').Path('data').is_dir()\n",
    ".gitignore": ".ratchet/\n__pycache__/\n",
}
LEFT_OUT = ("Install", "Build images", "Push images")
"""Need an index or Docker."""


class Runner:
    """Runs jobs of a workflow: each in a clone of its own, its scripts one after another by `bash -eo pipefail`."""

    def __init__(self, folder: Path, server: KfpServer, forge: Any, token: str) -> None:
        self.origin, self.summary = folder / "origin", folder / "summary.md"
        self._folder, self._jobs = folder, 0
        self._said = {"secrets.KFP_TOKEN": TOKEN, "github.token": token}
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("GIT", "RATCHET", "KFP", "CI"))},
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            **{f"GIT_{who}_{what}": "ada@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
            "RATCHET_SERVER": server.url,
            "GITHUB_API_URL": forge.url,
            "GITHUB_REPOSITORY": "o/r",
            "GITHUB_REF": "refs/pull/7/merge",
            "GITHUB_SHA": "abc",
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_OUTPUT": str(folder / "output"),
            "RUNNER_TEMP": str(folder),
        }

    def git(self, *words: str) -> None:
        subprocess.run(["git", *words], cwd=self.origin, env=self.environment, check=True, capture_output=True)

    def commit(self) -> None:
        """Compile, and commit all."""
        self.bash("ratchet compile", self.origin)
        self.git("add", "-A")
        self.git("commit", "-qm", "a change")

    def clone(self) -> Path:
        self._jobs += 1
        place = self._folder / f"job{self._jobs}"
        subprocess.run(["git", "clone", "-q", self.origin, place], env=self.environment, check=True)
        return place

    def bash(self, script: str, place: Path, **environment: str) -> str:
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=place,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise StepError(f"{script}\n{done.stdout}\nexit code {done.returncode}")
        return done.stdout

    def job(self, workflow: str, name: str) -> tuple[Path, str]:
        """Run a job; its folder, and all that it printed."""
        content = yaml.safe_load((FOLDER / "github" / f"{workflow}.yml").read_text())
        assert content["defaults"] == {"run": {"shell": "bash"}}
        place, printed, ran = self.clone(), "", 0
        try:
            for step in content["jobs"][name]["steps"]:
                if "run" not in step or step["name"] in LEFT_OUT:
                    continue
                named = {**content["env"], **step.get("env", {})}
                # Digests of images come from a registry, by Docker.
                script = step["run"].replace(" --pin-digests", "")
                printed += self.bash(script, place, **{key: self._filled(value) for key, value in named.items()})
                ran += 1
        finally:
            subprocess.run(["ratchet", "stop"], cwd=place, env=self.environment, capture_output=True)
        assert ran
        return place, printed

    def _filled(self, value: str) -> str:
        return re.sub(r"\$\{\{ (.*?) \}\}", lambda found: self._said[found[1]], str(value))


class StepError(Exception):
    """A script failed."""


@pytest.fixture
def forge() -> Iterator[Any]:
    spec = importlib.util.spec_from_file_location(
        "forge_double", ROOT / "tests" / "pipelines" / "forge" / "conftest.py"
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # Its data class looks itself up there.
    spec.loader.exec_module(module)
    found = module.Forge()
    server = make_server("127.0.0.1", 0, module.application(found), threaded=True)
    found.url, found.token = f"http://127.0.0.1:{server.server_port}", module.TOKEN
    threading.Thread(target=lambda: server.serve_forever(poll_interval=0.05), daemon=True).start()
    yield found
    server.shutdown()
    del sys.modules[spec.name]


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with KfpServer() as found:
        found.token = TOKEN
        yield found


@pytest.fixture
def runner(tmp_path, server, forge) -> Runner:
    runner = Runner(tmp_path, server, forge, forge.token)
    for path, text in FILES.items():
        (runner.origin / path).parent.mkdir(parents=True, exist_ok=True)
        (runner.origin / path).write_text(text.replace("URL", server.url))
    (runner.origin / "data").mkdir()
    random = np.random.default_rng(1)
    x = random.normal(size=1200)
    days = pl.date(2025, 1, 1) + pl.duration(days=pl.Series(np.arange(1200) % 50))
    rows = pl.DataFrame({"id": np.arange(1200), "x": x, "y": (x + random.normal(size=1200) > 0).astype(int)})
    rows.with_columns(day=days).write_parquet(runner.origin / "data" / "rows.parquet")
    runner.git("init", "-q", "-b", "main")
    runner.commit()
    return runner


def test_a_pull_request_is_checked_and_tried_and_merging_it_makes_the_server_so(runner, server, forge):
    runner.job("pull-request", "check")
    _, printed = runner.job("pull-request", "diff")
    assert "dirty" not in printed, "what the job itself wrote made the checkout another one than was committed"
    assert "tiny" in printed and printed in runner.summary.read_text() and not server.pipelines
    place, _ = runner.job("pull-request", "try")
    (comment,) = forge.comments.values()
    assert "tiny" in comment["body"] and comment["body"].partition("\n")[2].strip()[:40] in runner.summary.read_text()
    assert [one["conclusion"] for one in forge.checks] == ["success"]
    assert "<testcase" in (place / "ratchet.xml").read_text()
    assert not [one for one in ("real-store", "real-registry.db", "told.jsonl") if (place / one).exists()]
    assert list((place / ".ratchet" / "store" / "runs").glob("*/report.html"))

    runner.job("main", "staging")
    (pipeline,) = server.pipelines
    assert pipeline["display_name"] == "tiny" and len(pipeline["versions"]) == 1
    assert "is as Git says" in runner.job("pull-request", "diff")[1]
    runner.job("main", "staging")
    assert len(server.pipelines[0]["versions"]) == 1


def test_a_release_was_named_as_if_someone_had_changed_it(runner, server, tmp_path):
    runner.job("release", "production")
    ((version,),) = [pipeline["versions"] for pipeline in server.pipelines]
    assert "dirty" not in version["display_name"], version["display_name"]
    assert "tiny.yaml" in [path.name for path in (tmp_path / "release").iterdir()]


def test_what_was_not_compiled_again_passed_as_checked(runner):
    config = runner.origin / "ratchet.yaml"
    config.write_text(config.read_text().replace("trials: 5", "trials: 6"))
    runner.git("commit", "-qam", "not compiled")
    with pytest.raises(StepError, match=r"ratchet compile --check[\s\S]*exit code 1"):
        runner.job("pull-request", "check")


def test_a_server_that_refuses_the_token_passed_as_a_difference(runner, server):
    server.token = "another"
    with pytest.raises(StepError, match=r"(?s)token.*exit code 1\Z"):
        runner.job("pull-request", "diff")


def test_the_action_runs_a_command_tells_its_outcome_and_comments(runner, server, forge):
    steps = {step["name"]: step for step in yaml.safe_load(ACTION.read_text())["runs"]["steps"] if "name" in step}
    place = runner.clone()

    def command(words: str, accept: str = "4") -> None:
        runner.bash(steps["Command"]["run"], place, COMMAND=words, ACCEPT=accept, SERVER="", KFP_TOKEN=TOKEN)

    output = runner.environment["GITHUB_OUTPUT"]
    command("server diff", accept="1")
    assert "exit-code=1" in Path(output).read_text() and "tiny" in runner.summary.read_text()
    with pytest.raises(StepError, match="exit code 1"):
        command("server diff")
    with pytest.raises(StepError, match="exit code 2"):
        command("lint '$(touch pwned); touch pwned' nothing")
    assert not (place / "pwned").exists()
    try:
        command("run -p trials=1 -p 'store=.ratchet/store'")
        assert (
            Path(output).read_text().endswith("ratchet.xml\n")
            and "<testcase" in (runner.summary.parent / "ratchet.xml").read_text()
        )
        runner.bash(
            steps["Comment"]["run"],
            place,
            COMMENT="true",
            CHECK="true",
            STORE=".ratchet/store",
            GITHUB_TOKEN=forge.token,
        )
        assert len(forge.comments) == 1 and len(forge.checks) == 1
    finally:
        subprocess.run(["ratchet", "stop"], cwd=place, env=runner.environment, capture_output=True)

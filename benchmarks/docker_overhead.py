"""What a step costs in Docker: a pipeline of pinning steps by `kfp.local`'s DockerRunner as `ratchet run` sets it up, against the bare
`docker run` of the same image with the same command.

    python benchmarks/docker_overhead.py IMAGE [--steps 10]

IMAGE is an image `slim`. Prints seconds a step of both, medians of interleaved pairs, and their ratio.
"""

import argparse
import contextlib
import io
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import docker

from kfp_ratchet.pipelines import containers

COMMAND = ["sh", "-c", "python3 -c 'import kfp_ratchet.components.pin.pins, kfp.dsl.executor_main'"]


def bare(image: str) -> float:
    """Seconds of `docker run`."""
    began = time.perf_counter()
    subprocess.run(["docker", "run", "--rm", image, *COMMAND], check=True, capture_output=True)
    return time.perf_counter() - began


def step(image: str, folder: Path) -> float:
    """Seconds of the same as a step of a run: KFP's own handler, with all that `ratchet run` sets."""
    from kfp.local.docker_task_handler import DockerTaskHandler
    from kfp.local.task_dispatcher import _prepare_runner_and_env_vars

    said = containers.Containers(project=str(folder), mounts={str(folder): True}, environment=[], serve_image="")
    began = time.perf_counter()
    runner, environment = _prepare_runner_and_env_vars(containers.runner(said, folder), {})
    with contextlib.redirect_stdout(io.StringIO()):
        done = DockerTaskHandler(image, COMMAND, str(folder / "root"), runner, environment).run()
    seconds = time.perf_counter() - began
    assert done.name == "SUCCESS", done.name
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image")
    parser.add_argument("--steps", type=int, default=10)
    given = parser.parse_args()
    docker.from_env().ping()
    with tempfile.TemporaryDirectory() as name:
        os.environ["TMPDIR"] = name
        folder = Path(name, "project")
        (folder / "root").mkdir(parents=True)
        bare(given.image), step(given.image, folder)  # what comes into the page cache once
        pairs = [(bare(given.image), step(given.image, folder)) for _ in range(given.steps)]
    alone, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(mine / other for other, mine in pairs)
    print(f"docker run {alone:.2f} s, a step {ours:.2f} s, ratio of pairs {ratio:.2f} (median of {given.steps})")


if __name__ == "__main__":
    main()

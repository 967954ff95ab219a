"""What the pipeline costs: `ratchet run` on the flights up to June against one bare process, and a re-run against a first run.

    python benchmarks/pipeline_overhead.py [REPETITIONS]

`bare_flights.py` is the bare process. Both start from nothing: no cache, no MLflow database. Seconds of the processor count children that
have ended; the pipeline's model server goes on, so it is stopped with its time read first.
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from results import keep

from kfp_ratchet.components.deploy.live import live, stop
from kfp_ratchet.pipelines.project import Project

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "flights"
MONTH = "2013-06"
REPETITIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 3


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Seconds of wall clock and of processor that a command took."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def fresh_project(folder: Path) -> Path:
    """The example with its data, and nothing that a run left."""
    project = folder / "flights"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns(".ratchet", "data"))
    sys.path.insert(0, str(EXAMPLE))
    from feed import deposit

    deposit(MONTH, project / "data")
    return project


def once() -> dict[str, tuple[float, float]]:
    """One repetition."""
    with TemporaryDirectory() as scratch:
        project, bare = fresh_project(Path(scratch)), Path(scratch, "bare")
        bare.mkdir()
        script = Path(__file__).with_name("bare_flights.py")
        ratchet = [str(Path(sys.executable).with_name("ratchet")), "run", "-p", f"as_of={MONTH}"]
        found = {"bare": timed([sys.executable, str(script), str(project / "data"), str(bare)], bare)}
        wall, processor = timed(ratchet, project)
        opened = Project.open(project / "ratchet.yaml")
        there = live(opened.serving, opened.config.name)
        served = psutil.Process(there[0].pid).cpu_times() if there else None
        found["first run"] = (wall, processor + (served.user + served.system if served else 0))
        found["after a promotion"] = timed(ratchet, project)
        found["nothing changed"] = timed(ratchet, project)
        os.chdir(project)
        stop(opened.serving, opened.config.name)
        os.chdir(EXAMPLE)
        return found


def main() -> None:
    """Measure and keep."""
    runs = [once() for _ in range(REPETITIONS)]
    against = {"bare": "bare", "first run": "bare", "after a promotion": "first run", "nothing changed": "first run"}
    lines = [
        f"{os.cpu_count()} cores, median of {REPETITIONS}; flights up to {MONTH}, 10 trials, final fit, register, serve.",
        "",
        "| what | wall | processor | ratio of wall | of processor | against |",
        "|---|---|---|---|---|---|",
    ]
    for what, base in against.items():
        wall, processor = (statistics.median(run[what][i] for run in runs) for i in (0, 1))
        ratios = [statistics.median(run[what][i] / run[base][i] for run in runs) for i in (0, 1)]
        shown = f"{ratios[0]:.2f}x | {ratios[1]:.2f}x | {base}" if what != base else "1x | 1x | itself"
        lines.append(f"| {what} | {wall:.1f} s | {processor:.1f} s | {shown} |")
    keep(Path(__file__).name, "\n".join(lines))


if __name__ == "__main__":
    main()

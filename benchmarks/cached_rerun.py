"""What a re-run costs when nothing has changed: `ratchet run` on the flights of 2013 again, against the first run.

    python benchmarks/cached_rerun.py [--s3] [--month 2013-12] [--repetitions 3]

With --s3 the files lie in a bucket that `rclone serve s3` serves on this machine. Each repetition starts from nothing: no cache, no
MLflow database, nothing fetched. The first run promotes; the second judges again, since the champion is another one; the third finds
nothing changed.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from results import keep
from s3_servers import rclone

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "flights"
RATCHET = Path(sys.executable).with_name("ratchet")
TABLES = {"flights": "flights", "weather": "weather", "planes": "planes.csv"}
RUNS = ("first run", "after its promotion", "nothing changed")
STEPS = ("ingest", "validate", "prepare", "tune", "train", "evaluate", "gate")


def run(project: Path, base: str, month: str, environment: Mapping[str, str]) -> tuple[float, set[str]]:
    """Seconds that `ratchet run` took, and the cached steps."""
    source = json.dumps({table: f"{base}{path}" for table, path in TABLES.items()})
    command = [RATCHET, "run", "--json", "-p", f"as_of={month}", "-p", f"source={source}"]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    took = time.perf_counter() - began
    if done.returncode not in (0, 4):
        sys.exit(f"ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    told = json.loads(done.stdout)
    return took, {step for step in STEPS if told["steps"][step]["run"] != told["run"]}


def once(s3: bool, month: str) -> list[float]:
    """Seconds of the three runs of one repetition."""
    with TemporaryDirectory() as scratch:
        project, buckets = Path(scratch, "flights"), Path(scratch, "buckets")
        shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns(".ratchet", "data"))
        sys.path.insert(0, str(EXAMPLE))
        from feed import deposit

        deposit(month, buckets / "data" if s3 else project / "data")
        with rclone(buckets) if s3 else nullcontext(dict(os.environ)) as environment:
            base = "s3://data/" if s3 else "data/"
            found = [run(project, base, month, environment) for _ in RUNS]
            subprocess.run([RATCHET, "stop"], cwd=project, env=environment, capture_output=True, check=True)
        served = [cached for _, cached in found]
        expected = [set(), set(STEPS) - {"evaluate", "gate"}, set(STEPS)]
        if served != expected:
            sys.exit(f"from the cache came {served}; was the package edited meanwhile?")
        return [took for took, _ in found]


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description="What a re-run costs when nothing has changed.")
    parser.add_argument("--s3", action="store_true", help="take the data from a bucket")
    parser.add_argument("--month", default="2013-12", help="last month of data, YYYY-MM")
    parser.add_argument("--repetitions", type=int, default=3)
    asked = parser.parse_args()
    runs = [once(asked.s3, asked.month) for _ in range(asked.repetitions)]
    where = "a bucket of `rclone serve s3`" if asked.s3 else "a folder"
    lines = [
        f"{os.cpu_count()} cores, median of {asked.repetitions}; flights up to {asked.month} in {where}, 10 trials, register, serve.",
        "",
        "| what | wall | ratio | ratio in each repetition |",
        "|---|---|---|---|",
    ]
    for number, what in enumerate(RUNS):
        ratios = [one[number] / one[0] for one in runs]
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios) if number else ""
        wall = statistics.median(one[number] for one in runs)
        lines.append(f"| {what} | {wall:.1f} s | {statistics.median(ratios):.2f}x | {each} |")
    keep(f"{Path(__file__).name}{' --s3' if asked.s3 else ''}", "\n".join(lines))


if __name__ == "__main__":
    main()

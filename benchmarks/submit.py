"""How long `ratchet submit` takes until the server has the run, beside `kfp run create` of KFP's own command.

python benchmarks/submit.py [--repeat 5]

The server is the package's double, each call answered after 20 ms. Both start the same compiled continuous_training; the time of the whole
process counts. `ratchet submit` checks parameters and graph, and looks for the same run in progress, which `kfp run create` does not.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from results import keep

from kfp_ratchet.pipelines.compile import continuous_training_yaml
from kfp_ratchet.testing.kfp_server import KfpServer

ANSWER = 0.02
COMMANDS = Path(sys.executable).parent


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    asked = parser.parse_args()
    rows = []
    with TemporaryDirectory() as folder, KfpServer(pace=1) as double:
        package = Path(folder) / "training.yaml"
        package.write_text(
            continuous_training_yaml({"store": "store", "model_name": "m", "source": "s", "tracking_uri": "t"})
        )
        double.delay = ANSWER
        commands = {
            "`ratchet submit`": ["ratchet", "submit", str(package), "--server", double.url],
            "`kfp run create`": [
                *("kfp", "--endpoint", double.url, "run", "create"),
                *("--experiment-name", "flights", "--run-name", "by kfp", "--package-file", str(package)),
            ],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        calls: dict[str, int] = {}
        # Interleaved: a busy machine slows both.
        for turn in range(asked.repeat + 1):
            for name, command in commands.items():
                # Other values each time: the same would be joined, or come from a cache.
                value = [*(("-p",) if command[0] == "ratchet" else ()), f"trials={turn + 1}"]
                before, had = len(double.calls), len(double.runs)
                began = time.perf_counter()
                subprocess.run(
                    [COMMANDS / command[0], *command[1:], *value],
                    check=True,
                    capture_output=True,
                    cwd=folder,
                    env={**os.environ, "HOME": folder},
                )
                seconds[name].append(time.perf_counter() - began)
                calls[name] = len(double.calls) - before
                assert len(double.runs) == had + 1, f"{name} started no run"
        for name, took in seconds.items():
            own = [one - calls[name] * ANSWER for one in took[1:]]
            rows.append(
                f"| {name} | {calls[name]} | {statistics.median(took[1:]):.2f} s "
                f"| **{statistics.median(own):.2f} s** [{min(own):.2f}, {max(own):.2f}] |"
            )
    keep(
        Path(__file__).name,
        f"{os.cpu_count()} cores; median of {asked.repeat} after one warm-up, interleaved, 20 ms a call; whole process. "
        "Aim: under 2 s beyond the server's time.\n\n"
        "| | calls | whole | without the server's time |\n|---|---|---|---|\n" + "\n".join(rows),
    )


if __name__ == "__main__":
    main()

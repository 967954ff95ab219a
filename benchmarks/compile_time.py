"""How long `ratchet compile` of everything that is checked in takes, as a user waits for it, and what of it KFP's own import is.

python benchmarks/compile_time.py
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from results import keep

CONFIG = Path(__file__).resolve().parent.parent / "examples" / "flights" / "ratchet.yaml"
REPETITIONS = 7


def seconds(command: list[str]) -> float:
    """Wall clock of a command."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure and keep."""
    ratchet = str(Path(sys.executable).with_name("ratchet"))
    with TemporaryDirectory() as folder:
        pairs = [
            (
                seconds([ratchet, "compile", "--config", str(CONFIG), "--out", folder]),
                seconds([sys.executable, "-c", "import kfp.compiler"]),
            )
            for _ in range(REPETITIONS)
        ]
    compiled, imported = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    keep(
        Path(__file__).name,
        f"{os.cpu_count()} cores, median of {REPETITIONS}: `ratchet compile` of all pipelines {compiled:.2f} s, "
        f"`import kfp.compiler` alone {imported:.2f} s, ratio {ratio:.2f}x (aim: at most 5 s).",
    )


if __name__ == "__main__":
    main()

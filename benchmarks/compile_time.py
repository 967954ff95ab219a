"""How long `ratchet compile` takes, as a user waits for it: of everything that is checked in beside KFP's own import, and of 50 pipelines
of one `pipelines.yaml` beside `kfp dsl compile`, which takes one at a time.

python benchmarks/compile_time.py
"""

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from results import keep

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "examples" / "flights" / "ratchet.yaml"
REPETITIONS = 7
PIPELINES = 50
ONE_BY_ONE = 5
"""Of the 50, by `kfp dsl compile`: each takes the same time."""
RATCHET, KFP = (str(Path(sys.executable).with_name(name)) for name in ("ratchet", "kfp"))
SOURCE = """\
from pathlib import Path
from kfp_ratchet.pipelines.config import load
from kfp_ratchet.pipelines.continuous_training import build

config = load(Path({config!r}))
pipeline = build(config.parameters() | {{"trials": {trials}}}, config.recipe(), "continuous-training-{trials}", config.kubernetes)
"""


def seconds(command: list[str], folder: str = ".") -> float:
    """Wall clock of a command."""
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - began


def checked_in() -> str:
    """Everything that is checked in, beside KFP's import."""
    with TemporaryDirectory() as folder:
        pairs = [
            (
                seconds([RATCHET, "compile", "--config", str(CONFIG), "--out", folder]),
                seconds([sys.executable, "-c", "import kfp.compiler"]),
            )
            for _ in range(REPETITIONS)
        ]
    compiled, imported = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    return (
        f"{os.cpu_count()} cores, median of {REPETITIONS}: `ratchet compile` of all pipelines {compiled:.2f} s, "
        f"`import kfp.compiler` alone {imported:.2f} s, ratio {ratio:.2f}x (aim: at most 5 s)."
    )


def fifty() -> str:
    """A `pipelines.yaml` of 50, and some of the same by `kfp dsl compile`."""
    with TemporaryDirectory() as folder:
        config = os.path.relpath(CONFIG, folder)
        declared = {
            f"p{trials}": {"pipeline": "continuous_training", "config": config, "parameters": {"trials": trials}}
            for trials in range(PIPELINES)
        }
        Path(folder, "pipelines.yaml").write_text(yaml.safe_dump({"name": "many", "pipelines": declared}))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ours = [seconds([RATCHET, "compile", "--out", f"out{n}"], folder) for n in range(REPETITIONS)]
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        outputs = [{path.name: path.read_bytes() for path in Path(folder, f"out{n}").iterdir()} for n in (0, 1)]
        for trials in range(ONE_BY_ONE):
            Path(folder, f"one{trials}.py").write_text(SOURCE.format(config=str(CONFIG), trials=trials))
        theirs = [
            seconds([KFP, "dsl", "compile", "--py", f"one{n}.py", "--output", f"one{n}.yaml"], folder)
            for n in range(ONE_BY_ONE)
        ]
    assert len(outputs[0]) == PIPELINES and outputs[0] == outputs[1], "the same bytes each time"
    busy = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / REPETITIONS
    together, alone = statistics.median(ours), statistics.median(theirs)
    return (
        f"{PIPELINES} pipelines of one `pipelines.yaml`, median of {REPETITIONS}: {together:.2f} s (aim: under 5 s), {busy:.1f} s of "
        f"processor time, load of the machine {os.getloadavg()[0]:.1f}, the same bytes each time; `kfp dsl compile` {alone:.2f} s for each "
        f"of {ONE_BY_ONE}, so {alone * PIPELINES:.0f} s for all: {alone * PIPELINES / together:.0f}x."
    )


def main() -> None:
    """Measure and keep."""
    keep(Path(__file__).name, f"{checked_in()}\n\n{fifty()}")


if __name__ == "__main__":
    main()

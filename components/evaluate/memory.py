"""How much memory does a model take? Measured in processes of their own, while `evaluate` does other things.

One process imports what the models' workloads need and forks a fresh one for each measurement, so that libraries, which any server has
loaded, are not counted and cost their import once. Linux only, as all that runs models here. What cannot be measured is left out.
"""

import gc
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import polars as pl

from kfp_ratchet.components.evaluate.probing import SANITY_ROWS, spread_out
from kfp_ratchet.components.shared.evidence import Model
from kfp_ratchet.components.shared.model import Card, load_model, workload_class

_TIMES = 3
_PATIENCE_SECONDS = 30.0
"""How long the rest of `evaluate` waits for it at most."""


class MemoryProbe:
    """Measures in the background what it is given, one model after the other.

    Args:
        rows: Rows that the models can score; 2,000 of them are taken.
        scratch: An empty folder.
    """

    def __init__(self, rows: pl.DataFrame, scratch: Path) -> None:
        path = scratch / "rows.parquet"
        rows[spread_out(rows.height, SANITY_ROWS)].write_parquet(path)
        # The user's modules are found the way this process finds them.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(place or "." for place in sys.path)}
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", __name__, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )

    def measure(self, name: Model, folder: str | Path) -> None:
        """Begin with a model folder; its class is imported, and its weights are loaded, only over there."""
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended: then nothing will be found
            self._process.stdin.write(f"{json.dumps([name, str(Path(folder).absolute())])}\n".encode())
            self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def found(self) -> dict[Model, list[float]]:
        """Megabytes by model, each measured a few times; what could not be measured is left out."""
        try:
            said, _ = self._process.communicate(timeout=_PATIENCE_SECONDS)
            grown: dict[Model, list[float]] = json.loads(said)
        except (subprocess.TimeoutExpired, ValueError):
            return {}
        finally:
            self._end()
        return grown

    def _end(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, 9)  # with what it forked: it leads a group of its own
        self._process.communicate()


def _main(rows: str) -> None:
    grown: dict[str, list[float]] = {}
    for line in sys.stdin:
        name, folder = json.loads(line)
        workload_class(Card.read(folder).workload)
        found = [_in_a_fork(rows, folder) for _ in range(_TIMES)]
        if measured := [one for one in found if one is not None]:
            grown[name] = measured
    sys.stdout.write(json.dumps(grown))


def _in_a_fork(rows: str, folder: str) -> float | None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, json.dumps(_growth(rows, folder)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return float(said) if said else None


def _growth(rows: str, folder: str) -> float:
    """Megabytes between having the rows and the most there was while loading the model and scoring them."""
    table = pl.read_parquet(rows, columns=list(Card.read(folder).features))
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _kilobytes("VmRSS")
    load_model(folder).predict(table)
    return round((_kilobytes("VmHWM") - before) / 1024, 3)


def _kilobytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


if __name__ == "__main__":
    _main(sys.argv[1])

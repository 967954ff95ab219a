"""What the demonstrations of sources share: a project of its own, made from nothing, and nothing left running."""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from feed import HERE, deposit


class Demo:
    """The example's project in a folder of its own, with the months that have arrived below `data`.

    Args:
        folder: Emptied first.
        until: Last month that has arrived, YYYY-MM.
        parameters: Of every run, NAME=VALUE.
    """

    def __init__(self, folder: Path, until: str, parameters: Sequence[str] = ()) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("ratchet.yaml", "features.sql"):
            shutil.copy(HERE / name, folder)
        shutil.copytree(HERE / "schemas", folder / "schemas")
        self.folder = folder
        self.parameters = (f"as_of={until}", *parameters)
        # The commands of this very environment: without an activated one, a bare `ratchet` would be another, or none.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {**os.environ, "PATH": path}
        """Of every command."""
        months = deposit(until, folder / "data")
        print(f"{len(months)} months have arrived, {months[0]} to {months[-1]}, in {folder / 'data'}")

    def command(self, *arguments: str, expected: tuple[int, ...] = (0,)) -> None:
        """Show a command and run it in the project.

        Raises:
            SystemExit: It ends with another exit code than expected.
        """
        print(f"\n$ {shlex.join(arguments)}", flush=True)
        done = subprocess.run(arguments, cwd=self.folder, env=self.environment, check=False)  # noqa: S603
        if done.returncode not in expected:
            raise SystemExit(done.returncode)

    def read_from(self, prefix: str) -> None:
        """Let the project's ratchet.yaml take its tables from elsewhere.

        Args:
            prefix: What stands before a table's name instead of `data/`.
        """
        config = self.folder / "ratchet.yaml"
        config.write_text(config.read_text().replace(": data/", f": {prefix}"))
        self.command("grep", "--after-context=3", "^source", "ratchet.yaml")

    def train(self) -> None:
        """Run the pipeline and say how long it took."""
        started = time.monotonic()
        # 4: the gate could not tell, which is an answer too.
        self.command("ratchet", "run", *(word for one in self.parameters for word in ("-p", one)), expected=(0, 4))
        print(f"\n{time.monotonic() - started:.1f} s")


@contextmanager
def demonstration(name: str, description: str) -> Iterator[Demo]:
    """A demonstration with the month given on the command line; the model server that it starts is stopped at its end."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--until", default="2013-06", help="last month that has arrived, YYYY-MM")
    parser.add_argument("-p", action="append", default=[], metavar="NAME=VALUE", help="as of `ratchet run`")
    given = parser.parse_args()
    demo = Demo(HERE / ".ratchet" / name, given.until, given.p)
    try:
        yield demo
    finally:
        demo.command("ratchet", "stop", expected=(0, 1))

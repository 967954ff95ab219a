"""Whether a version of a model comes out again from its pins: `ratchet model reproduce`."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.journal import Record, read_run
from kfp_ratchet.components.shared.lineage import Lineage, Provenance, said_commit
from kfp_ratchet.components.shared.log import last_line
from kfp_ratchet.components.shared.sources.source import FETCHED
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.pipelines.project import Project
from kfp_ratchet.pipelines.provenance import provenance

if TYPE_CHECKING:
    from kfp_ratchet.pipelines.remaking import Remade

TOLERANCE = 1e-4
"""Of the largest score: how much scores may differ where exactness cannot be asked for, since a GPU may add in another order each time."""
_POLL_SECONDS = 0.15


@dataclass(frozen=True)
class Reproduction:
    """A model that was made again, beside the one of then.

    Attributes:
        lineage: What made the one of then.
        remade: What came out.
        tolerance: How much a score might differ.
        differences: What is not as it was then: (name, then, now).
    """

    lineage: Lineage
    remade: "Remade"
    tolerance: float
    differences: list[tuple[str, str, str]]

    @property
    def same_bytes(self) -> bool:
        """Whether the model is the same, byte for byte."""
        return self.remade.digest == self.lineage.digest

    @property
    def agrees(self) -> bool:
        """Whether its scores are those of then, within the tolerance; without scores to compare, whether it is the same."""
        difference = self.remade.difference
        return self.same_bytes if difference is None else difference <= self.tolerance

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        bytes_ = "the same bytes" if self.same_bytes else f"other bytes ({self.remade.digest})"
        difference = self.remade.difference
        if difference is None:
            return f"{bytes_}; scores could not be compared: {self.remade.not_compared}"
        rows = f"on the {self.remade.rows:,} rows that judged it"
        if not difference:
            return f"{bytes_}, and the same scores {rows}"
        allowed = f"{self.tolerance:g} allowed" if self.tolerance else "none allowed: both were made on a CPU"
        return f"{bytes_}; scores differ by up to {difference:.3g} {rows} ({allowed})"


def reproduce(
    project: Project,
    lineage: Lineage,
    tolerance: float | None = None,
    keep: Path | None = None,
    on_change: Callable[[dict[str, Record]], None] = lambda records: None,
) -> Reproduction:
    """Make a version again from its pins; the ledger, the registry and what serves are not touched.

    Args:
        project: The project, in whose folder the steps work.
        lineage: What made the version.
        tolerance: How much a score may differ; when None nothing where both models were made on a CPU, else `TOLERANCE` of the largest.
        keep: A folder to make, which keeps all that was made; nothing is kept when None.
        on_change: Called with the steps' journal records, several times a second.

    Raises:
        InputError: The lineage does not say enough, or `keep` is there already.
        RatchetError: A step failed: the data is gone or was changed (the object is named), or the workload cannot be imported.
    """
    from kfp_ratchet.pipelines.remaking import Remade, Request, check_pins

    check_pins(lineage)
    with _folder(project, keep) as folder:
        (folder / "request.json").write_text(
            Request(lineage=lineage, store=project.store.uri).model_dump_json(indent=1), encoding="utf-8"
        )
        _run(project, folder, on_change)
        remade = Remade.model_validate_json((folder / "remade.json").read_text(encoding="utf-8"))
    if remade.failure is not None:
        kind = InputError if remade.exit_code == InputError.exit_code else RatchetError
        raise kind(remade.failure.message, remade.failure.remedy)
    exact = lineage.device == remade.device == "cpu"
    allowed = tolerance if tolerance is not None else 0.0 if exact else TOLERANCE * remade.largest
    return Reproduction(lineage, remade, allowed, _differences(lineage, remade, project))


def _differences(lineage: Lineage, remade: "Remade", project: Project) -> list[tuple[str, str, str]]:
    """What is not as it was then, in the order in which it is likely to matter."""
    fitted = lineage.step("train")
    then, now = (fitted.environment if fitted else None), remade.environment
    code = Provenance.model_validate(provenance(project.folder))
    told = [
        ("commit", said_commit(lineage.provenance), said_commit(code)),
        ("kfp-ratchet", lineage.package, now.package),
        ("source of kfp-ratchet", lineage.code, now.code),
        ("source of the workload", lineage.workload_digest, remade.workload_digest),
        ("source of the recipe", _recipe(lineage), remade.recipe_digest),
        ("image", lineage.image, now.image),
        ("device", lineage.device, remade.device),
    ]
    if then is not None:
        told += [
            ("processor", then.processor, now.processor),
            ("cores", str(then.cores), str(now.cores)),
            ("GPUs", ", ".join(then.gpus), ", ".join(now.gpus)),
            ("python", then.python, now.python),
            ("platform", then.platform, now.platform),
            *((name, version, now.libraries.get(name, "")) for name, version in then.libraries.items()),
        ]
    return [(name, before, after) for name, before, after in told if before != after]


def _recipe(lineage: Lineage) -> str:
    return next((made.recipe_digest for made in lineage.steps if made.recipe_digest), "")


@contextmanager
def _folder(project: Project, keep: Path | None) -> Iterator[Path]:
    try:
        if keep is not None:
            keep.mkdir(parents=True)
            yield keep.absolute()
            return
        project.home.mkdir(exist_ok=True)
        with TemporaryDirectory(prefix="reproduce-", dir=project.home, ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except FileExistsError:
        raise InputError(f"{keep} is there already", "name another folder with --keep, or remove it") from None


def _run(project: Project, folder: Path, on_change: Callable[[dict[str, Record]], None]) -> None:
    """Make it in a process of its own: in the project's folder, with its own modules in reach, as in a run."""
    from kfp_ratchet.pipelines.remaking import RUN, STORE

    log = folder / "log.txt"
    with log.open("ab") as file:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "kfp_ratchet.pipelines.remaking", str(folder)],
            cwd=project.folder,
            # What earlier runs fetched would hide that an object is gone.
            env={**project.environment, FETCHED: str(folder / "data")},
            stdout=file,
            stderr=subprocess.STDOUT,
            # Never written to: it ends when this process does.
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            ours = Store(str(folder / STORE))
            while process.poll() is None:
                on_change(read_run(ours, RUN))
                time.sleep(_POLL_SECONDS)
            on_change(read_run(ours, RUN))
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if not (folder / "remade.json").exists():
        told = last_line(log.read_text(encoding="utf-8", errors="replace")) or f"exit status {process.returncode}"
        raise RatchetError(f"the model could not be made again: {told}", "keep the log to look at: --keep FOLDER")

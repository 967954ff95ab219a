"""Run a pipeline on this machine: `ratchet run` and the notebooks use this.

The pipeline runs in a process of its own, with the project's folder as working directory and KFP's log in a file; what happens is
read from the run journal.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import distributions
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from kfp_ratchet.components.deploy.container import SERVE_IMAGE
from kfp_ratchet.components.notify.run_view import APPROVE, INTERRUPTED, NOTIFY, STEPS, RunView
from kfp_ratchet.components.shared.canonical import digest, digest_file, dumps
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.journal import Record, read_run
from kfp_ratchet.components.shared.log import last_line
from kfp_ratchet.components.shared.source import module_files, python_files, source_files
from kfp_ratchet.components.shared.sources.source import FETCHED
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.pipelines import containers
from kfp_ratchet.pipelines.config import APPROVE_PARAMETERS, PARAMETERS
from kfp_ratchet.pipelines.config_parameters import check_parameters
from kfp_ratchet.pipelines.local import Request
from kfp_ratchet.pipelines.project import Project
from kfp_ratchet.pipelines.provenance import provenance
from kfp_ratchet.pipelines.watchdog import MARK, Watchdog, end, full_disk, members

TRAINING = "continuous_training"
_POLL_SECONDS = 0.15
_END_SECONDS = 5
_LINE_CHARACTERS = 10_000
_MODULE = re.compile(r"(?<![\w.])[A-Za-z_][\w.]*(?=:[A-Za-z_])")
"""The module of `package.module:Name`."""


@dataclass(frozen=True)
class Docker:
    """That steps run as containers, and what they get besides what is usual; see docs/docker.md."""

    environment: Sequence[str] = ()
    """Names of further environment variables."""
    mounts: Sequence[Path] = ()
    """Further files and folders, which they only read."""


@dataclass(frozen=True)
class Finished:
    """A run that has ended."""

    view: RunView
    project: Project
    folder: Path
    """Holds `request.json`, `pipeline.yaml`, `log.txt` and the artifacts of the run."""
    store: Store
    runner: str = "subprocess"
    """What the steps were: subprocess or docker."""

    @property
    def report(self) -> Path | None:
        """The run's HTML report on this machine, None when the run died before it was written."""
        kept = Path(self.store.uri.removeprefix("file://"), "runs", self.view.run, "report.html")
        return next((path for path in (kept, _artifact(self.folder, self.view.run)) if path.exists()), None)

    def summary(self) -> dict[str, Any]:
        """The outcome as plain JSON, for scripts."""
        view = self.view
        return {
            "run": view.run,
            "outcome": view.outcome,
            "reason": view.reason,
            "remedy": view.remedy,
            "exit_code": view.exit_code,
            "version": view.details("register").get("version") or view.deployed.get("version"),
            "endpoint": view.deployed.get("url") if view.outcome == "promoted" else None,
            "forced": view.forced,
            "runner": self.runner,
            "decision": view.decision.model_dump(mode="json") if view.decision else None,
            "steps": {item.step: {"state": item.state, "run": item.run} for item in view.steps},
            "report": str(self.report) if self.report else None,
            "folder": str(self.folder),
        }


class RunInterruptedError(RatchetError):
    """A run was told to end before it was done: its steps are stopped and its report is written. Exit code 130."""

    kind = "interrupted"
    exit_code = INTERRUPTED

    def __init__(self, finished: Finished) -> None:
        super().__init__(f"interrupted: {finished.view.reason}", finished.view.remedy)
        self.finished = finished


def steps(project: Project | Path | str, package: str = "", pipeline: str = TRAINING) -> list[str]:
    """Names of the steps that a run of a project (or of its `ratchet.yaml`) will have, in order."""
    if pipeline == "approve":
        return [*APPROVE, NOTIFY]
    prepared = _opened(project).config.prepare is not None
    has_recipe = "comp-prepare:" in Path(package).read_text(encoding="utf-8") if package else prepared
    return [step for step in (*STEPS, NOTIFY) if has_recipe or step != "prepare"]


def run(
    project: Project | Path | str = "ratchet.yaml",
    parameters: Mapping[str, Any] | None = None,
    *,
    pipeline: str = TRAINING,
    package: str = "",
    cache: bool = True,
    docker: Docker | None = None,
    on_change: Callable[[dict[str, Record]], None] = lambda records: None,
    on_log: Callable[[str], None] | None = None,
) -> Finished:
    """Run a pipeline as a `ratchet.yaml` describes it, and wait for its end.

    Args:
        project: The project or its `ratchet.yaml`; the file's folder is the working directory of every step.
        parameters: Pipeline parameters that replace the file's.
        pipeline: `continuous_training` or `approve`.
        package: Path of a compiled pipeline to run instead.
        cache: Serve steps whose pins, parameters and code are unchanged from earlier runs.
        docker: Run each step as a container of its image, set up so; None runs them as processes of this environment.
        on_change: Called with the run's journal records by step, several times a second.
        on_log: Called with each line of KFP's log as it comes.

    Raises:
        InputError: The configuration or a parameter is wrong, or Docker or an image is missing.
        RatchetError: The run ended before its first step.
        RunInterruptedError: This process was told to end (KeyboardInterrupt, SystemExit): the steps are stopped, the report is written.
    """
    project = _opened(project)
    request = _request(project, dict(parameters or {}), pipeline, package, cache, docker)
    folder = Path(request.pipeline_root).parent
    project = project.with_parameters(request.arguments)
    kind = "docker" if docker else "subprocess"
    try:
        _follow(request, folder, project, on_change, on_log)
    except Exception:
        raise
    except BaseException as ending:
        if not (run_id := _run_id(folder)):
            raise
        view = RunView.read(project.store, run_id, project.config.name, interrupted=True)
        finished = Finished(view, project, folder, project.store, kind)
        _keep_report(finished)
        raise RunInterruptedError(finished) from ending
    if not (run_id := _run_id(folder)):
        log_path = folder / "log.txt"
        told = last_line(log_path.read_text(errors="replace")) or "it printed nothing"
        raise RatchetError(f"the run ended before its first step: {told}", full_disk(folder) or f"see {log_path}")
    view = RunView.read(project.store, run_id, project.config.name)
    return Finished(view.model_copy(update={"hint": full_disk(folder)}), project, folder, project.store, kind)


def code_digest(project: Project, parameters: Mapping[str, Any]) -> str:
    """Digest of the code that steps run, for which on a cluster the image stands.

    This package, the project's Python files, the modules that its configuration or a parameter names, and what is installed.
    """
    files = source_files() + python_files(project.folder)
    named = _MODULE.findall(" ".join(str(parameters.get(name, "")) for name in ("workload", "schema", "policy")))
    for module in dict.fromkeys([*project.config.modules(), *named]):
        top = project.folder / module.split(".")[0]
        if not top.exists() and not top.with_suffix(".py").exists():
            files += module_files(module)
    installed = {str(found.name): found.version for found in distributions()}
    said = {"python": sys.version, "installed": installed, "files": {str(path): digest_file(path) for path in files}}
    return digest(dumps(said))


def _opened(project: Project | Path | str) -> Project:
    return project if isinstance(project, Project) else Project.open(project)


def _follow(
    request: Request,
    folder: Path,
    project: Project,
    on_change: Callable[[dict[str, Record]], None],
    on_log: Callable[[str], None] | None,
) -> None:
    """Run to the end, telling what happens."""
    with (
        _process(request, folder, project) as process,
        (folder / "log.txt").open(encoding="utf-8", errors="replace") as log,
    ):
        has_containers = request.containers is not None
        timeout = project.config.step_timeout
        watchdog = Watchdog(project.store, folder, process.pid, timeout, in_containers=has_containers)
        while True:
            ended = process.poll() is not None
            for line in _news(log):
                if on_log:
                    on_log(line.rstrip("\n"))
            if run_id := _run_id(folder):
                records = read_run(project.store, run_id)
                on_change(records)
                watchdog.look(records)
            if ended:
                return
            time.sleep(_POLL_SECONDS)


def _news(log: TextIO) -> Iterator[str]:
    """What has been added to the log, in pieces that fit into memory."""
    if log.tell() > os.fstat(log.fileno()).st_size:
        log.seek(0, os.SEEK_END)  # The watchdog has cut it.
    yield from iter(lambda: log.readline(_LINE_CHARACTERS), "")


def _keep_report(finished: Finished) -> None:
    """Write the report that the run's last step could not. No messages: whoever ended the run knows."""
    from kfp_ratchet.components.notify.messages import keep_report

    # That a run was interrupted is to be told, whatever else goes wrong on the way out.
    with suppress(RatchetError, OSError):
        keep_report(finished.store, finished.view, _artifact(finished.folder, finished.view.run))


def _artifact(folder: Path, run: str) -> Path:
    """Where `notify` writes the report of a run."""
    return folder / "artifacts" / run / NOTIFY / "report"


def _request(
    project: Project, parameters: dict[str, Any], pipeline: str, package: str, cache: bool, docker: Docker | None
) -> Request:
    # PID and microseconds: two runs started at once in one folder never share one.
    folder = project.home / "runs" / f"{datetime.now():%Y%m%d-%H%M%S-%f}-{os.getpid()}"
    defaults = project.config.parameters()
    given = {**defaults, **parameters}
    check_parameters({name: value for name, value in given.items() if name in PARAMETERS})
    planned = None
    if docker is None:
        code = code_digest(project, given)
    else:
        of_run = project.with_parameters(given)
        found, gpu = containers.check(of_run, str(given.get("device", "auto")), package)
        containers.sweep(project.folder)
        planned = containers.planned(of_run, str(given.get("source", "")), docker.environment, docker.mounts, gpu)
        code = containers.code_digest(project, found)
    if pipeline == "approve":
        parameters = {name: given[name] for name in APPROVE_PARAMETERS if name in given}
    return Request(
        # A compiled package has defaults of its own; the configuration's come before them.
        arguments=given if package else parameters,
        pipeline_root=str(folder / "artifacts"),
        cache_root=str(project.home / "cache" / code.removeprefix("sha256:")[:16]) if cache else "",
        pipeline=pipeline,
        package=str(Path(package).resolve()) if package else "",
        defaults=defaults,
        recipe=project.config.recipe(),
        model=project.config.name,
        images=project.config.images,
        containers=planned,
        kubernetes=project.config.kubernetes,
        provenance=provenance(project.folder),
    )


@contextmanager
def _process(request: Request, folder: Path, project: Project) -> Iterator[subprocess.Popen[bytes]]:
    try:
        Path(request.pipeline_root).mkdir(parents=True)
        (folder / "request.json").write_text(request.model_dump_json(indent=1))
        log = (folder / "log.txt").open("ab")
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written: {error}", "free space or give yourself the right to write there"
        ) from error
    # KFP leaves a folder behind for each step. Not within the run's own: a Unix socket's path has at most 107 bytes.
    with log, TemporaryDirectory(prefix="ratchet-", ignore_cleanup_errors=True) as temporary:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "kfp_ratchet.pipelines.local", str(folder)],
            cwd=project.folder,
            env={
                **project.environment,
                "PYTHONUNBUFFERED": "1",
                "TMPDIR": temporary,
                FETCHED: os.environ.get(FETCHED) or str(project.home / "data"),
                MARK: str(folder),
                SERVE_IMAGE: request.containers.serve_image if request.containers else "",
            },
            stdout=log,
            stderr=subprocess.STDOUT,
            # Never written to: it ends when this process does, and with it the run.
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if request.containers is not None:
                containers.end(folder, members(folder))
            if process.poll() is None:
                _end(process)
            if request.containers is not None:
                containers.end(folder)  # What was just being made.
            if process.stdin:
                process.stdin.close()
            # What a step left behind on purpose: a session of its own is in no group of ours.
            end(members(folder))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a run and its steps; what they had not yet written is made again by the next run."""
    try:
        _signal(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
    finally:
        # Also when someone is impatient and interrupts again.
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[bytes], what: signal.Signals) -> None:
    """Tell a run and its steps, which are one process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, what)


def _run_id(folder: Path) -> str:
    return next((path.name for path in (folder / "artifacts").glob("*") if path.is_dir()), "")

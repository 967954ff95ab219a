"""Run a pipeline on this machine: `ratchet run` and the notebooks use this.

The pipeline runs in a process of its own, with the project's folder as working directory and KFP's log in a file; what happens is
read from the run journal.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import kfp_ratchet.components
from kfp_ratchet.components.notify.run_view import NOTIFY, STEPS, RunView
from kfp_ratchet.components.shared.canonical import digest, digest_file, dumps
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.journal import Record, read_run
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.pipelines.config_parameters import check_parameters
from kfp_ratchet.pipelines.local import Request
from kfp_ratchet.pipelines.project import Project

_POLL_SECONDS = 0.15
_END_SECONDS = 5


@dataclass(frozen=True)
class Finished:
    """A run that has ended."""

    view: RunView
    project: Project
    folder: Path
    """Holds `request.json`, `pipeline.yaml`, `log.txt` and the artifacts of the run."""
    store: Store

    @property
    def report(self) -> Path | None:
        """The run's HTML report, None when the run died before it was written."""
        path = Path(self.store.uri, "runs", self.view.run, "report.html")
        return path if path.exists() else None

    def summary(self) -> dict[str, Any]:
        """The outcome as plain JSON, for scripts."""
        view = self.view
        return {
            "run": view.run,
            "outcome": view.outcome,
            "reason": view.reason,
            "remedy": view.remedy,
            "exit_code": view.exit_code,
            "version": view.details("register").get("version"),
            "endpoint": view.details("deploy").get("url") if view.outcome == "promoted" else None,
            "decision": view.decision.model_dump(mode="json") if view.decision else None,
            "steps": {item.step: {"state": item.state, "run": item.run} for item in view.steps},
            "report": str(self.report) if self.report else None,
            "folder": str(self.folder),
        }


def steps(config_path: Path | str, package: str = "") -> list[str]:
    """Names of the steps that a run will have, in order."""
    prepared = Project.open(config_path).config.prepare is not None
    has_recipe = "comp-prepare:" in Path(package).read_text() if package else prepared
    return [step for step in (*STEPS, NOTIFY) if has_recipe or step != "prepare"]


def run(
    config_path: Path | str = "ratchet.yaml",
    parameters: Mapping[str, Any] | None = None,
    *,
    package: str = "",
    cache: bool = True,
    on_change: Callable[[dict[str, Record]], None] = lambda records: None,
    on_log: Callable[[str], None] | None = None,
) -> Finished:
    """Run `continuous_training` as a `ratchet.yaml` describes it, and wait for its end.

    Args:
        config_path: The `ratchet.yaml`; its folder is the working directory of every step.
        parameters: Pipeline parameters that replace the file's.
        package: Path of a compiled pipeline to run instead.
        cache: Serve steps whose pins, parameters and code are unchanged from earlier runs.
        on_change: Called with the run's journal records by step, several times a second.
        on_log: Called with each line of KFP's log as it comes.

    Raises:
        InputError: The configuration or a parameter is wrong.
        RatchetError: The run ended before its first step.
    """
    project = Project.open(config_path)
    request = _request(project, dict(parameters or {}), package, cache)
    folder = Path(request.pipeline_root).parent
    store = Store(project.within(str(request.arguments.get("store", project.config.store))))
    with _process(request, folder, project.folder) as process, (folder / "log.txt").open() as log:
        while True:
            ended = process.poll() is not None
            for line in log:
                if on_log:
                    on_log(line.rstrip("\n"))
            run_id = _run_id(folder)
            if run_id:
                on_change(read_run(store, run_id))
            if ended:
                break
            time.sleep(_POLL_SECONDS)
    if not run_id:
        log_path = folder / "log.txt"
        told = _last_line(log_path) or "it printed nothing; is there space left on the disk?"
        raise RatchetError(f"the run ended before its first step: {told}", f"see {log_path}")
    model = str(request.arguments.get("model_name", project.config.name))
    return Finished(RunView.read(store, run_id, model), project, folder, store)


def code_digest(project: Project) -> str:
    """Digest of the code that steps run: this package, the project's Python files and the modules its configuration names."""
    package = Path(next(iter(kfp_ratchet.components.__path__)))
    files = [path for path in package.rglob("*") if path.suffix in {".py", ".j2", ".css"}]
    for folder, folders, names in os.walk(project.folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__")) and name != "node_modules"]
        files += [Path(folder, name) for name in names if name.endswith(".py")]
    for module in project.config.modules():
        top = project.folder / module.split(".")[0]
        if not top.exists() and not top.with_suffix(".py").exists():
            spec = find_spec(module)
            files += [Path(spec.origin)] if spec and spec.origin else []
    return digest(dumps({str(path): digest_file(path) for path in files}))


def _request(project: Project, parameters: dict[str, Any], package: str, cache: bool) -> Request:
    # PID and microseconds: two runs started at once in one folder never share one.
    folder = project.home / "runs" / f"{datetime.now():%Y%m%d-%H%M%S-%f}-{os.getpid()}"
    code = code_digest(project).removeprefix("sha256:")[:16]
    defaults = project.config.parameters()
    check_parameters({**defaults, **parameters})
    return Request(
        # A compiled package has defaults of its own; the configuration's come before them.
        arguments={**defaults, **parameters} if package else parameters,
        pipeline_root=str(folder / "artifacts"),
        cache_root=str(project.home / "cache" / code) if cache else "",
        package=str(Path(package).resolve()) if package else "",
        defaults=defaults,
        recipe=project.config.recipe(),
        model=project.config.name,
    )


@contextmanager
def _process(request: Request, folder: Path, project: Path) -> Iterator[subprocess.Popen[bytes]]:
    try:
        Path(request.pipeline_root).mkdir(parents=True)
        (folder / "request.json").write_text(request.model_dump_json(indent=1))
        log = (folder / "log.txt").open("wb")
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written: {error}", "free space or give yourself the right to write there"
        ) from error
    path = os.pathsep.join([str(project), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "GIT_PYTHON_REFRESH": "quiet"}
    with log:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "kfp_ratchet.pipelines.local", str(folder)],
            cwd=project,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Never written to: it ends when this process does, and with it the run.
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a run and its steps; what they had not yet written is made again by the next run."""
    for what in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, what)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)


def _run_id(folder: Path) -> str:
    return next((path.name for path in (folder / "artifacts").iterdir() if path.is_dir()), "")


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""

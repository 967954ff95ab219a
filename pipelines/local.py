"""Run a compiled pipeline on this machine with `kfp.local`; started by `ratchet run` as a process of its own."""

import os
import shlex
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict


class Request(BaseModel):
    """What to run, as `request.json` in the run's folder says it."""

    model_config = ConfigDict(frozen=True)

    arguments: dict[str, Any]
    """Values of pipeline parameters; they replace the defaults in the YAML."""
    pipeline_root: str
    cache_root: str
    """Folder of the step cache; "" runs every step."""
    provenance: dict[str, str | bool] = {}
    """Commit and the like of the project; see `provenance`."""
    pipeline: str = "continuous_training"
    """Which of this package's pipelines to compile, with the fields below."""
    package: str = ""
    """A compiled pipeline to run as it is, instead."""
    defaults: dict[str, Any] = {}
    recipe: str = ""
    model: str = ""


def execute(request: Request, folder: Path) -> None:
    """Compile if asked, then run; what was run is kept as `pipeline.yaml` in `folder`.

    Raises:
        RuntimeError: A step failed; the run journal says which and why.
    """
    from kfp import components, local

    from kfp_ratchet.components.shared.canonical import digest
    from kfp_ratchet.pipelines.compile import approve_yaml, continuous_training_yaml
    from kfp_ratchet.pipelines.provenance import parameter

    if request.package:
        text = Path(request.package).read_text()
    elif request.pipeline == "approve":
        text = approve_yaml()
    else:
        text = continuous_training_yaml(request.defaults, request.recipe, request.model)
    package = folder / "pipeline.yaml"
    package.write_text(text)
    arguments = request.arguments
    loaded = components.load_component_from_file(str(package))
    # Someone's own compiled pipeline may not ask for it.
    if "provenance" in loaded.pipeline_spec.root.input_definitions.parameters:
        arguments = {"provenance": parameter(request.provenance, digest(text)), **arguments}
    _name_python3(folder)
    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=request.pipeline_root,
        enable_caching=bool(request.cache_root),
        cache_root=request.cache_root or None,
    )
    loaded(**arguments)


def _name_python3(folder: Path) -> None:
    """Let this interpreter be found as `python3`.

    KFP replaces "python3" by `sys.executable` in the whole command of a step: without quotes in what the shell reads, and also in the paths
    that it hands over. So a space in the interpreter's path, or "python3" in the project's, would make another command of it.
    """
    script = folder / "bin" / "python3"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    os.environ["PATH"] = os.pathsep.join([str(script.parent), os.environ.get("PATH", os.defpath)])
    sys.executable = "python3"


def end_with_parent() -> None:
    """End this run and its steps once the process that started it is gone, however it went: then our standard input ends."""

    def wait() -> None:
        os.read(0, 1)
        os.killpg(0, signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    end_with_parent()
    run_folder = Path(sys.argv[1])
    execute(Request.model_validate_json((run_folder / "request.json").read_text()), run_folder)

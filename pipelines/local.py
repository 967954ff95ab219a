"""Run a compiled pipeline on this machine with `kfp.local`; started by `ratchet run` as a process of its own."""

import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from kfp_ratchet.pipelines import containers
from kfp_ratchet.pipelines.containers import Containers
from kfp_ratchet.pipelines.images import Images
from kfp_ratchet.pipelines.kubernetes_settings import KubernetesSettings


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
    images: Images = Images()
    """Those that `pipeline.yaml` names."""
    containers: Containers | None = None
    """How each step becomes a container; None runs them as processes of this environment."""
    kubernetes: KubernetesSettings = KubernetesSettings()
    """Ignored here, but part of `pipeline.yaml`, which is what a cluster would run."""


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
        text = request.images.in_yaml(approve_yaml(settings=request.kubernetes))
    else:
        text = continuous_training_yaml(request.defaults, request.recipe, request.model, request.kubernetes)
        text = request.images.in_yaml(text)
    package = folder / "pipeline.yaml"
    package.write_text(text)
    arguments = request.arguments
    loaded = components.load_component_from_file(str(package))
    # Someone's own compiled pipeline may not ask for it.
    if "provenance" in loaded.pipeline_spec.root.input_definitions.parameters:
        arguments = {"provenance": parameter(request.provenance, digest(text)), **arguments}
    _try_once(loaded.component_spec.implementation.graph)
    if request.containers is None:
        _name_python3(folder)
        runner = local.SubprocessRunner(use_venv=False)
    else:
        runner = containers.runner(request.containers, folder)
    local.init(
        runner,
        pipeline_root=request.pipeline_root,
        enable_caching=bool(request.cache_root),
        cache_root=request.cache_root or None,
    )
    loaded(**arguments)


def _try_once(spec: Any) -> None:
    """Take the retries out of a PipelineSpec: `kfp.local` would wait and repeat what the person in front of it can mend."""
    for dag in (spec.root.dag, *(component.dag for component in spec.components.values())):
        for task in dag.tasks.values():
            task.ClearField("retry_policy")


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


def end_with_parent(first: Callable[[], None] = lambda: None) -> None:
    """End this run and its steps once the process that started it is gone, however it went: then our standard input ends.

    Args:
        first: Ends what is no process of ours.
    """

    def wait() -> None:
        os.read(0, 1)
        first()
        os.killpg(0, signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    run_folder = Path(sys.argv[1])
    asked = Request.model_validate_json((run_folder / "request.json").read_text())
    end_with_parent((lambda: containers.end_for_good(run_folder)) if asked.containers else lambda: None)
    execute(asked, run_folder)

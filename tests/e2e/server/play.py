"""Runs what a server was asked to run, here: `kfp.local` walks the graph, under the run's id. Started by `test_submit_for_real.py`."""

import json
import sys
from pathlib import Path
from unittest import mock

from kfp import components, local
from kfp.local import executor_input_utils


def play(folder: Path) -> None:
    """Run `pipeline.yaml` of a folder with `run.json`'s parameters; artifacts lie below the run's id, as on a cluster."""
    run = json.loads((folder / "run.json").read_text())
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "artifacts"))
    with mock.patch.object(executor_input_utils, "get_local_pipeline_resource_name", lambda name: run["run_id"]):
        components.load_component_from_file(str(folder / "pipeline.yaml"))(**run["runtime_config"]["parameters"])


if __name__ == "__main__":
    play(Path(sys.argv[1]))

"""Compile pipelines to YAML: the same text every time, on every machine."""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kfp import compiler

from kfp_ratchet.pipelines import approve
from kfp_ratchet.pipelines.config import load
from kfp_ratchet.pipelines.continuous_training import DEFAULTS, build


def continuous_training_yaml(defaults: Mapping[str, Any] = DEFAULTS, recipe: str = "", model: str = "") -> str:
    """The compiled `continuous_training`.

    Args:
        defaults: Default by pipeline parameter, from a `ratchet.yaml`.
        recipe: JSON for `prepare`; without one the step is left out.
        model: Name of the model the pipeline is for; part of the pipeline's name.
    """
    name = "-".join(["continuous-training", *([model] if model else [])])
    return _text(build(defaults, recipe, name))


def approve_yaml() -> str:
    """The compiled `approve`; one for all models."""
    return _text(approve.build())


def compiled(configs: Iterable[Path] = ()) -> dict[str, str]:
    """Text by file stem: the generic pipelines, and one for each `ratchet.yaml` with that file's values as defaults."""
    texts = {"continuous_training": continuous_training_yaml(), "approve": approve_yaml()}
    for path in configs:
        config = load(path)
        texts[config.name] = continuous_training_yaml(config.parameters(), config.recipe(), config.name)
    return texts


def _text(pipeline: Any) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pipeline.yaml")
        compiler.Compiler().compile(pipeline, str(path))
        return path.read_text()

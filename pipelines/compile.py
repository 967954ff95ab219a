"""Compile pipelines to YAML: the same text every time, on every machine."""

import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from kfp import compiler

from kfp_ratchet.pipelines import approve
from kfp_ratchet.pipelines.config import load
from kfp_ratchet.pipelines.continuous_training import DEFAULTS, build
from kfp_ratchet.pipelines.images import Images, pinned
from kfp_ratchet.pipelines.kubernetes_settings import KubernetesSettings


def continuous_training_yaml(
    defaults: Mapping[str, Any] = DEFAULTS,
    recipe: str = "",
    model: str = "",
    settings: KubernetesSettings | None = None,
) -> str:
    """The compiled `continuous_training`.

    Args:
        defaults: Default by pipeline parameter, from a `ratchet.yaml`.
        recipe: JSON for `prepare`; without one the step is left out.
        model: Name of the model the pipeline is for; part of the pipeline's name.
        settings: What the pods ask of a cluster.
    """
    return _text(build(defaults, recipe, _name("continuous-training", model), settings))


def approve_yaml(
    defaults: Mapping[str, Any] | None = None, model: str = "", settings: KubernetesSettings | None = None
) -> str:
    """The compiled `approve`: for all models, or for one whose pods ask something of a cluster; arguments as above."""
    return _text(approve.build(defaults, _name("approval", model), settings))


def _name(pipeline: str, model: str) -> str:
    return f"{pipeline}-{model}" if model else pipeline


def compiled(configs: Iterable[Path] = (), digest: Callable[[str], str] | None = None) -> dict[str, str]:
    """Text by file stem: the generic pipelines, and one for each `ratchet.yaml` with that file's values as defaults.

    A file with a section `kubernetes` has an `approve` of its own, whose pods ask for the same. The generic pipelines run in the images
    that all files agree on, or else in the package's own.

    Args:
        configs: The files.
        digest: Digest by image reference, to pin the images; without it they keep their tags.
    """
    loaded = [load(path) for path in configs]
    named = {config.images for config in loaded}
    images = named.pop() if len(named) == 1 else Images()
    texts = {"continuous_training": (continuous_training_yaml(), images), "approve": (approve_yaml(), images)}
    for config in loaded:
        defaults, settings = config.parameters(), config.kubernetes
        text = continuous_training_yaml(defaults, config.recipe(), config.name, settings)
        texts[config.name] = text, config.images
        if "kubernetes" in config.model_fields_set:
            texts[f"{config.name}-approve"] = approve_yaml(defaults, config.name, settings), config.images
    known = cache(digest) if digest else None
    return {name: _in_images(text, images, known) for name, (text, images) in texts.items()}


def _in_images(text: str, images: Images, digest: Callable[[str], str] | None) -> str:
    text = images.in_yaml(text)
    return pinned(text, {each: digest(each) for each in images.used(text)}) if digest else text


def _text(pipeline: Any) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pipeline.yaml")
        compiler.Compiler().compile(pipeline, str(path))
        return path.read_text()

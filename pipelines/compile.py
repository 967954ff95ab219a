"""Compile pipelines to YAML: the same text every time, on every machine."""

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp import compiler, components

from kfp_ratchet.pipelines import approve
from kfp_ratchet.pipelines.config import Config, load
from kfp_ratchet.pipelines.continuous_training import DEFAULTS, build
from kfp_ratchet.pipelines.declared import OURS, Declared, DeclaredPipeline
from kfp_ratchet.pipelines.images import Images, pinned
from kfp_ratchet.pipelines.kubernetes_settings import KubernetesSettings
from kfp_ratchet.pipelines.pipeline_functions import importing_from, pipeline_function
from kfp_ratchet.pipelines.pipeline_parameters import checked
from kfp_ratchet.pipelines.pipeline_text import PipelineText, parameters_of
from kfp_ratchet.pipelines.side_by_side import side_by_side


@dataclass(frozen=True)
class Compiled:
    """A pipeline of `pipelines.yaml`, ready to be uploaded."""

    name: str
    """On the server."""
    text: str
    spec: PipelineText


def compiled_pipelines(declared: Declared, digest: Callable[[str], str] | None = None) -> dict[str, Compiled]:
    """All pipelines of a `pipelines.yaml` by name, with the parameters that it sets as their defaults.

    Args:
        declared: The file.
        digest: Digest by image reference, to pin the images; without it they keep their tags.

    Raises:
        InputError: A pipeline is not found or its code fails, or a parameter is unknown, of another type or a secret.
    """
    known = cache(digest) if digest else None

    def one(name: str) -> Compiled:
        text = _declared_text(name, declared.pipelines[name], declared, known)
        return Compiled(name, text, PipelineText.parse(text, f"the pipeline {name}"))

    names = list(declared.pipelines)
    with importing_from(declared.folder):
        return dict(zip(names, side_by_side(one, names), strict=True))


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
    if not digest:
        return text
    # The image that serves stands in a parameter's default, not in a step.
    named = {*images.used(text), *PipelineText.parse(text).images}
    return pinned(text, {each: digest(each) for each in sorted(named) if "@" not in each and "{{" not in each})


def _declared_text(name: str, each: DeclaredPipeline, declared: Declared, digest: Callable[[str], str] | None) -> str:
    images = declared.images or Images()
    if each.pipeline in OURS:
        # A generic `approve` has no configuration.
        config = load(declared.folder / each.config) if each.config else None
        images = declared.images or (config.images if config else images)
        pipeline = _ours(each.pipeline, config.model_copy(update={"images": images}) if config else None)
    elif each.pipeline.endswith((".yaml", ".yml", ".json")):
        found = PipelineText.read(declared.folder / each.pipeline)
        images = Images()
        if not each.parameters:
            return _in_images(found.text, images, digest)
        pipeline = components.load_component_from_text(found.text)
    else:
        pipeline = pipeline_function(each.pipeline, declared.folder)
    known = parameters_of(json_format.MessageToDict(pipeline.pipeline_spec))
    values = checked(known, each.parameters, f"pipelines.{name}.parameters", whole=False)
    return _in_images(_text(pipeline, values), images, digest)


def _ours(which: str, config: Config | None) -> Any:
    """A pipeline of this package. The images of the configuration count where one is a parameter's default: that which serves."""
    defaults = config.parameters() if config else {}
    model, settings = (config.name, config.kubernetes) if config else ("", None)
    if which == "approve":
        return approve.build(defaults, _name("approval", model), settings)
    return build(defaults, config.recipe() if config else "", _name("continuous-training", model), settings)


def _text(pipeline: Any, defaults: Mapping[str, Any] | None = None) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pipeline.yaml")
        compiler.Compiler().compile(pipeline, str(path), pipeline_parameters=dict(defaults or {}))
        return path.read_text()

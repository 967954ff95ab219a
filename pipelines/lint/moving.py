"""`moving-reference`: what means something else tomorrow (`latest`, a branch, an alias) is no part of a cache key, nor an image's tag."""

import re
from collections.abc import Iterator

from kfp_ratchet.pipelines.lint.finding import Finding
from kfp_ratchet.pipelines.lint.pipeline import Pipeline
from kfp_ratchet.pipelines.lint.reads import is_pinned
from kfp_ratchet.pipelines.lint.words import is_address, moving, words

RULE = "moving-reference"
_BRANCHES = {"head", "main", "master"}
_POINTERS = {"ref", "reference", "rev", "revision", "branch", "version", "tag", "commit", "checkout", "git"}
"""What a parameter is named that takes a branch; elsewhere `head` and `main` are words like others."""
_IMAGE = re.compile(r"(?P<name>[^@\s]+?)(:(?P<tag>[\w][\w.-]*))?(@(?P<digest>\w+:[0-9a-f]+))?")


def moving_references(pipeline: Pipeline) -> Iterator[Finding]:
    """A finding for each moving value in a parameter of a cached task, and for each image without a fixed tag."""
    for task in pipeline.tasks():
        if task.cached and not task.is_importer:
            inputs = pipeline.inputs(task)
            pinned = is_pinned(pipeline, task, inputs)
            for item in inputs:
                for text in (text for origin in item.origins for text in origin.texts):
                    # A branch in an address is what a pinned id is there for.
                    if (
                        (found := moving(text))
                        and not item.is_part
                        and not (pinned and is_address(text))
                        and (found.lower() not in _BRANCHES or _POINTERS & set(words(item.name)))
                    ):
                        yield Finding(
                            RULE,
                            task.name,
                            f"it is cached, and its parameter `{item.name}` is {found!r}, which means something else tomorrow",
                            "look it up in a step that is never cached, and pass on what it found",
                        )
        if problem := _image_problem(task.executor.container.image):
            yield Finding(RULE, task.name, problem, "name a version, or better a digest: image:1.2.3 or image@sha256:…")


def _image_problem(image: str) -> str:
    """What is wrong with an image's name; "" for nothing, or where it is known only at run time."""
    found = _IMAGE.fullmatch(image)
    if not image or "{{" in image or found is None or found["digest"]:
        return ""
    tag = found["tag"]
    if not tag:
        return f"its image {image!r} has no tag, which means latest"
    return f"its image {image!r} is another one tomorrow" if moving(tag) else ""

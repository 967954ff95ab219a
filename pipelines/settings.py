"""One-line helpers that give a task its resources and caching."""

from typing import Any


def effect_step(task: Any) -> Any:
    """A step that changes something outside the run, or reads a moving reference: never cached."""
    return io_step(task).set_caching_options(False)


def io_step(task: Any) -> Any:
    """A step that moves or looks at data: little CPU."""
    return task.set_cpu_request("500m").set_memory_request("1G").set_memory_limit("4G")


def fit_step(task: Any) -> Any:
    """A step that fits or scores models."""
    return task.set_cpu_request("2").set_memory_request("4G").set_memory_limit("16G")

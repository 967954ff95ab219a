"""The components by name, for pipelines: `from kfp_ratchet.components import ops`, then `ops.gate(...)`.

`from kfp_ratchet.components import gate` would give the folder, not the component. Each is imported when it is first used.
"""

from importlib import import_module
from typing import Any

NAMES = (
    "pin",
    "ingest",
    "validate",
    "prepare",
    "tune",
    "train",
    "evaluate",
    "gate",
    "register",
    "deploy",
    "approve",
    "notify",
)


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"there is no component {name!r}; there are {', '.join(NAMES)}")
    return getattr(import_module(f"kfp_ratchet.components.{name}.component"), name)


def __dir__() -> list[str]:
    return list(NAMES)

"""A policy as it is given on the command line: JSON text, a file that holds one, or a project's `ratchet.yaml`."""

from pathlib import Path

from kfp_ratchet.components.gate.policy import Policy
from kfp_ratchet.components.shared.canonical import dumps
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.config_yaml import read_yaml


def read_policy(given: str) -> Policy:
    """Read a policy.

    Args:
        given: A JSON object, or the path of a YAML or JSON file with the keys of the section `policy:`, or with that section.

    Raises:
        InputError: Neither, an unknown key (the nearest right one is named) or a value out of range.
    """
    if given.lstrip().startswith("{"):
        return Policy.parse(given)
    path = Path(given)
    if not given or not path.exists():
        raise InputError(f"there is no policy file {given!r}", """give a file, or JSON such as '{"margin": 0.005}'""")
    marked = read_yaml(path)
    if marked.problems:
        raise InputError("\n".join(f"{path}:{line}: {text}" for line, text in marked.problems), "fix what is named")
    # A `ratchet.yaml` is known by its source; its section may be left out.
    settings = marked.value.get("policy") if marked.value.keys() & {"policy", "source"} else marked.value
    try:
        return Policy.parse(dumps(settings or {}))
    except InputError as error:
        raise InputError(f"{path}: {error.message}", error.remedy) from None

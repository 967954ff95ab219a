"""A project on this machine: its `ratchet.yaml`, with the places it names as seen from anywhere."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from kfp_ratchet.components.deploy.serving import KubernetesServing, Serving, parse_serving
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.ledger import Ledger, models
from kfp_ratchet.components.shared.names import suggestion
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.pipelines.config import Config, load

_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Project:
    """A configuration and its folder, which is the working directory of every step."""

    folder: Path
    config: Config

    @classmethod
    def open(cls, config_path: Path | str = "ratchet.yaml") -> Self:
        """Read a project's configuration.

        Raises:
            InputError: The file cannot be read, or something in it is wrong.
        """
        return cls(Path(config_path).resolve().parent, load(Path(config_path)))

    def with_parameters(self, values: Mapping[str, Any]) -> Self:
        """The project as a run with these pipeline parameters has it: its model's name, store, registry and serving.

        Raises:
            InputError: `serving` is not valid.
        """
        keys = {"model_name": "name", "store": "store", "tracking_uri": "tracking_uri"}
        given: dict[str, Any] = {key: values[name] for name, key in keys.items() if name in values}
        if "serving" in values:
            given["serving"] = parse_serving(values["serving"])
        return replace(self, config=self.config.model_copy(update=given))

    @property
    def home(self) -> Path:
        """Where local runs and their cache lie."""
        return self.folder / ".ratchet"

    @cached_property
    def store(self) -> Store:
        """Ledger, journal, studies and checkpoints."""
        return Store(self.within(self.config.store))

    def model(self, name: str = "") -> str:
        """The model that is meant: the project's own when none is named.

        Raises:
            InputError: The ledger never heard of it; names the nearest that it knows.
        """
        if name in ("", self.config.name):
            return self.config.name
        if any(Ledger(self.store, name).newest()):
            return name
        known = sorted({*models(self.store)[0], self.config.name})
        raise InputError(f"the ledger at {self.store.uri} has no model {name!r}", suggestion(name, known))

    @property
    def tracking_uri(self) -> str:
        """MLflow tracking URI; a relative SQLite path made absolute."""
        uri = self.config.tracking_uri
        path = uri.removeprefix(_SQLITE)
        return f"{_SQLITE}{self.folder / path}" if uri.startswith(_SQLITE) and not path.startswith("/") else uri

    @property
    def serving(self) -> Serving | KubernetesServing:
        """Serving settings; a folder on this machine made absolute."""
        serving = self.config.serving
        if isinstance(serving, KubernetesServing):
            return serving
        return serving.model_copy(update={"folder": self.within(serving.folder)})

    @property
    def environment(self) -> dict[str, str]:
        """Environment of a process that works in the project: the folder's own modules are in reach."""
        path = os.pathsep.join([str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        return {
            **os.environ,
            "PYTHONPATH": path,
            # The user's code reads and writes text as UTF-8, whatever the locale.
            "PYTHONUTF8": "1",
            "GIT_PYTHON_REFRESH": "quiet",
        }

    def within(self, uri: str) -> str:
        """A relative path made absolute; URIs stay as they are."""
        return uri if "://" in uri else str(self.folder / uri)

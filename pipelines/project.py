"""A project on this machine: its `ratchet.yaml`, with the places it names as seen from anywhere."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from kfp_ratchet.components.deploy.serving import Serving
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

    @property
    def home(self) -> Path:
        """Where local runs and their cache lie."""
        return self.folder / ".ratchet"

    @cached_property
    def store(self) -> Store:
        """Ledger, journal, studies and checkpoints."""
        return Store(self.within(self.config.store))

    @property
    def tracking_uri(self) -> str:
        """MLflow tracking URI; a relative SQLite path made absolute."""
        uri = self.config.tracking_uri
        path = uri.removeprefix(_SQLITE)
        return f"{_SQLITE}{self.folder / path}" if uri.startswith(_SQLITE) and not path.startswith("/") else uri

    @property
    def serving(self) -> Serving:
        """Serving settings with an absolute folder."""
        return self.config.serving.model_copy(update={"folder": self.within(self.config.serving.folder)})

    def within(self, uri: str) -> str:
        """A relative path made absolute; URIs stay as they are."""
        return uri if "://" in uri else str(self.folder / uri)

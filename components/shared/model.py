"""The Model contract: an MLflow model folder that takes raw rows, and its card `ratchet.json`.

`artifacts/workload/` holds what the workload saved (weights, preprocessing); its digest, with the name of the class that reads it, is the
model's identity. Reading a card or a digest executes nothing; `load_model` imports the workload class by name, never code from the folder.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, Field

from kfp_ratchet.components.shared.canonical import digest, digest_folder, loads
from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.model_folder import WORKLOAD, check_folder

if TYPE_CHECKING:
    from kfp_ratchet.components.train.workload import Workload

BUILT_IN = {"tabular": "kfp_ratchet.components.train.tabular:Tabular"}
_METHODS = ("search_space", "fit", "predict", "save", "load")


CARD = "ratchet.json"


class Card(BaseModel):
    """What `ratchet.json` says about a model."""

    workload: str
    parameters: dict[str, Any]
    columns: Columns
    features: dict[str, str] = Field(description="Feature columns the model takes and their polars types, in order.")
    classes: list[str] = Field(default_factory=list, description="Class names in score order; empty for regression.")
    revision: str
    window: dict[str, Any]
    split_rule: str
    rows: int = Field(description="Training rows, the early-stopping tail included.")
    seed: int
    device: str
    code: dict[str, str] = Field(
        default_factory=dict, description="Versions and digests of the code that made the model."
    )
    metrics: dict[str, float] = Field(
        default_factory=dict, description="On the early-stopping tail, never on evaluation rows."
    )
    baseline: dict[str, Any] = Field(
        default_factory=dict, description="Statistics of each feature on training rows, for drift."
    )

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """Read a model folder's card.

        Raises:
            RatchetError: The folder is not a model of ours.
        """
        try:
            return cls.model_validate(loads(Path(folder, CARD).read_bytes()))
        except (OSError, ValueError) as error:
            raise RatchetError(f"{folder} is not a model: {error}", "pass the output `model` of train") from error

    def write(self, folder: str | Path) -> None:
        """Write `ratchet.json`."""
        Path(folder, CARD).write_text(self.model_dump_json(indent=1))


def model_digest(folder: str | Path) -> str:
    """A model's identity: the digest of what its workload saved and, unless it is built in, the name of the class that reads it.

    So whoever trusts a digest trusts the class as well: a card that was changed to name another one is another model.

    Raises:
        RatchetError: The folder is not a model of ours.
    """
    check_folder(folder)
    name, saved = Card.read(folder).workload, digest_folder(Path(folder) / WORKLOAD)
    return saved if name in BUILT_IN else digest(f"{name} {saved}")


def workload_class(name: str) -> type["Workload"]:
    """The workload class behind `tabular` or `package.module:Class`.

    Raises:
        InputError: There is no such module, or what it names is no workload.
    """
    target = BUILT_IN.get(name, name)
    module, _, attribute = target.partition(":")
    if not attribute:
        raise InputError(f"workload {name!r} is neither built in ({', '.join(BUILT_IN)}) nor package.module:Class")
    try:
        loaded: type[Workload] = getattr(import_module(module), attribute)
    except Exception as error:
        raise InputError(
            f"workload {name!r} cannot be imported: {error or type(error).__name__}",
            "check its name, that its package is installed and that importing it raises nothing",
        ) from error
    lacks = [method for method in _METHODS if not callable(getattr(loaded, method, None))]
    if not isinstance(loaded, type) or lacks:
        raise InputError(
            f"workload {name!r} is not a class with {', '.join(_METHODS)}", "see kfp_ratchet.components.train.workload"
        )
    return loaded


def load_model(folder: str | Path) -> "Workload":
    """Load a model folder's workload for prediction on the CPU.

    Raises:
        RatchetError: The folder is not a model of ours.
        InputError: Its workload class cannot be imported.
    """
    check_folder(folder)
    return workload_class(Card.read(folder).workload).load(Path(folder) / WORKLOAD)

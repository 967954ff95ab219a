"""What a model folder of ours may hold. Checked before anything in it is loaded: a folder from elsewhere runs nothing.

MLflow runs whatever a folder's `MLmodel` names: a loader module, a script, a `code` folder, a pickle. Ours name one script that this
package brings along, and data that a workload reads.
"""

import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from kfp_ratchet.components.shared.canonical import digest_file
from kfp_ratchet.components.shared.errors import RatchetError

WORKLOAD = Path("artifacts", "workload")
"""What the workload saved, and the only part that differs in kind between models."""

SCRIPT = "served.py"
SCRIPTS = frozenset({"sha256:da9a30f1b779e208d0d1270c9102f84d1bd6c60c7888d765d93368bd3867916c"})
"""Digests of every `train/served.py` that was ever released: a change adds its digest, so that older champions still load."""

_FILES = {
    "MLmodel",
    SCRIPT,
    "ratchet.json",
    "conda.yaml",
    "python_env.yaml",
    "requirements.txt",
    "input_example.json",
    "serving_input_example.json",
    "registered_model_meta",  # MLflow leaves it where it loads `models:/NAME/VERSION` from.
}
_FLAVOR: dict[str, tuple[Any, ...]] = {
    "loader_module": ("mlflow.pyfunc.loaders.code_model", "mlflow.pyfunc.model"),
    "code": (None,),
    "streamable": (False,),
    "env": ({"conda": "conda.yaml", "virtualenv": "python_env.yaml"},),
}
"""What the keys that MLflow acts on may say."""
_HARMLESS = {"artifacts", "cloudpickle_version", "model_code_path", "python_version"}
_PICKLES = {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".dill"}
_PICKLE_STARTS = {bytes([0x80, protocol]) for protocol in range(2, 6)}


def check_folder(folder: str | Path) -> None:
    """Refuse a model folder that holds, or asks MLflow for, anything that a model of ours does not. Executes nothing.

    Raises:
        RatchetError: Names what is strange.
    """
    place = Path(folder)
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place)
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise _strange(place, f"{name} is a link or a special file")
        if path.is_dir():
            if name.parts[:2] != WORKLOAD.parts[: len(name.parts[:2])]:
                raise _strange(place, f"it holds a folder {name}")
        elif name.is_relative_to(WORKLOAD):
            if why := pickled(path):
                raise _strange(place, f"{name} {why}")
        elif str(name) not in _FILES:
            raise _strange(place, f"it holds a file {name}")
    if (place / SCRIPT).exists() and digest_file(place / SCRIPT) not in SCRIPTS:
        raise _strange(place, f"{SCRIPT} is not the script that this package writes")
    if (place / "MLmodel").exists():
        _check_description(place)


def pickled(path: Path) -> str:
    """Why a file may be a pickle, "" when it is none: pickles execute code when loaded."""
    if path.suffix in _PICKLES:
        return f"ends in {path.suffix}, as pickles do"
    with path.open("rb") as file:
        start = file.read(2)
    if start == b"PK" and zipfile.is_zipfile(path):
        inside = [name for name in zipfile.ZipFile(path).namelist() if Path(name).suffix in _PICKLES]
        return f"is an archive that holds {inside[0]}" if inside else ""
    return "starts like a pickle" if start in _PICKLE_STARTS else ""


def _check_description(place: Path) -> None:
    try:
        flavors = yaml.safe_load((place / "MLmodel").read_bytes())["flavors"]
        flavor = flavors.pop("python_function")
        script, artifacts = flavor["model_code_path"], flavor["artifacts"]
        paths = {name: PurePosixPath(artifact["path"]) for name, artifact in artifacts.items()}
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise _strange(place, f"MLmodel is none of ours ({type(error).__name__}: {error})") from error
    if flavors:
        raise _strange(place, f"MLmodel has a flavor {next(iter(flavors))!r}")
    for key, value in flavor.items():
        if key not in _HARMLESS and value not in _FLAVOR.get(key, ()):
            raise _strange(place, f"MLmodel sets {key} to {value!r}")
    if PurePosixPath(str(script)).name != SCRIPT:
        raise _strange(place, f"MLmodel names the script {script!r}")
    if paths != {"workload": PurePosixPath(WORKLOAD.as_posix())}:
        raise _strange(place, f"MLmodel names the artifacts {', '.join(map(str, paths.values())) or 'none'}")


def _strange(place: Path, what: str) -> RatchetError:
    return RatchetError(
        f"{place} is not a model folder of ours: {what}",
        "nothing of it was run; restore the folder, or train the model again",
    )

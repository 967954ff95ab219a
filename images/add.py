"""Install packages into an image's environment, and set apart what that added: it becomes one layer of the image.

`python3 add.py LAYER REQUIREMENT…`, in a build stage; the requirements are arguments of `uv pip install`. What no container reads is left
out (tests, headers, symbol tables, Arrow Flight), and of what the locks name only the modules that steps import are compiled: the
bytecode of all of it would be a third of the image. It is made here since the file system of a container may be read-only, and
carries no time of its source, so that the same files are the same layer.
"""

import py_compile
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ENVIRONMENT = Path("/opt/venv")
PYTHON = ENVIRONMENT / "bin/python3"
UV = "/opt/uv/bin/uv"
UNUSED = (
    "**/tests",  # not what others import: numpy/testing, pandas/_testing
    "**/*.p[yx][idx]",
    "nvidia/**/include",
    "pyarrow/*flight*",
    "pyarrow/include",
    "pyarrow/libarrow_python*.so",  # copies of the library that has the version in its name
    "pyarrow/libarrow_python*.so.*.*",
    "torch/include",
)
STRIPPED = ("_polars_runtime*/*.so", "pyarrow/*.so*")
"""Large libraries whose symbol tables only a debugger reads. Not those in `*.libs`, which patchelf has moved."""
STEPS = (
    "alembic.command apprise boto3 botocore.config docker dvc.fs dvc.repo jinja2 kfp.dsl.executor_main "
    "kubernetes.client mlflow mlflow.models mlflow.pyfunc mlflow.pyfunc.scoring_server "
    "mlflow.store.model_registry.sqlalchemy_store mlflow.store.model_registry.sqlalchemy_workspace_store "
    "mlflow.store.tracking.sqlalchemy_store mlflow.store.tracking.sqlalchemy_workspace_store mlflow.tracking "
    "obstore.auth.boto3 obstore.store optuna optuna.importance optuna.storages.journal pandas.core.methods.to_dict "
    "pandera.backends.polars.register pandera.io.polars_io pandera.polars psutil pyarrow.pandas_compat "
    "pyarrow.parquet requests safetensors.torch scipy.special sqlalchemy.dialects.sqlite torch torch.optim.adamw "
    "uvicorn yaml"
)
"""What steps import of the locked packages; an image may lack some."""
LOADED = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError:
        pass
print(*{str(module.__file__) for module in list(sys.modules.values()) if getattr(module, "__file__", None)}, sep="\\n")
"""


def main() -> None:
    """Install, thin out, compile, and copy what is new to the folder of the layer."""
    layer, *requirements = sys.argv[1:]
    before = {path: path.lstat().st_ctime_ns for path in _files()}
    _run(UV, "pip", "install", "--quiet", "--python", PYTHON, *requirements)
    packages = Path(_run(PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    for path in (found for pattern in UNUSED for found in list(packages.glob(pattern))):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    added = [path for path in _files() if before.get(path) != path.lstat().st_ctime_ns]
    for path in (found for pattern in STRIPPED for found in packages.glob(pattern) if found in added):
        _run("strip", "--strip-unneeded", path)
    # What a lock names is large; the rest is a step's own code.
    chosen = (
        set(_run(PYTHON, "-B", "-c", LOADED, *STEPS.split()).split()) if "--require-hashes" in requirements else None
    )
    for path in added:
        if path.suffix == ".py" and packages in path.parents and (chosen is None or str(path) in chosen):
            _compile(path)
    for path in _files():
        if before.get(path) != path.lstat().st_ctime_ns:
            target = Path(layer, path.relative_to(ENVIRONMENT))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(path)


def _files() -> Iterator[Path]:
    return (path for path in ENVIRONMENT.rglob("*") if path.is_symlink() or path.is_file())


def _compile(path: Path) -> None:
    # A package may hold files for other versions of Python.
    py_compile.compile(str(path), quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603


if __name__ == "__main__":
    main()

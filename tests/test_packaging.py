"""A package that is not declared works in an editable install and is missing from the wheel."""

import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def declared() -> dict[str, Path]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = config["package-dir"]

    def folder(package: str) -> Path:
        root = next(name for name in folders if package == name or package.startswith(f"{name}."))
        return ROOT / folders[root] / package[len(root) :].strip(".").replace(".", "/")

    return {package: folder(package) for package in config["packages"]}


def test_every_folder_with_python_is_declared_and_no_other() -> None:
    found = [path for root in ("components", "images", "pipelines", "testing") for path in (ROOT / root).rglob("*.py")]
    present = {path.parent for path in found if "__pycache__" not in path.parts}
    assert present, "found no Python files: the check looks in the wrong place"
    assert set(declared().values()) == present


def test_the_namespace_has_no_root_module() -> None:
    assert not (ROOT / "__init__.py").exists()
    assert not any(package == "kfp_ratchet" for package in declared())


@pytest.mark.slow
def test_wheel_and_sdist_work_outside_the_checkout(tmp_path: Path) -> None:
    """Base install only: help answers and the generic pipeline compiles to the checked-in bytes."""
    uv = Path(sys.executable).parent / "uv"
    tool = [str(uv)] if uv.exists() else ["uv"]
    subprocess.run([*tool, "build", "--quiet", "--python", sys.executable, "--out-dir", tmp_path, ROOT], check=True)
    wheel, sdist = next(tmp_path.glob("*.whl")), next(tmp_path.glob("*.tar.gz"))
    names = zipfile.ZipFile(wheel).namelist()
    for package in declared():
        assert f"{package.replace('.', '/')}/__init__.py" in names
    assert "kfp_ratchet/__init__.py" not in names
    assert "kfp_ratchet/components/py.typed" in names
    for number, archive in enumerate((wheel, sdist)):
        venv.create(tmp_path / f"env{number}")
        python = tmp_path / f"env{number}" / "bin" / "python"
        subprocess.run([*tool, "pip", "install", "--quiet", "--python", python, archive], check=True)
        ratchet = python.parent / "ratchet"
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        subprocess.run([ratchet, "--help"], check=True, cwd=tmp_path, capture_output=True, env=environment)
        subprocess.run(
            [ratchet, "compile", "--out", tmp_path / f"out{number}"], check=True, cwd=tmp_path, env=environment
        )
        compiled = (tmp_path / f"out{number}" / "continuous_training.yaml").read_bytes()
        assert compiled == (ROOT / "compiled" / "continuous_training.yaml").read_bytes()

"""This package as a wheel, from wherever it runs: a checkout is built, an installed package is packed again."""

import csv
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from kfp_ratchet.components import _image
from kfp_ratchet.components.shared.errors import RatchetError

_NAME = "kfp-ratchet"
_INSTALLERS = {"INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"}
"""What installing adds beside the metadata of a wheel."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


def checkout() -> Path | None:
    """The checkout that this code runs from; None when it is installed."""
    root = Path(_image.__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").is_file() and (root / "components").is_dir() else None


def write_wheel(folder: Path) -> Path:
    """Write the wheel to a folder: the same bytes for the same code.

    Raises:
        RatchetError: The checkout cannot be built, or the package is neither a checkout nor installed.
    """
    root = checkout()
    if root:
        return _built(root, folder)
    try:
        return packed(distribution(_NAME), folder)
    except PackageNotFoundError:
        raise RatchetError(
            f"{_NAME} is neither installed nor a checkout, so its images cannot be built", f"pip install {_NAME}"
        ) from None


def _built(root: Path, folder: Path) -> Path:
    with tempfile.TemporaryDirectory() as scratch:
        # What setuptools would leave in the checkout, and find there again.
        settings = Path(scratch, "settings.cfg")
        settings.write_text(f"[build]\nbuild_base={scratch}\n[egg_info]\negg_base={scratch}\n")
        # A wheel's time zero, as zip files know it.
        environment = {**os.environ, "DIST_EXTRA_CONFIG": str(settings), "SOURCE_DATE_EPOCH": "315532800"}
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(root)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise RatchetError(
            f"building a wheel of {root} failed: {(done.stderr or done.stdout).strip()}",
            "pip has to be installed, and its package index reachable: setuptools comes from there",
        )
    return next(folder.glob("*.whl"))


def packed(installed: Distribution, folder: Path) -> Path:
    """The wheel that an installed package came from: its files, without what installing added.

    Raises:
        RatchetError: A file of it is missing.
    """
    kept = {}
    for file in installed.files or ():
        in_metadata = file.parent.name.endswith(".dist-info")
        if file.parts[0] != ".." and file.suffix != ".pyc" and not (in_metadata and file.name in _INSTALLERS):
            kept[file.as_posix()] = file
    record = next((name for name in kept if name.endswith(".dist-info/RECORD")), "")
    if not record:
        raise RatchetError(f"the installed {_NAME} has no list of its files", "install it again with pip")
    rows = csv.reader(io.StringIO(Path(str(kept[record].locate())).read_text(encoding="utf-8")))
    listed = io.StringIO()
    csv.writer(listed, lineterminator="\n").writerows(row for row in rows if row[0] in kept)
    target = folder / f"{record.partition('.dist-info')[0]}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, file in sorted(kept.items()):
            try:
                content = listed.getvalue().encode() if name == record else Path(str(file.locate())).read_bytes()
            except OSError as error:
                raise RatchetError(
                    f"{name} of the installed {_NAME} cannot be read: {error}", "install it again"
                ) from error
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            wheel.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return target

"""Build the images of the steps, with a user's own package in them where one is given, and push them."""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from kfp_ratchet.components import _image
from kfp_ratchet.components._image import VERSION
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.pipelines.docker_engine import docker, image_id, registry_digest
from kfp_ratchet.pipelines.images import KINDS, Images, Kind
from kfp_ratchet.pipelines.own_wheel import checkout, write_wheel
from kfp_ratchet.pipelines.provenance import provenance

BASE = "python:3.11-slim"
_SOURCES = Path(_image.__file__).resolve().parent.parent / "images"
"""The package kfp_ratchet.images, in a checkout too."""
_STEP = re.compile(r"^(Step \d+/\d+|#\d+ \[)")
_NAME = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)


@dataclass(frozen=True)
class Image:
    """An image that was built or pushed."""

    kind: Kind
    reference: str
    digest: str
    """Of a built image its id, of a pushed one the registry's digest."""


def build(
    images: Images,
    *,
    kinds: Iterable[Kind] = KINDS,
    base: str = BASE,
    workload: Path | None = None,
    revision: str = "",
    network: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> list[Image]:
    """Build the images under their names.

    Args:
        images: Their names.
        kinds: Which of them.
        base: Image to build on: Debian with Python 3.11.
        workload: Folder of the user's own package or modules, to be importable in every image.
        revision: Commit for the label; that of the workload, or else of this package's checkout, when empty.
        network: Docker network of the build; Docker's own choice when empty.
        say: Told each step of Docker's.

    Raises:
        InputError: The workload's folder holds nothing to import, or its images would take the package's own names.
        RatchetError: Docker is not there, or failed: base not to be had, index out of reach, disk full.
    """
    revision = revision or _commit(workload or checkout())
    plain = Images() if workload else images
    if workload and images == Images():
        raise InputError(
            "images with your own package need a name of their own",
            "set images.repository or images.tag in ratchet.yaml, or give --repository or --tag",
        )

    def run(context: str, file: str, target: list[str], reference: str, **values: str) -> None:
        network_options = ["--network", network] if network else []
        given = {"BASE": base, "VERSION": VERSION, "REVISION": revision, "REFERENCE": reference, **values}
        options = [part for name, value in given.items() for part in ("--build-arg", f"{name}={value}")]
        docker(
            *(
                "build",
                *network_options,
                *options,
                *target,
                "--file",
                str(Path(context, file)),
                "--tag",
                reference,
                context,
            ),
            doing=f"building {reference} from {values.get('IMAGE', base)}",
            say=lambda line: say(line) if _STEP.match(line) else None,
        )

    made = []
    with tempfile.TemporaryDirectory(prefix="ratchet-images-") as context:
        for source in _SOURCES.iterdir():
            if source.is_file():
                shutil.copy(source, context)
        write_wheel(Path(context))
        if workload:
            _stage(workload, Path(context, "workload"))
        for kind in kinds:
            run(context, "Dockerfile", ["--target", kind], plain.reference(kind))
            reference = images.reference(kind)
            if workload:
                Path(context, "excluded.txt").write_text("\n".join(_not_for(kind)))
                run(context, "Dockerfile.workload", [], reference, IMAGE=plain.reference(kind))
            made.append(Image(kind, reference, image_id(reference)))
    return made


def push(
    images: Images, *, kinds: Iterable[Kind] = KINDS, say: Callable[[str], None] = lambda line: None
) -> list[Image]:
    """Push the images; what the registry has already is not sent again.

    Raises:
        RatchetError: An image was not built, or the registry cannot be reached or refuses.
    """
    made = []
    for kind in kinds:
        reference = images.reference(kind)
        said = docker("push", reference, doing=f"pushing {reference}", say=say)
        found = re.search(r"digest: (sha256:[0-9a-f]{64})", said)
        made.append(Image(kind, reference, found[1] if found else registry_digest(reference)))
    return made


def _commit(folder: Path | None) -> str:
    return str(provenance(folder).get("commit", "")) if folder else ""


def _not_for(kind: Kind) -> list[str]:
    """Packages that stay out of an image even when the user's own requires them: torch and the like, out of `slim`."""
    if kind != "slim":
        return []
    slim, train = (set(_NAME.findall(Path(_SOURCES, f"{each}.lock").read_text())) for each in ("slim", "train"))
    return sorted(train - slim)


def _stage(workload: Path, target: Path) -> None:
    """Copy the user's package; modules without a project file get one, with what their requirements.txt names."""
    if not workload.is_dir():
        raise InputError(f"{workload} is not a folder", "give the folder of your package or modules to --with")
    if any((workload / name).is_file() for name in ("pyproject.toml", "setup.py")):
        _copy(workload, target, _left_out(workload))
        return
    modules = [path.stem for path in sorted(workload.glob("*.py"))]
    packages = [path.parent.name for path in sorted(workload.glob("*/__init__.py"))]
    if not modules and not packages:
        raise InputError(
            f"{workload} holds no Python package and no module",
            "give the folder that has a pyproject.toml, or *.py files",
        )
    target.mkdir()
    for name in modules:
        shutil.copy(workload / f"{name}.py", target)
    for name in packages:
        _copy(workload / name, target / name, shutil.ignore_patterns("__pycache__", ".*"))
    requirements = workload / "requirements.txt"
    if requirements.is_file():
        option = next((line for line in requirements.read_text().splitlines() if line.lstrip().startswith("-")), "")
        if option:
            raise InputError(
                f"{requirements} has the option {option.strip()!r}",
                "name the requirements themselves there; packages come from the index that the base image is set up for",
            )
        shutil.copy(requirements, target)
    else:
        (target / "requirements.txt").touch()
    nested = sorted({".".join(path.parent.relative_to(target).parts) for path in target.glob("*/**/*.py")})
    # Never the name of a package that is known elsewhere.
    name = "ratchet-workload-" + re.sub(r"[^a-z0-9]+", "-", workload.resolve().name.lower()).strip("-")
    (target / "pyproject.toml").write_text(
        f'[build-system]\nrequires = ["setuptools>=80"]\nbuild-backend = "setuptools.build_meta"\n'
        f'[project]\nname = "{name}"\nversion = "0"\ndynamic = ["dependencies"]\n'
        f"[tool.setuptools]\npy-modules = {modules}\npackages = {nested}\n"
        f'[tool.setuptools.dynamic]\ndependencies = {{ file = ["requirements.txt"] }}\n'
        f'[tool.setuptools.package-data]\n"*" = ["*"]\n'
    )


def _left_out(workload: Path) -> Callable[[str, list[str]], set[str]]:
    """What of a project is not copied: hidden files, and builds and data beside the packages."""
    hidden = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")

    def ignored(folder: str, names: list[str]) -> set[str]:
        beside = {"build", "dist", "data"} & set(names) if Path(folder) == workload else set()
        return hidden(folder, names) | {name for name in beside if not Path(folder, name, "__init__.py").exists()}

    return ignored


def _copy(source: Path, target: Path, ignored: Callable[[str, list[str]], set[str]]) -> None:
    try:
        shutil.copytree(source, target, ignore=ignored)
    except (OSError, shutil.Error) as error:
        raise RatchetError(f"{source} cannot be copied: {error}", "check that every file there may be read") from error

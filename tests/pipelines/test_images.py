"""Names of images, what they are built from, and what is said when Docker cannot."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import Distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from kfp_ratchet.components._image import SERVE, SLIM, TRAIN, VERSION
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.pipelines.compile import compiled
from kfp_ratchet.pipelines.config import load
from kfp_ratchet.pipelines.docker_engine import docker, remedy
from kfp_ratchet.pipelines.image_building import _not_for, _stage, build
from kfp_ratchet.pipelines.images import Images, pinned
from kfp_ratchet.pipelines.own_wheel import packed, write_wheel

ROOT = Path(__file__).parent.parent.parent
OURS = Images(registry="registry.example.com:5000/team", repository="flights", tag="2025-06")
DIGEST = "sha256:" + "ab" * 32


def pins(name: str) -> dict[str, set[str]]:
    """Versions by package of a lock; more than one where markers tell them apart."""
    found: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / name).read_text(), re.MULTILINE):
        found.setdefault(package, set()).add(version)
    assert found, f"{name} pins nothing: the check looks in the wrong place"
    return found


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A `ratchet.yaml` whose images are not the package's own."""
    (tmp_path / "ratchet.yaml").write_text(
        "name: flights\nsource: data\nschema: schemas:Flights\ncolumns: {target: late}\n"
        "images: {registry: 'registry.example.com:5000/team', repository: flights, tag: '2025-06'}\n"
    )
    return tmp_path / "ratchet.yaml"


def test_the_default_names_are_the_package_s_own() -> None:
    assert (Images().slim, Images().train, Images().serve) == (SLIM, TRAIN, SERVE)


def test_every_mention_gets_the_project_s_images_and_no_other_image_does() -> None:
    others = f"other/{SLIM} {SLIM}.1 {SLIM}-rc1 my{SLIM}"
    text = f'image: {SLIM}\ndefault: \'{{"image": "{SERVE}"}}\'\n#   image: {TRAIN}.\n{others}'
    assert OURS.in_yaml(text) == (
        f'image: {OURS.slim}\ndefault: \'{{"image": "{OURS.serve}"}}\'\n#   image: {OURS.train}.\n{others}'
    )
    assert Images().in_yaml(text) == text


def test_a_digest_replaces_the_tag_also_within_a_parameter() -> None:
    text = f'image: {OURS.slim}\ndefault: \'{{"image": "{OURS.serve}"}}\''
    name = OURS.slim.removesuffix(":2025-06")
    assert pinned(text, {OURS.slim: DIGEST}) == text.replace(OURS.slim, f"{name}@{DIGEST}")
    assert OURS.used(text) == [OURS.slim, OURS.serve]


def test_compiled_pipelines_run_in_the_images_that_the_file_names(config: Path) -> None:
    asked: list[str] = []

    def digest(reference: str) -> str:
        asked.append(reference)
        return DIGEST

    for name, text in compiled([config]).items():
        images = {
            each["container"]["image"]
            for each in yaml.safe_load(text.split("\n---")[0])["deploymentSpec"]["executors"].values()
        }
        assert images == ({OURS.slim} if name == "approve" else {OURS.slim, OURS.train})
    for text in compiled([config], digest).values():
        assert f"team/flights/slim@{DIGEST}" in text and OURS.slim not in text
    assert sorted(asked) == [OURS.slim, OURS.train], "each is asked for once"


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("images: {registry: 'https://r.example.com'}", "registry"),
        ("images: {repository: Team}", "repository"),
        ("images: {tags: x}", "tags"),
    ],
)
def test_a_name_that_docker_would_refuse_is_refused_with_its_line(config: Path, line: str, word: str) -> None:
    config.write_text(re.sub(r"^images:.*$", line, config.read_text(), flags=re.MULTILINE))
    with pytest.raises(InputError, match=rf"ratchet\.yaml:5: .*{word}"):
        load(config)


def test_the_images_hold_the_versions_that_tests_ran_with() -> None:
    everything, slim, train = pins("requirements.lock"), pins("images/slim.lock"), pins("images/train.lock")
    for lock in (slim, train):
        assert all(versions <= everything[name] and len(versions) == 1 for name, versions in lock.items())
    assert slim.items() <= train.items(), "what train adds would replace what slim has"
    assert "torch" in train and "torch" not in slim


@pytest.mark.parametrize(("lock", "extras"), [("slim", {"slim"}), ("train", {"slim", "train"})])
def test_the_locks_hold_what_the_extras_ask_for(lock: str, extras: set[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pending, asked = [*project["dependencies"], *(f"kfp-ratchet[{','.join(extras)}]",)], []
    while pending:
        requirement = Requirement(pending.pop())
        if requirement.name == "kfp-ratchet":
            pending += [each for extra in requirement.extras for each in project["optional-dependencies"][extra]]
        else:
            asked.append(requirement)
    locked = pins(f"images/{lock}.lock")
    for requirement in asked:
        (version,) = locked.get(requirement.name, {""})
        assert requirement.specifier.contains(version), f"{requirement} is not in images/{lock}.lock: run `make lock`"


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.workload"])
def test_hadolint_finds_nothing(name: str) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "hadolint", ROOT / "images" / name], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", "start Docker"),
        ("pull access denied for x, repository does not exist or may require 'docker login': denied", "docker login"),
        ("An image does not exist locally with the tag: x/slim", "ratchet images build"),
        ("manifest for python:9 not found: manifest unknown: manifest unknown", "the tag"),
        ("dial tcp: lookup registry.example.com: no such host", "the address"),
        ("write /opt/venv/lib/x.so: no space left on device", "docker system df"),
        ("error: No solution found when resolving dependencies", "the requirement that is named"),
        ("server gave HTTP response to HTTPS client", "insecure-registries"),
    ],
)
def test_what_docker_says_gets_its_remedy(said: str, answer: str) -> None:
    assert answer in remedy(said)


def test_without_docker_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RatchetError, match="there is no program docker") as error:
        docker("version", doing="building x")
    assert "install Docker" in error.value.remedy


def test_modules_without_a_project_file_get_one(tmp_path: Path) -> None:
    mine = tmp_path / "My Work"
    (mine / "net" / "deep").mkdir(parents=True)
    (mine / "data").mkdir()
    for name in ("features.py", "net/__init__.py", "net/deep/layers.py", "net/words.txt", "data/rows.csv"):
        (mine / name).write_text("")
    (mine / "requirements.txt").write_text("einops==0.8.1\n")
    _stage(mine, tmp_path / "staged")
    project = tomllib.loads((tmp_path / "staged" / "pyproject.toml").read_text())
    assert project["project"]["name"] == "ratchet-workload-my-work"
    assert project["tool"]["setuptools"]["py-modules"] == ["features"]
    assert project["tool"]["setuptools"]["packages"] == ["net", "net.deep"]
    assert (tmp_path / "staged" / "requirements.txt").read_text() == "einops==0.8.1\n"
    assert (tmp_path / "staged" / "net" / "words.txt").exists() and not (tmp_path / "staged" / "data").exists()


def test_a_folder_with_nothing_to_import_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Python package"):
        _stage(tmp_path, tmp_path / "staged")


def test_images_with_a_package_of_the_user_s_do_not_take_our_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a name of their own"):
        build(Images(), workload=tmp_path)


def test_what_train_adds_stays_out_of_slim() -> None:
    assert {"torch", "optuna"} <= set(_not_for("slim")) and not _not_for("train")


def test_a_step_of_another_version_stops_before_it_is_called() -> None:
    """Its function may take other arguments there, so the check is at import."""
    environment = {**os.environ, "RATCHET_VERSION": "9.9.9", "RATCHET_IMAGE": "team/slim:1"}
    code = "from kfp_ratchet.components.gate.files import decide_from_files"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "9.9.9" in last and f"image team/slim:1 holds {VERSION}" in last and "ratchet images build" in last


@pytest.mark.slow
def test_an_installed_package_is_packed_into_the_wheel_that_it_came_from(tmp_path: Path) -> None:
    for folder in ("built", "packed"):
        (tmp_path / folder).mkdir()
    built = write_wheel(tmp_path / "built")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*install, tmp_path / "site", built], check=True)
    again = packed(Distribution.at(next((tmp_path / "site").glob("*.dist-info"))), tmp_path / "packed")
    assert again.name == built.name
    with zipfile.ZipFile(built) as one, zipfile.ZipFile(again) as other:
        for name in set(one.namelist()) | set(other.namelist()):
            if not name.endswith("/RECORD"):
                assert one.read(name) == other.read(name)
    subprocess.run([*install, tmp_path / "site2", again], check=True)
    assert (tmp_path / "site2" / "kfp_ratchet" / "images" / "Dockerfile").exists()


def test_a_package_named_data_goes_along_and_data_beside_the_packages_does_not(tmp_path):
    mine = tmp_path / "mine"
    for name in (
        "pkg/data/__init__.py",
        "pkg/build/rows.py",
        "data/rows.csv",
        "build/lib/old.py",
        ".env",
        "pyproject.toml",
    ):
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).write_text("")
    _stage(mine, tmp_path / "staged")
    there = {str(path.relative_to(tmp_path / "staged")) for path in (tmp_path / "staged").rglob("*") if path.is_file()}
    assert there == {"pkg/data/__init__.py", "pkg/build/rows.py", "pyproject.toml"}


def test_options_among_the_requirements_are_refused_by_name(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "features.py").write_text("")
    (tmp_path / "mine" / "requirements.txt").write_text("-r other.txt\n")
    with pytest.raises(InputError, match=r"-r other\.txt"):
        _stage(tmp_path / "mine", tmp_path / "staged")

"""The replay's own copy of a project: nothing it does reaches the project's data, ledger, registry or server."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from kfp_ratchet.components.deploy.live import stop
from kfp_ratchet.components.shared.canonical import digest
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.config_yaml import dump_yaml, read_yaml
from kfp_ratchet.pipelines.project import Project
from kfp_ratchet.pipelines.replay.settings import Replay

CONFIG = "ratchet.yaml"
_BEGUN = "begun.json"
_LOCK = "lock"
Say = Callable[[str], None]


class Begun(BaseModel):
    """What a replay was begun with: another configuration, policy, feed or parameter is another replay."""

    model_config = ConfigDict(frozen=True)

    files: dict[str, str]
    """Digest by path of what was copied."""
    feed: str
    parameters: dict[str, Any]
    periods: tuple[str, ...]

    def differences(self, other: "Begun") -> list[str]:
        """What is not the same, in words; more periods at the end are the same replay."""
        names = sorted({*self.files, *other.files})
        changed = [name for name in names if self.files.get(name) != other.files.get(name)]
        changed += ["the feed"] if self.feed != other.feed else []
        changed += ["the parameters"] if self.parameters != other.parameters else []
        common = min(len(self.periods), len(other.periods))
        return changed + (["the periods"] if self.periods[:common] != other.periods[:common] else [])


def folder_of(project: Project) -> Path:
    """Where a project's replay lies."""
    return project.home / "replay"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Be the only replay in a folder; the lock ends with its process, however it ends.

    Raises:
        InputError: Another one is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise InputError(
                f"another replay (process {lock.read().strip() or 'unknown'}) is at work in {folder}",
                "wait for its end, or end it; what it has finished is kept",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def settle(project: Project, replay: Replay, parameters: Mapping[str, Any], fresh: bool, say: Say) -> Project:
    """Have the copy of a project ready: the one of an earlier, unfinished replay, or a new one where anything has changed.

    Args:
        project: The user's project; only read.
        replay: Its settings.
        parameters: What every run gets besides.
        fresh: Begin again.
        say: Told why it begins again.

    Returns:
        The copy, a project like any other: `ratchet model history -c` reads its ledger.
    """
    folder = folder_of(project)
    files = _files(project, with_data=not replay.feed)
    digests = {name: digest(content) for name, content in files.items()}
    wanted = Begun(files=digests, feed=replay.feed, parameters=dict(parameters), periods=replay.periods)
    begun = _begun(folder)
    if begun is not None and not fresh:
        changed = begun.differences(wanted)
        if not changed:
            return Project.open(folder / CONFIG)
        say(f"{', '.join(changed)} changed since this replay was begun: it begins again")
    _clear(folder)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    copied = Project.open(folder / CONFIG)
    # Last: a copy that was not completed is no copy.
    (folder / _BEGUN).write_text(wanted.model_dump_json(indent=1))
    return copied


def _begun(folder: Path) -> Begun | None:
    try:
        return Begun.model_validate_json((folder / _BEGUN).read_text())
    except (OSError, ValueError):
        return None


def _clear(folder: Path) -> None:
    with suppress(InputError):
        copied = Project.open(folder / CONFIG)
        stop(copied.serving, copied.config.name)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()


def _files(project: Project, with_data: bool) -> dict[str, bytes]:
    """What steps read besides data, by path in the copy: Python files, and what the configuration names."""
    named = [name for name in _referenced(project) if not _outside(project.folder, name)]
    python = [path.relative_to(project.folder).as_posix() for path in _python_files(project)]
    files = {name: (project.folder / name).read_bytes() for name in sorted({*named, *python})}
    return {CONFIG: _configuration(project, with_data).encode(), **files}


def _configuration(project: Project, with_data: bool) -> str:
    """The project's settings, with everything they would change outside the copy moved into it."""
    folder = project.folder
    settings = {key: value for key, value in read_yaml(folder / CONFIG).value.items() if value is not None}
    settings |= {"store": ".ratchet/store", "tracking_uri": "sqlite:///.ratchet/mlflow.db", "notifications": {"on": []}}
    settings["serving"] = {**(settings.get("serving") or {}), "folder": ".ratchet/serving", "port": 0}
    if with_data:
        settings["source"] = _each(settings["source"], project.within)
    settings["schema"] = _each(settings["schema"], lambda name: _moved(folder, name))
    if "prepare" in settings and project.config.prepare and project.config.prepare.sql_file:
        settings["prepare"] = {"sql": _moved(folder, project.config.prepare.sql_file)}
    return dump_yaml(settings)


def _referenced(project: Project) -> list[str]:
    """Schemas and SQL files that `ratchet.yaml` names."""
    schemas, prepare = project.config.row_schema, project.config.prepare
    names = [schemas] if isinstance(schemas, str) else list(schemas.values())
    return [
        name for name in [*names, prepare.sql_file if prepare else ""] if name and (project.folder / name).is_file()
    ]


def _outside(folder: Path, name: str) -> bool:
    return not (folder / name).resolve().is_relative_to(folder)


def _moved(folder: Path, name: str) -> str:
    """A file outside the project is not copied, so the copy names it in full."""
    return str((folder / name).resolve()) if (folder / name).is_file() and _outside(folder, name) else name


def _each(value: str | dict[str, str], change: Callable[[str], str]) -> str | dict[str, str]:
    return change(value) if isinstance(value, str) else {key: change(one) for key, one in value.items()}


def _python_files(project: Project) -> list[Path]:
    source = project.config.source
    data = {Path(project.within(uri)) for uri in ([source] if isinstance(source, str) else source.values())}
    found: list[Path] = []
    for place, folders, names in os.walk(project.folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith((".", "__"))
            and name != "node_modules"
            and not Path(place, name, "pyvenv.cfg").exists()
            and Path(place, name) not in data
        ]
        found += [Path(place, name) for name in names if name.endswith(".py")]
    return found

"""What DVC tracks in a repository: files and folders by md5, as `.dvc` files and dvc.lock say."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

PUSH = "run `dvc push` where the data is"
_IMPORTED = "it is imported, which `dvc push` leaves out: name the repository that its .dvc file names as source"


class Output(NamedTuple):
    """Something that DVC tracks at a commit, or a part of it."""

    path: str
    """From the top of the Git repository, POSIX, absolute."""
    version: str
    """`md5:…`, as in a listing; of a folder that of its list of files."""
    is_folder: bool
    remote: str
    """Name of its own remote, "" for the default one."""
    described: tuple[str, ...]
    """The files that say so, a `.dvc` file or dvc.yaml and dvc.lock, from the top of the Git repository."""
    remedy: str
    """What helps when the remote does not have it."""


def outputs(repo: Any, target: str, top: str = "") -> list[Output]:
    """What is tracked at, above or below a path.

    Args:
        repo: DVC's repository, of a commit or of a working tree.
        target: From the top of the Git repository, absolute.
        top: Where that is for `repo`.
    """
    return [
        Output(
            path=out.fs_path.removeprefix(top),
            version=f"{out.hash_info.name}:{out.hash_info.value}" if out.hash_info else "",
            is_folder=bool(out.meta.isdir),
            remote=out.remote or "",
            described=_described(out.stage.path.removeprefix(top).lstrip("/")),
            remedy=_IMPORTED if out.stage.is_repo_import else PUSH,
        )
        for out in tracked(repo, target, top)
    ]


def tracked(repo: Any, target: str, top: str = "") -> Iterator[Any]:
    """The same as DVC's own objects."""
    for out in repo.index.outs:
        path = out.fs_path.removeprefix(top)
        if out.use_cache and out.is_in_repo and (within(path, target) or within(target, path)):
            yield out


def within(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies in it."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def _described(path: str) -> tuple[str, ...]:
    return (path, re.sub(r"dvc\.yaml$", "dvc.lock", path))

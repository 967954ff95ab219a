"""A snapshot of a folder in DVC: `dvc add`, `dvc push`, and a commit of exactly what that wrote."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.manifest import list_source
from kfp_ratchet.components.shared.names import listed
from kfp_ratchet.components.shared.sources.dvc_outputs import tracked
from kfp_ratchet.components.shared.sources.repository import commit_at, git, uncommitted
from kfp_ratchet.components.shared.sources.source import hidden
from kfp_ratchet.components.shared.sources.tracked import parse_tracked
from kfp_ratchet.pipelines.push import Pushed


def push_to_dvc(folder: Path, target: str, commit: bool, say: Callable[[str], None]) -> Pushed:
    """Add, push and commit; see `push`. Whoever was interrupted goes on where he was.

    Raises:
        InputError: The target is no folder of a DVC repository on this machine; changes of the user's would be committed with it; or
            what lies there and nowhere else would be lost.
        RatchetError: DVC or Git refuse.
    """
    repository, path = _placed(folder, target)
    top = Path(
        git(repository, "rev-parse", "--show-toplevel", wrong=f"{repository} is not in a Git repository").strip()
    )
    _refuse_place(top, path, target)
    with _quiet(), _dvc(path.parent if path.parent.is_dir() else repository) as repo:
        if not repo.config["core"].get("remote"):
            raise InputError(
                f"the DVC repository {repo.root_dir} has no default remote",
                "run `dvc remote add --default NAME URL` and commit",
            )
        _refuse_empty(folder)
        names = [f"{path}.dvc", str(path.parent / ".gitignore")]
        written = [str(Path(name).relative_to(top)) for name in names]
        if commit:
            _refuse_others(top, written, path.name)
        if folder.resolve() != path:
            _refuse_lost(repo, top, path)
        say(f"dvc add {path.relative_to(repo.root_dir)}")
        if folder.resolve() == path:
            repo.add([str(path)])
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            repo.add([str(folder.resolve())], out=str(path), force=True)
        say(f"dvc push {path.relative_to(repo.root_dir)}")
        repo.push(targets=[str(path)])
        (out,) = (out for stage in repo.stage.load_file(f"{path}.dvc") for out in stage.outs)
        count, size = out.meta.nfiles or 1, out.meta.size or 0
    changed = tuple(uncommitted(top, [name for name in written if (top / name).exists()]))
    where = f"dvc://{repository}"
    if changed and not commit:
        return Pushed(
            source=f"{where}:{path.relative_to(repository)}", revision="", files=count, bytes=size, to_commit=changed
        )
    if changed:
        say("committing")
        git(top, "add", "--", *changed)
        git(top, "commit", "--quiet", "--message", f"Snapshot of {path.relative_to(top)}", "--only", "--", *changed)
    sha = commit_at(str(repository), "HEAD").sha
    source = f"{where}@{sha}:{path.relative_to(repository)}"
    return Pushed(source=source, revision=list_source(source).revision, files=count, bytes=size, commit=sha)


def _placed(folder: Path, target: str) -> tuple[Path, Path]:
    """Folder of the repository, and where in it the data lies or is to lie; absolute."""
    found = folder.resolve()
    if target == "dvc":
        inside = found.parent
        led = "" if found == folder.absolute() else f" leads to {found}, which"
        top = git(inside, "rev-parse", "--show-toplevel", wrong=f"{folder}{led} is not in a Git repository").strip()
        return Path(top), found
    named, rev, path = parse_tracked(target)
    if rev:
        raise InputError(f"the target {target!r} names a revision", "leave it out: a push makes a new one")
    repository = Path(named).expanduser()
    if "://" in named or not repository.is_dir():
        raise InputError(
            f"the target {target!r} names no folder of this machine", "clone the repository and name the clone"
        )
    return repository.resolve(), (repository / path).resolve()


@contextmanager
def _dvc(folder: Path) -> Iterator[Any]:
    """DVC's repository around a folder; its errors as ours."""
    try:
        from dvc.exceptions import DvcException, NotDvcRepoError
        from dvc.repo import Repo
    except ImportError:
        raise InputError("DVC is not installed", "pip install 'kfp-ratchet[dvc]'") from None
    try:
        with Repo(Repo.find_root(str(folder))) as repo:
            yield repo
    except NotDvcRepoError:
        raise InputError(f"{folder} is not in a DVC repository", "run `dvc init` at its top and commit") from None
    except DvcException as error:
        said = " ".join(str(error).split())
        raise RatchetError(f"DVC refuses: {said}", "mend that, then push again") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """What DVC tells people who use its own command is not for those of this one."""
    logger = logging.getLogger("dvc")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _refuse_place(top: Path, path: Path, target: str) -> None:
    """Refuse a target that is no place for data in the repository."""
    if not path.is_relative_to(top):
        raise InputError(f"the target {target!r} leads to {path}, outside of the repository {top}", "name a path in it")
    if path == top or {".git", ".dvc"} & set(path.relative_to(top).parts):
        raise InputError(f"{path} is the repository's own, and no place for data", "name a folder for the data in it")


def _refuse_empty(folder: Path) -> None:
    """Refuse a folder that no run could read once it is committed."""
    if folder.is_dir() and not any(
        path.is_file() and not any(map(hidden, path.relative_to(folder).parts)) for path in folder.rglob("*")
    ):
        raise InputError(f"the folder {str(folder)!r} holds no files", "names that start with . or _ do not count")


def _refuse_lost(repo: Any, top: Path, path: Path) -> None:
    """Refuse to replace what DVC does not have: it would be gone."""
    if not path.exists():
        return
    if git(top, "ls-files", "-z", "--", str(path)):
        raise InputError(f"{path} is Git's, or holds files that are", "name another path")
    out = next((out for out in tracked(repo, str(path)) if out.fs_path == str(path)), None)
    if out is None:
        raise InputError(
            f"{path} is there, and DVC does not track it: what it holds would be lost",
            "move it away or `dvc add` it first, or name another path",
        )
    if out.workspace_status():
        raise InputError(
            f"{path} is not as DVC has it: what is new there would be lost",
            "`dvc add` it to keep that, or `dvc checkout --force` it to give that up; then push again",
        )


def _refuse_others(top: Path, files: list[str], name: str) -> None:
    """Refuse where the commit would take in changes that are not this push's."""
    staged = git(top, "diff", "--cached", "--name-only", "-z", "--", *files).split("\0")[:-1]
    ours = {f"/{name}", f"/{name}/"}
    changed = [file for file in files if file.endswith(".gitignore") and not _changed_lines(top, file) <= ours]
    if theirs := sorted({*staged, *changed}):
        raise InputError(
            f"{listed(theirs)} in {top} {'has' if len(theirs) == 1 else 'have'} changes that are not committed, "
            "and would be committed with this push",
            "commit them first, or push with --no-commit",
        )


def _changed_lines(top: Path, file: str) -> set[str]:
    """Lines that a file has gained or lost since HEAD."""
    if not uncommitted(top, [file]):
        return set()
    if not git(top, "ls-files", "--", file).strip():
        return set((top / file).read_text().split("\n")) - {""}
    found = git(top, "diff", "HEAD", "--unified=0", "--", file)
    return set(re.findall(r"^[+-](?![+-]{2} )(.+)$", found, re.MULTILINE))

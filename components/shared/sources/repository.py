"""Git repositories by path or URL: which commit is meant, and where its objects can be read."""

import fcntl
import hashlib
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kfp_ratchet.components.shared.errors import InputError, RatchetError, disk_trouble
from kfp_ratchet.components.shared.names import suggestion
from kfp_ratchet.components.shared.sources.fetching import fetched_folder

_SCP = re.compile(r"[^/@:]+@[^/:]+:.*")
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ALL = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")


@dataclass(frozen=True)
class Commit:
    """A commit, and where Git finds it."""

    sha: str
    folder: Path
    """A working tree, or a bare repository."""
    within: str
    """Path of the named folder below the top of the repository; "" when it is the top."""
    worktree: Path | None
    """Top of the working tree, None when there is none."""


def commit_at(repository: str, rev: str, fresh: bool = True) -> Commit:
    """The commit that a revision stands for.

    Args:
        repository: A folder in a repository, a bare repository or a URL. What a URL leads to is cloned once, without history where that
            is possible, and kept.
        rev: Branch, tag or commit; HEAD, for a URL that of the default branch, when empty.
        fresh: Ask a URL anew; else what was kept the last time will do.

    Raises:
        InputError: There is no repository, or it has no such revision.
        RatchetError: It cannot be read, or Git is not installed.
    """
    if "://" in repository or _SCP.fullmatch(repository):
        return _cloned(repository, rev, fresh)
    folder = Path(repository).expanduser()
    if not folder.is_dir():
        raise InputError(f"there is no folder {repository!r}", "name a Git repository: a folder or a URL")
    found = git(folder, "rev-parse", "--is-bare-repository", wrong=f"{repository!r} is not a Git repository").strip()
    if found == "true":
        return Commit(_resolve(folder, repository, rev or "HEAD"), folder, "", None)
    top = Path(git(folder, "rev-parse", "--show-toplevel").rstrip("\n"))
    within = git(folder, "rev-parse", "--show-prefix").rstrip("\n").strip("/")
    return Commit(_resolve(folder, repository, rev or "HEAD"), top, within, top)


def uncommitted(worktree: Path, paths: Sequence[str]) -> list[str]:
    """Those of some files of a working tree that are not as in HEAD; relative to its top."""
    if not paths:
        return []
    state = git(worktree, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", *paths)
    return [line[3:] for line in state.split("\0") if line]


def git(folder: Path, *arguments: str, wrong: str = "", env: dict[str, str] | None = None) -> str:
    """What a Git command prints.

    Args:
        folder: Where it works.
        arguments: The command.
        wrong: What it means when it fails.
        env: More environment.

    Raises:
        RatchetError: It failed, or Git is not installed. An `InputError` where `wrong` says what the reader mistook.
    """
    command = ["git", "-C", str(folder), *arguments]
    # It must never wait for a password, and speak the language that is understood here.
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", **(env or {})}
    if "GIT_SSH_COMMAND" not in environment:
        environment["GIT_SSH_COMMAND"] = "ssh -oBatchMode=yes"
    try:
        done = subprocess.run(command, env=environment, capture_output=True, check=False)  # noqa: S603
    except FileNotFoundError:
        raise RatchetError("git is not installed", "install it: dvc:// sources are Git repositories") from None
    if not done.returncode:
        return os.fsdecode(done.stdout)
    said = os.fsdecode(done.stderr).strip()
    if "dubious ownership" in said:
        raise InputError(f"Git does not trust {folder}: it belongs to someone else", _last_command(said))
    if wrong:
        raise InputError(wrong, "name a Git repository: a folder or a URL")
    lines = said.splitlines() or [f"exit code {done.returncode}"]
    # What follows the error is advice, of several lines.
    told = next((line for line in lines if line.startswith(("fatal: ", "error: "))), lines[-1])
    trouble = RatchetError(f"git {arguments[0]} in {folder} failed: {told}")
    raise RatchetError(trouble.message, disk_trouble(OSError(said)) or "mend that, then run it again") from None


def _last_command(said: str) -> str:
    found = re.search(r"git config .*", said)
    return found[0] if found else "see `git help config`, safe.directory"


def _resolve(folder: Path, repository: str, rev: str) -> str:
    try:
        return git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}").strip()
    except RatchetError:
        names = git(folder, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags", "refs/remotes")
        raise _unknown(repository, rev, names.splitlines()) from None


def _unknown(repository: str, rev: str, names: list[str]) -> InputError:
    if rev == "HEAD" and not names:
        return InputError(f"the Git repository {repository} has no commit yet", "commit first")
    return InputError(f"the Git repository {repository} has no revision {rev!r}", suggestion(rev, names, most=10))


def _cloned(url: str, rev: str, fresh: bool) -> Commit:
    """A commit of a remote repository, in a bare clone of it that grows by what is asked for."""
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    clone = fetched_folder() / "git" / name
    kept = f"refs/ratchet/{hashlib.sha256(rev.encode()).hexdigest()[:16]}"
    with _alone(clone):
        if not (clone / "HEAD").is_file():
            git(clone, "init", "--quiet", "--bare", ".")
        if not (_has(clone, rev) if _SHA.fullmatch(rev) else not fresh and _has(clone, kept)):
            _fetch(clone, url, rev, kept)
        sha = rev if _SHA.fullmatch(rev) else git(clone, "rev-parse", "--verify", f"{kept}^{{commit}}").strip()
    return Commit(sha, clone, "", None)


def _has(clone: Path, rev: str) -> bool:
    try:
        git(clone, "cat-file", "-e", f"{rev}^{{commit}}")
    except RatchetError:
        return False
    return True


def _fetch(clone: Path, url: str, rev: str, kept: str) -> None:
    """Get a revision alone, or, where the server does not know it by this name, all there is."""
    options = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head")
    try:
        git(clone, *options, "--depth=1", "--end-of-options", url, f"+{rev or 'HEAD'}:{kept}")
    except RatchetError as error:
        try:
            names = [line.split("\t")[1] for line in git(clone, "ls-remote", "--refs", url).splitlines()]
        except RatchetError:
            raise RatchetError(
                f"the Git repository {url} cannot be read: {error.message.partition('failed: ')[2]}",
                "check the address, your rights (Git's own: an SSH key, a credential helper) and the network",
            ) from error
        git(clone, *options, "--depth=2147483647", "--end-of-options", url, *_ALL)
        try:
            sha = _resolve(clone, url, rev)
        except InputError:
            raise _unknown(url, rev or "HEAD", [name.split("/", 2)[2] for name in names]) from None
        git(clone, "update-ref", kept, sha)


@contextmanager
def _alone(clone: Path) -> Iterator[None]:
    """Two steps on one machine may want the same clone."""
    try:
        clone.mkdir(parents=True, exist_ok=True)
        lock = (clone.parent / f"{clone.name}.lock").open("w")
    except OSError as error:
        raise RatchetError(
            f"{clone} cannot be written: {error.strerror}", disk_trouble(error) or "check the folder"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

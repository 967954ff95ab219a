"""Files and folders that DVC tracks: Git and DVC say which bytes they are, DVC's remote holds them."""

import hashlib
import json
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from kfp_ratchet.components.shared.errors import InputError, RatchetError, disk_trouble
from kfp_ratchet.components.shared.names import listed, suggestion
from kfp_ratchet.components.shared.sources.dvc_outputs import PUSH, Output, outputs, tracked, within
from kfp_ratchet.components.shared.sources.dvc_remotes import Remote, open_remote, wanted
from kfp_ratchet.components.shared.sources.fetching import Wanted
from kfp_ratchet.components.shared.sources.repository import Commit, commit_at, uncommitted
from kfp_ratchet.components.shared.sources.source import FileEntry, Memory, entries, hidden, listing

_FORM = "write dvc://<folder or URL of a Git repository>@<branch, tag or commit>:<path in it>"
_URI = re.compile(
    r"""dvc://
    (?P<repository>
        [A-Za-z][A-Za-z0-9+.-]*://[^/]*(?:/[^@:]*)?   # a URL; its host may hold a user and a port
      | [^/@:]+@[^/:]+:[^@:]+                         # user@host:path
      | [^@:]+                                        # a folder
    )
    (?:@(?P<rev>[^:\s-][^:\s]*))?
    :(?P<path>.+)""",
    re.VERBOSE | re.DOTALL,
)
_T = TypeVar("_T")


def parse_tracked(uri: str) -> tuple[str, str, str]:
    """Repository, revision ("" when none is named) and path of a `dvc://` URI.

    Raises:
        InputError: It is none, or leads out of the repository.
    """
    match = _URI.fullmatch(uri)
    if not match:
        raise InputError(f"{uri!r} cannot be read as repository, revision and path", _FORM)
    path = posixpath.normpath(match["path"].strip("/"))
    if path.startswith(".."):
        raise InputError(f"{uri!r} leads out of the repository", _FORM)
    return match["repository"], match["rev"] or "", path


class Tracked:
    """`dvc://<repository>[@<revision>]:<path>`: a tracked file or folder, a part of one, or a folder above several.

    The repository is a folder (relative ones count from the working directory) or a URL of Git's; the revision is a branch, tag or
    commit, else HEAD (of a URL's default branch). Without one, a folder's tracked data must be as committed: what trains is never
    something that nobody can find again. Only what DVC tracks counts, also outputs of its pipelines; files that Git holds itself do
    not, nor names that start with `.` or `_`.

    Versions are DVC's md5: the same data is the same revision in every remote and commit, though another one than that of a plain
    folder with the same bytes, whose versions are sha256. Bytes come from the remote, not through DVC's cache: from S3 by many requests
    at once, of a folder's remote they are used where they lie, others (Google, Azure, HTTP, SSH) are fetched by DVC's file systems in
    threads, which is slower. Every file is verified. Listing reads no data; it asks the remote for sizes that it does not know yet.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._repository, self._rev, self._path = parse_tracked(uri)
        self._commit: Commit | None = None

    @property
    def origin(self) -> str:
        """See `Source`."""
        return f"commit {self._commit.sha}" if self._commit else ""

    def listing(self, memory: Memory) -> pl.DataFrame:
        """See `Source`."""
        with self._told():
            self._open(fresh=True)
            found = outputs(self._repo, self._target)
            if not self._rev and self._at.worktree:
                self._refuse_uncommitted(found)
            if not found:
                raise self._not_tracked()
            files = [file for output in found for file in self._files(output)]
            rows = listing(self._sized(files, memory))
        if rows.is_empty():
            raise InputError(f"{self.uri} holds no files", "check the path, or `dvc add` the data")
        return rows

    def fetch(self, files: pl.DataFrame, say: Callable[[str], None]) -> list[Path]:
        """See `Source`."""
        with self._told():
            self._open(fresh=False)
            return self._by_remote(files, lambda remote, objects: remote.fetch(objects, self._unpinned, say))

    def tails(self, files: pl.DataFrame, size: int) -> list[bytes]:
        """See `Source`."""
        with self._told():
            self._open(fresh=False)
            return self._by_remote(files, lambda remote, objects: remote.tails(objects, size))

    def name(self, path: str) -> str:
        """See `Source`."""
        return self._named(self.uri, path)

    def _named(self, uri: str, path: str) -> str:
        return uri if path == posixpath.basename(self._path) else f"{uri}/{path}"

    @property
    def _unpinned(self) -> str:
        """What is fetched is kept by it: revisions share their files, and those of old ones are tidied up."""
        return f"dvc://{self._repository}:{self._path}"

    @property
    def _at(self) -> Commit:
        assert self._commit
        return self._commit

    @property
    def _target(self) -> str:
        """What the path means from the top of the Git repository."""
        return posixpath.normpath(posixpath.join("/", self._at.within, self._path))

    def _open(self, fresh: bool) -> None:
        self._commit = self._commit or commit_at(self._repository, self._rev, fresh)

    @cached_property
    def _repo(self) -> Any:
        """DVC's view of the commit."""
        from dvc.fs import GitFileSystem
        from dvc.repo import Repo
        from dvc.scm import SCM

        scm = SCM(str(self._at.folder))
        files = GitFileSystem(scm=scm, rev=self._at.sha)
        root = next((folder for folder in _upwards(self._target) if files.isdir(posixpath.join(folder, ".dvc"))), None)
        if root is None:
            raise InputError(
                f"the Git repository {self._repository} has no DVC at {self._at.sha[:8]}",
                "run `dvc init` there and commit, or name another revision",
            )
        return Repo(root, fs=files, scm=scm)

    @cached_property
    def _config(self) -> Any:
        """DVC's settings. Those of a working tree count, as for `dvc pull`: there relative and private ones (config.local) are right."""
        from dvc.config import Config

        folder = self._dvc_folder
        return Config(str(folder / ".dvc")) if folder else self._repo.config

    @property
    def _dvc_folder(self) -> Path | None:
        """Top of DVC's repository in the working tree; None when there is none."""
        folder = self._at.worktree and self._at.worktree / self._repo.root_dir.strip("/")
        return folder if folder and (folder / ".dvc").is_dir() else None

    def _files(self, output: Output) -> Iterator[tuple[Output, str, str]]:
        """Output, path in the source and version of the files of an output that belong to the source."""
        if not output.version:
            raise InputError(
                f"{output.path.lstrip('/')} has no content yet at {self._at.sha[:8]}",
                "run `dvc repro`, then commit dvc.lock",
            )
        if not output.is_folder:
            name = posixpath.relpath(output.path, self._target)
            if name == ".":
                yield output, posixpath.basename(output.path), output.version
            elif not any(map(hidden, name.split("/"))):
                yield output, name, output.version
            return
        kind = output.version.partition(":")[0]
        for one in self._tree(output):
            path = posixpath.join(output.path, one["relpath"])
            if path == self._target:
                yield output, posixpath.basename(path), f"{kind}:{one['md5']}"
            elif within(path, self._target):
                name = posixpath.relpath(path, self._target)
                if not any(map(hidden, name.split("/"))):
                    yield output, name, f"{kind}:{one['md5']}"

    def _tree(self, output: Output) -> list[dict[str, Any]]:
        """The list of a tracked folder's files, which DVC keeps beside them."""
        value = output.version.partition(":")[2]
        content = self._cached(value)
        if content is None:
            content = self._remote(output.remote).read(output.version)
        shown = f"the list of files of {output.path.lstrip('/')} (md5 {value})"
        if content is None:
            raise RatchetError(f"{shown} is not in the DVC remote", output.remedy)
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != value.removesuffix(".dir"):
            raise RatchetError(f"{shown} in the DVC remote has another md5", f"delete it there, then {PUSH}")
        return list(json.loads(content))

    def _cached(self, value: str) -> bytes | None:
        """From the cache of the working tree; None when it is not there whole."""
        cache = self._repo.cache.local
        path = Path(cache.oid_to_path(value)) if cache else None
        if path is None or not path.is_file():
            return None
        content = path.read_bytes()
        whole = hashlib.md5(content, usedforsecurity=False).hexdigest() == value.removesuffix(".dir")
        return content if whole else None

    def _sized(self, found: list[tuple[Output, str, str]], memory: Memory) -> Iterator[FileEntry]:
        """Entries with their sizes, which only the remote tells of all; that says as well whether it has them."""
        known: dict[str, int | None] = {}
        unknown: dict[str, dict[str, tuple[str, Output]]] = {}
        for output, path, version in found:
            before = memory.recall(f"bytes of {version}")
            known[version] = int(before) if before is not None else None
            if before is None:
                unknown.setdefault(output.remote, {}).setdefault(version, (path, output))
        for name, versions in unknown.items():
            sizes = self._remote(name).sizes(list(versions))
            missing = [version for version, size in zip(versions, sizes, strict=True) if size is None]
            if missing:
                path, output = versions[missing[0]]
                more = f", and {len(missing) - 1:,} more are not" if len(missing) > 1 else ""
                raise RatchetError(f"{self.name(path)} ({missing[0]}) is not in the DVC remote{more}", output.remedy)
            for version, size in zip(versions, sizes, strict=True):
                known[version] = size
                memory.keep(f"bytes of {version}", str(size))
        for _, path, version in found:
            yield FileEntry(path, known[version] or 0, version)

    def _by_remote(self, files: pl.DataFrame, work: Callable[[Remote, list[Wanted]], Iterable[_T]]) -> list[_T]:
        """What is got for each file from the remote that holds it."""
        own = [(output.path, output.remote) for output in outputs(self._repo, self._target) if output.remote]
        parts: dict[str, list[FileEntry]] = {}
        for entry in entries(files):
            path = posixpath.join(self._target, entry.path)
            of = (name for above, name in own if within(path, above) or within(self._target, above))
            parts.setdefault(next(of, ""), []).append(entry)
        found: dict[str, _T] = {}
        for name, part in parts.items():
            got = work(self._remote(name), [self._wanted(entry) for entry in part])
            found |= {entry.path: one for entry, one in zip(part, got, strict=True)}
        return [found[path] for path in files["path"]]

    def _remote(self, name: str) -> Remote:
        if name not in self._remotes:
            config = self._config
            chosen = name or config["core"].get("remote", "")
            if not chosen:
                there = ", ".join(config["remote"])
                raise InputError(
                    f"the DVC repository {self._repository} has no default remote",
                    f"there is {there}: run `dvc remote default {there.split(', ')[0]}` and commit"
                    if there
                    else "run `dvc remote add --default NAME URL` and `dvc push`, then commit",
                )
            if chosen not in config["remote"]:
                raise InputError(
                    f"the DVC repository {self._repository} has no remote {chosen!r}",
                    suggestion(chosen, config["remote"]),
                )
            self._remotes[name] = open_remote(config, chosen)
        return self._remotes[name]

    @cached_property
    def _remotes(self) -> dict[str, Remote]:
        return {}

    def _wanted(self, entry: FileEntry) -> Wanted:
        shown = f"{self._named(self._unpinned, entry.path)} ({entry.version})"
        return wanted(entry.version, shown, entry.size, f"if it is damaged in the remote, delete it there; {PUSH}")

    def _refuse_uncommitted(self, committed: list[Output]) -> None:
        """Whoever names no revision means what lies there: it must be what is committed."""
        from dvc.repo import Repo

        top, folder = self._at.worktree, self._dvc_folder
        if not top or not folder:
            return
        with Repo(str(folder)) as workspace:
            here = outputs(workspace, self._target, str(top))
            files = {file for output in (*committed, *here) for file in output.described}
            changed = uncommitted(top, sorted(files))
            for out in tracked(workspace, self._target, str(top)):
                changed += [
                    out.fs_path.removeprefix(f"{top}/")
                    for state in out.workspace_status().values()
                    if state != "deleted"
                ]
        if changed:
            raise InputError(
                f"{listed(changed)} in {self._repository} {'is' if len(changed) == 1 else 'are'} not as committed",
                "commit (after `dvc add`, where data changed, and `dvc push`), or name a revision such as @HEAD",
            )

    def _not_tracked(self) -> InputError:
        shown = self._target.lstrip("/")
        if self._repo.fs.exists(self._target) and not self._repo.fs.isdir(self._target):
            return InputError(
                f"{shown} is a file of Git's, not tracked by DVC, at {self._at.sha[:8]}",
                "`dvc add` it, or give its path without dvc://",
            )
        known = [out.fs_path.lstrip("/") for out in tracked(self._repo, "/")]
        return InputError(
            f"DVC tracks nothing at {shown!r} in {self._repository} at {self._at.sha[:8]}",
            suggestion(shown, known, most=10),
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """DVC's errors as ours."""
        try:
            from dvc.exceptions import DvcException
        except ImportError:
            raise InputError(
                f"source {self.uri!r} needs DVC, which is not installed", "pip install 'kfp-ratchet[dvc]'"
            ) from None
        try:
            yield
        except DvcException as error:
            said = " ".join(str(error).split())
            raise RatchetError(f"{self.uri} cannot be read: {said}", "try the same with `dvc` itself") from error
        except OSError as error:
            remedy = disk_trouble(error) or "check your rights to the repository"
            raise RatchetError(f"{self.uri} cannot be read: {error}", remedy) from error


def _upwards(path: str) -> Iterator[str]:
    """A path and the folders above it."""
    while True:
        yield path
        if path == "/":
            return
        path = posixpath.dirname(path)

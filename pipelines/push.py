"""Snapshots of a folder: into a bucket that keeps versions, or into DVC."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kfp_ratchet.components.shared.credentials import refuse_credentials
from kfp_ratchet.components.shared.errors import InputError


@dataclass(frozen=True)
class Pushed:
    """What a push left."""

    source: str
    """URI for `ratchet.yaml`."""
    revision: str
    """What a run that starts now would pin, if this is its only table; "" when that is not known before someone commits."""
    files: int
    bytes: int
    """Of all files."""
    uploaded: int | None = None
    """Files that the bucket did not have like this; None where DVC keeps count."""
    removed: int = 0
    left: int = 0
    """Objects that the folder does not have, and that are part of the revision."""
    commit: str = ""
    """The commit that holds the data's description, with DVC."""
    to_commit: tuple[str, ...] = ()
    """Files that are left to be committed, with DVC."""
    warning: str = ""


def push(
    folder: Path,
    target: str,
    *,
    mirror: bool = False,
    unversioned: bool = False,
    commit: bool = True,
    yes: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Pushed:
    """Push a folder or file.

    Args:
        folder: What to push.
        target: `s3://bucket/prefix`; `dvc://<folder of a repository>:<path in it>`; or `dvc`: the repository that the folder lies in.
        mirror: Remove from the bucket what the folder does not have.
        unversioned: Take a bucket that keeps no versions.
        commit: Commit what DVC wrote.
        yes: Let `mirror` remove more objects than the folder has files.
        say: Told about progress.

    Raises:
        InputError: The folder or the target cannot be used.
        RatchetError: Something could not be pushed.
    """
    refuse_credentials(target, "the target")
    if not folder.exists():
        raise InputError(f"there is no file or folder {str(folder)!r}", "name what to push")
    if target.startswith(("s3://", "s3a://")):
        if not commit:
            raise InputError("--no-commit is for DVC, and the target is a bucket", "leave it out")
        from kfp_ratchet.pipelines.push_bucket import push_to_bucket

        return push_to_bucket(folder, target, mirror, unversioned, yes, say)
    if target == "dvc" or target.startswith("dvc://"):
        if mirror or unversioned:
            raise InputError(
                "--mirror and --unversioned are for buckets, and the target is DVC", "leave them out: DVC keeps all"
            )
        from kfp_ratchet.pipelines.push_dvc import push_to_dvc

        return push_to_dvc(folder, target, commit, say)
    raise InputError(
        f"the target {target!r} cannot be pushed to",
        "write s3://bucket/prefix, dvc://<folder of a repository>:<path in it>, or dvc for a folder inside of a repository",
    )

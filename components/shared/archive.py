"""The archive: evidence and decisions in the store, each under its digest, so that any decision of the past can be taken again.

`evidence/<hex>/<file>` and `decisions/<hex>.json`. Nothing is ever replaced: whoever keeps the same evidence twice, or goes on after a
kill, adds what is missing. `files.json` is written last and holds the digest of each file, so a folder without one is incomplete; two
writers make the same one, since it speaks of what lies in the store, not of what the writer brought (operations are measured with a clock,
so two runs whose evidence has the same digest may differ in them: the first ones stay).
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from kfp_ratchet.components.shared.canonical import digest as digest_of
from kfp_ratchet.components.shared.canonical import digest_file, dumps, loads
from kfp_ratchet.components.shared.decision import Decision
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.evidence import digest_of_files, file_digests
from kfp_ratchet.components.shared.store import Store

_ROWS = "rows.parquet"
_FILES = "files.json"


def keep_evidence(store: Store, folder: Path, digest: str) -> None:
    """Copy a folder of evidence into the archive; memory stays bounded however large it is.

    Args:
        store: The project's store.
        folder: What `evaluate` wrote.
        digest: `Decision.evidence_digest`; "" (evidence that could not be read) keeps nothing.

    Raises:
        RatchetError: The folder is not what the digest speaks of, or the store cannot be reached.
    """
    if not digest or store.get(_evidence_key(digest, _FILES)) is not None:
        return
    try:
        files = file_digests(folder)
    except FileNotFoundError:
        files = {}
    if not _is(files, digest):
        raise RatchetError(
            f"the evidence {folder} is not what the decision was taken on ({digest})",
            "pass the evidence that the gate judged; if it was changed since, run evaluate and gate again",
        )
    kept = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        key = _evidence_key(digest, path.name)
        if path.name == _ROWS:
            # May be gigabytes, and goes in parts, which no condition can be put on: all writers bring the same bytes.
            if store.size(key) != path.stat().st_size:
                store.upload(key, path)
            kept[path.name] = files[path.name]
        else:
            content = path.read_bytes()
            there = content if store.create(key, content) else store.get(key)
            kept[path.name] = digest_of(there or b"")
    store.create(_evidence_key(digest, _FILES), dumps(kept).encode())


def fetch_evidence(store: Store, digest: str, into: Path) -> Path:
    """Copy evidence out of the archive, every file verified.

    Args:
        store: The project's store.
        digest: `Decision.evidence_digest`.
        into: Folder to make; what is in it already is replaced.

    Returns:
        The folder, as `evaluate` wrote it.

    Raises:
        RatchetError: It is not in the archive, was never kept whole, or was changed there.
    """
    place = f"{store.uri.rstrip('/')}/{_evidence_key(digest, '')}"
    content = store.get(_evidence_key(digest, _FILES)) if digest else None
    if content is None:
        raise RatchetError(
            f"the archive at {store.uri} has no evidence {digest or '(none)'}",
            "register keeps it there; runs of versions before that, and those that could not read their evidence, kept none",
        )
    into.mkdir(parents=True, exist_ok=True)
    files = _listed(content, place)
    for name, expected in files.items():
        target = into / name
        if not store.download(_evidence_key(digest, name), target):
            raise _damaged(place, f"{name} is missing")
        if digest_file(target) != expected:
            raise _damaged(place, f"{name} was changed since it was kept")
    if not _is(files, digest):
        raise _damaged(place, f"its files are not what {digest} speaks of")
    return into


def evidence_file(store: Store, digest: str, name: str) -> bytes | None:
    """One small file of archived evidence, verified; None when the archive does not have it.

    Raises:
        RatchetError: It was changed there.
    """
    listed = store.get(_evidence_key(digest, _FILES)) if digest else None
    content = store.get(_evidence_key(digest, name)) if listed is not None else None
    if listed is None or content is None:
        return None
    place = f"{store.uri.rstrip('/')}/{_evidence_key(digest, '')}"
    if digest_of(content) != _listed(listed, place).get(name):
        raise _damaged(place, f"{name} was changed since it was kept")
    return content


def has_evidence(store: Store, digest: str) -> bool:
    """Whether evidence lies in the archive, whole."""
    return bool(digest) and store.get(_evidence_key(digest, _FILES)) is not None


def keep_decision(store: Store, path: Path, digest: str) -> None:
    """Copy a decision file into the archive.

    Args:
        store: The project's store.
        path: The file that the gate wrote.
        digest: Digest of its bytes.

    Raises:
        RatchetError: The store cannot be reached.
    """
    store.create(_decision_key(digest), path.read_bytes())


def read_decision(store: Store, digest: str) -> Decision | None:
    """A decision of the past; None when the archive has none under this digest.

    Raises:
        RatchetError: It was changed there.
    """
    content = store.get(_decision_key(digest)) if digest else None
    if content is None:
        return None
    place = f"{store.uri.rstrip('/')}/{_decision_key(digest)}"
    if digest_of(content) != digest:
        raise _damaged(place, "it was changed since it was kept")
    try:
        return Decision.model_validate(loads(content))
    except ValueError as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise _damaged(place, f"it is no decision that this version can read ({said})") from error


def _is(files: Mapping[str, str], digest: str) -> bool:
    """Whether files of these digests are the evidence that a digest speaks of."""
    try:
        return digest in (digest_of_files(files), digest_of_files(files, operations=True))
    except KeyError:
        return False


def _listed(content: bytes, place: str) -> dict[str, str]:
    try:
        files = {str(name): str(digest) for name, digest in loads(content).items()}
    except (ValueError, AttributeError) as error:
        raise _damaged(place, f"{_FILES} is not readable ({error})") from error
    if foreign := [name for name in files if PurePosixPath(name).name != name or name == ".."]:
        raise _damaged(place, f"{_FILES} names {foreign[0]!r}, which is no file of it")
    return files


def _damaged(place: str, problem: str) -> RatchetError:
    return RatchetError(
        f"the archive is damaged at {place}: {problem}",
        "restore that object from a backup or an older version of the bucket; the ledger and what is live do not depend on it",
    )


def _evidence_key(digest: str, name: str) -> str:
    return f"evidence/{digest.partition(':')[2]}/{name}"


def _decision_key(digest: str) -> str:
    return f"decisions/{digest.partition(':')[2]}.json"

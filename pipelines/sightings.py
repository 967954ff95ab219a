"""Which models have seen an object: for deletion requests, and for batches that turn out to be poisoned."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import unquote

from kfp_ratchet.components.shared.entry import JUDGED, Entry
from kfp_ratchet.components.shared.errors import InputError, RatchetError
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.lineage import Lineage, versions
from kfp_ratchet.components.shared.manifest import Manifest, short
from kfp_ratchet.components.shared.sources import parse_source
from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.pipelines.project import Project
from kfp_ratchet.pipelines.tracing import Reign, reigns

if TYPE_CHECKING:
    import polars as pl

_HEX = re.compile(r"[0-9a-f]{8,}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True)
class Listed:
    """An object as a manifest lists it."""

    table: str
    path: str
    size: int
    version: str


@dataclass(frozen=True)
class Sighting:
    """A version that was made from data which held the object.

    Attributes:
        model: Registered name.
        version: Its version.
        verdict: What the gate said of it: promote if ever, else its last word.
        time: When it was judged, or registered; UTC, ISO 8601.
        reigns: When it was champion, oldest first.
        revision: Of the data.
        objects: What was asked for, as the manifest lists it; empty when the revision was.
    """

    model: str
    version: str
    verdict: str
    time: str
    reigns: tuple[Reign, ...]
    revision: str
    objects: tuple[Listed, ...]


@dataclass(frozen=True)
class _Use:
    """A revision that a version was made from or judged on."""

    model: str
    version: str
    verdict: str
    time: str
    reigns: tuple[Reign, ...]
    source: str


def sightings(project: Project, models: Iterable[str], what: str) -> tuple[list[Sighting], list[str]]:
    """The versions of some models whose data held an object; and what could not be searched, in sentences.

    Every manifest is read once, and never as a whole.

    Args:
        project: The project, whose folder relative sources count from.
        models: Names of models.
        what: An object's path within a source, its whole URI or path, or its version (ETag, digest, id); with a slash at the end, all
            objects below it; or a revision. Of digests and revisions the first eight hex digits are enough.

    Raises:
        InputError: `what` is blank.
        RatchetError: A ledger is damaged.
    """
    what, notes = what.strip().strip('"'), list[str]()
    if not what:
        raise InputError("no object is named", "give a path, a URI, a version or a revision")
    uses: dict[str, list[_Use]] = {}
    for model in models:
        for revision, use in _uses(project, model, notes):
            uses.setdefault(revision, []).append(use)
    found: list[Sighting] = []
    for revision, users in uses.items():
        asked = what.removeprefix("sha256:")
        if _HEX.fullmatch(asked) and revision.removeprefix("sha256:").startswith(asked):
            found += [_sighting(use, revision, ()) for use in users]
            continue
        named = {place for use in users for place in _places(what, use.source, project)}
        try:
            objects = _listed(project.store, revision, what, named)
        except RatchetError as error:
            told = ", ".join(dict.fromkeys(f"v{use.version} of {use.model}" for use in users))
            notes.append(f"{error.message}: whether {told} saw it cannot be told")
            continue
        found += [_sighting(use, revision, objects) for use in users if objects]
    return sorted(found, key=lambda one: (one.model, int(one.version) if one.version.isdecimal() else 0)), notes


def _sighting(use: _Use, revision: str, objects: tuple[Listed, ...]) -> Sighting:
    return Sighting(use.model, use.version, use.verdict, use.time, use.reigns, revision, objects)


def _uses(project: Project, model: str, notes: list[str]) -> Iterator[tuple[str, _Use]]:
    """Each revision that a version of a model was made from, or judged on in any run, once."""
    store = project.store
    entries = Ledger(store, model).entries()
    kept: dict[str, Lineage] = {}
    for version in versions(store, model):
        try:
            lineage = Lineage.load(store, model, version)
        except RatchetError as error:
            notes.append(error.message)
            continue
        if lineage is not None:
            kept[version] = lineage
    judged: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.kind in JUDGED and entry.version:
            judged.setdefault(entry.version, []).append(entry)
    for version in dict.fromkeys([*kept, *judged]):
        lineage, about = kept.get(version), judged.get(version, [])
        # A champion that is judged against itself is rejected as unchanged, and was promoted all the same.
        kinds: list[str] = [entry.kind for entry in about] or [lineage.verdict if lineage else ""]
        verdict = "promote" if "promote" in kinds else kinds[-1]
        time = about[-1].time if about else lineage.time if lineage else ""
        seen = [lineage.revision if lineage else "", *(entry.revision for entry in about)]
        source = lineage.source if lineage else str(project.config.parameters()["source"])
        if lineage is None:
            notes.append(
                f"no lineage of v{version} of {model} is kept: its data is taken to be where ratchet.yaml says"
            )
        use = _Use(model, version, verdict, time, tuple(reigns(entries, version)), source)
        for revision in dict.fromkeys(filter(None, seen)):
            yield revision, use


def _listed(store: Store, revision: str, what: str, named: Iterable[tuple[str, str]]) -> tuple[Listed, ...]:
    """What a manifest lists of an object.

    Raises:
        RatchetError: No manifest of that revision is kept, or it cannot be read.
    """
    import polars as pl

    with TemporaryDirectory() as scratch:
        file = Path(scratch, "manifest.parquet")
        if not store.download(Manifest.key(revision), file):
            raise RatchetError(f"no manifest of revision {short(revision)} is kept")
        try:
            rows = pl.scan_parquet(file).filter(_is(what, named)).collect(engine="streaming")
        except (pl.exceptions.PolarsError, OSError) as error:
            raise RatchetError(f"the manifest of revision {short(revision)} cannot be read: {error}") from error
    return tuple(Listed(**row) for row in rows.iter_rows(named=True))


def _is(what: str, named: Iterable[tuple[str, str]]) -> "pl.Expr":
    """Whether a line of a manifest is the object: by its path, its place (table and path), or its version."""
    import polars as pl

    path, version = pl.col("path"), pl.col("version")
    alike = [version == what, version.str.ends_with(f":{what}"), _at(path, what)]
    if _HEX.fullmatch(what):
        alike.append(version.str.contains(f":{what}", literal=True))
    alike += [(pl.col("table") == table) & _at(path, rest) for table, rest in named]
    return pl.any_horizontal(alike)


def _at(path: "pl.Expr", wanted: str) -> "pl.Expr":
    return path.str.starts_with(wanted) if wanted.endswith("/") or not wanted else path == wanted


def _places(what: str, source: str, project: Project) -> Iterator[tuple[str, str]]:
    """Table and path within it of an object that is named by its whole URI, by the end of its key, or by a path on this machine."""
    try:
        tables = parse_source(source) if source else {}
    except RatchetError:
        return
    for table, uri in tables.items():
        bases = {uri.rstrip("/")}
        asked = {what}
        # The end of an object's key, from wherever its reader knows it: bucket/prefix/file, prefix/file, file.
        address = _SCHEME.sub("", uri).rstrip("/")
        bases |= {address[start:] for start in (0, *(mark.end() for mark in re.finditer(r"[/:]", address)))}
        if "://" not in uri or uri.startswith("file://"):
            bases |= {project.within(unquote(uri.removeprefix("file://"))).rstrip("/")}
            folder = "/" if what.endswith("/") else ""
            asked |= {unquote(what.removeprefix("file://")), f"{Path(what.removeprefix('file://')).absolute()}{folder}"}
        for base in bases:
            for one in asked:
                if one == base:
                    yield table, base.rpartition("/")[2]
                elif one.startswith(f"{base}/"):
                    yield table, one.removeprefix(f"{base}/")

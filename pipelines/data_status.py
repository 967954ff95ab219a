"""What has changed in the source since the champion's data was pinned."""

from contextlib import chdir
from dataclasses import dataclass

import polars as pl

from kfp_ratchet.components.shared.entry import Entry
from kfp_ratchet.components.shared.ledger import Ledger
from kfp_ratchet.components.shared.manifest import Manifest, list_source
from kfp_ratchet.pipelines.project import Project


@dataclass(frozen=True)
class TableChanges:
    """Files of one table: path, size in bytes and version, in the order of the paths."""

    added: pl.DataFrame
    removed: pl.DataFrame
    """As they were."""
    changed: pl.DataFrame
    """As they are now."""

    @property
    def kinds(self) -> dict[str, pl.DataFrame]:
        """What there is of each kind of change."""
        kinds = {"added": self.added, "removed": self.removed, "changed": self.changed}
        return {kind: files for kind, files in kinds.items() if files.height}


@dataclass(frozen=True)
class DataStatus:
    """The source now, against what the champion was judged on."""

    model: str
    now: Manifest
    champion: Entry | None
    """The entry that made the champion, None before the first promotion."""
    changes: dict[str, TableChanges] | None
    """By table; None when the champion's manifest is not there to compare with."""

    @property
    def changed(self) -> bool:
        """Whether there is anything that the champion has not seen."""
        return self.champion is None or self.champion.revision != self.now.revision


def data_status(project: Project) -> DataStatus:
    """List a project's source, and compare with the champion's revision file by file.

    Raises:
        InputError: There is nothing at the source.
        RatchetError: The source cannot be listed, or what is kept in the store is damaged.
    """
    champion = Ledger(project.store, project.config.name).made()
    # Remembering digests is worth it where there is a store; looking at a fresh project leaves nothing behind.
    memory = project.store if champion else None
    with chdir(project.folder):
        now = list_source(str(project.config.parameters()["source"]), memory)
    before = Manifest.load(project.store, champion.revision) if champion and champion.revision else None
    return DataStatus(project.config.name, now, champion, compare(before, now) if before else None)


def compare(before: Manifest, now: Manifest) -> dict[str, TableChanges]:
    """Changes by table, of every table that either has."""
    none = next(iter(now.tables.values())).clear()
    return {
        name: _table_changes(before.tables.get(name, none), now.tables.get(name, none))
        for name in dict.fromkeys([*now.tables, *before.tables])
    }


def _table_changes(before: pl.DataFrame, now: pl.DataFrame) -> TableChanges:
    both = now.join(before, on="path", suffix="_before", maintain_order="left")
    differs = (pl.col("version") != pl.col("version_before")) | (pl.col("size") != pl.col("size_before"))
    return TableChanges(
        added=now.join(before, on="path", how="anti", maintain_order="left"),
        removed=before.join(now, on="path", how="anti", maintain_order="left"),
        changed=both.filter(differs).select(now.columns),
    )

"""The manifest: which files, byte for byte, a revision of the source is made of."""

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import polars as pl

from kfp_ratchet.components.shared.canonical import digest
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.names import counted as counted
from kfp_ratchet.components.shared.sources import Memory, open_source, parse_source
from kfp_ratchet.components.shared.sources.source import SCHEMA
from kfp_ratchet.components.shared.store import Store

_BLOCK_ROWS = 100_000


@dataclass(frozen=True)
class Manifest:
    """Listings by table, in the tables' order. Where the files lie is no part of it: moved data is the same data."""

    tables: dict[str, pl.DataFrame]
    """Columns path, size, version, in the order of the paths; see `FileEntry`."""
    origins: dict[str, str] = field(default_factory=dict, compare=False)
    """By table, which state of a moving reference was listed (see `Source`); known to whoever listed it, and no part of the revision."""

    @cached_property
    def revision(self) -> str:
        """Digest of all that is listed."""
        found = hashlib.sha256()
        for block in self._lines():
            found.update(block.encode())
        return f"sha256:{found.hexdigest()}"

    @property
    def files(self) -> int:
        """Number of files of all tables."""
        return sum(table.height for table in self.tables.values())

    @property
    def size(self) -> int:
        """Bytes of all tables."""
        return sum(int(table["size"].sum()) for table in self.tables.values())

    def keep(self, store: Store) -> None:
        """Keep it in the store under its revision; nothing happens when it is there."""
        content = io.BytesIO()
        pl.concat(
            table.select(pl.lit(name).alias("table"), *SCHEMA) for name, table in self.tables.items()
        ).write_parquet(content)
        store.create(self.key(self.revision), content.getvalue())

    @classmethod
    def load(cls, store: Store, revision: str) -> Self | None:
        """A kept manifest, None when there is none.

        Raises:
            RatchetError: What was kept does not belong to `revision`.
        """
        content = store.get(cls.key(revision))
        if content is None:
            return None
        try:
            rows = pl.read_parquet(content)
            tables = rows.partition_by("table", as_dict=True, include_key=False, maintain_order=True)
            manifest = cls({str(name): table for (name,), table in tables.items()})
            if manifest.revision == revision:
                return manifest
        except (pl.exceptions.PolarsError, OSError):
            pass
        raise RatchetError(
            f"{cls.key(revision)} in {store.uri} is not the manifest of its revision", "delete it and pin again"
        )

    @staticmethod
    def key(revision: str) -> str:
        """Where the store keeps the manifest of a revision.

        Raises:
            RatchetError: It is no revision: people who use `ingest` alone type them, and only a digest may become a key.
        """
        name = revision.removeprefix("sha256:")
        if not name.isalnum():
            raise RatchetError(f"{revision!r} is not a revision", "pass the output `revision` of pin")
        return f"manifests/{name}.parquet"

    def _lines(self) -> Iterator[str]:
        """One text for each list of files. Every field is led by its length or is a number: no name can look like two."""
        for name, table in self.tables.items():
            yield f"{len(name)}:{name},{table.height}\n"
            fields = ((pl.col(field).str.len_bytes(), pl.lit(":"), pl.col(field)) for field in ("path", "version"))
            path, version = fields
            line = pl.concat_str(*path, pl.lit(","), *version, pl.lit(","), pl.col("size"), pl.lit("\n"))
            for block in table.iter_slices(_BLOCK_ROWS):
                yield "".join(block.select(line).to_series().to_list())


def short(revision: str) -> str:
    """A revision for people: its first eight hex digits."""
    return revision.removeprefix("sha256:")[:8]


def list_source(source: str, store: Store | None = None) -> Manifest:
    """List all tables of a source.

    Args:
        source: A URI, or a JSON object of URIs by table.
        store: Remembers the digests of files, so that files that did not change are not read again.

    Raises:
        InputError: `source` cannot be one, or a table has no files.
        RatchetError: A table's files cannot be listed.
    """
    key = f"manifests/seen/{digest(source).removeprefix('sha256:')}.json"
    before = _recall(store.get(key)) if store else {}
    memory = Memory(before)
    sources = {name: open_source(uri) for name, uri in parse_source(source).items()}
    tables = {name: opened.listing(memory) for name, opened in sources.items()}
    if store and memory.now != before:
        store.put(key, json.dumps(memory.now).encode())
    return Manifest(tables, {name: opened.origin for name, opened in sources.items() if opened.origin})


def _recall(content: bytes | None) -> dict[str, str]:
    try:
        return dict(json.loads(content)) if content else {}
    except ValueError:
        return {}

"""The manifest: which files, byte for byte, a revision of the source is made of."""

import json
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from kfp_ratchet.components.shared.canonical import digest, dumps
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.components.shared.sources import FileEntry, Memory, open_source, parse_source
from kfp_ratchet.components.shared.store import Store


class Manifest(BaseModel):
    """Files by table, in the tables' order. Where the files lie is no part of it: moved data is the same data."""

    model_config = ConfigDict(frozen=True)

    tables: dict[str, tuple[FileEntry, ...]]

    @property
    def revision(self) -> str:
        """Digest of all that is listed."""
        listed = [
            [name, [[file.path, file.size, file.version] for file in files]] for name, files in self.tables.items()
        ]
        return digest(dumps(listed))

    @property
    def files(self) -> int:
        """Number of files of all tables."""
        return sum(map(len, self.tables.values()))

    def keep(self, store: Store) -> None:
        """Keep it in the store under its revision; nothing happens when it is there."""
        store.create(_key(self.revision), self.model_dump_json(indent=1).encode())

    @classmethod
    def load(cls, store: Store, revision: str) -> Self | None:
        """A kept manifest, None when there is none.

        Raises:
            RatchetError: What was kept does not belong to `revision`.
        """
        content = store.get(_key(revision))
        if content is None:
            return None
        try:
            manifest: Self | None = cls.model_validate_json(content)
        except ValidationError:
            manifest = None
        if manifest is None or manifest.revision != revision:
            raise RatchetError(
                f"{_key(revision)} in {store.uri} is not the manifest of its revision", "delete it and pin again"
            )
        return manifest


def short(revision: str) -> str:
    """A revision for people: its first eight hex digits."""
    return revision.removeprefix("sha256:")[:8]


def counted(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def list_source(source: str, store: Store | None = None) -> Manifest:
    """List all tables of a source.

    Args:
        source: A URI, or a JSON object of URIs by table.
        store: Remembers the digests of files, so that files that did not change are not read again.

    Raises:
        InputError: `source` cannot be one.
        RatchetError: A table's files cannot be listed.
    """
    key = f"manifests/seen/{digest(source).removeprefix('sha256:')}.json"
    before = _recall(store.get(key)) if store else {}
    memory = Memory(before)
    tables = {name: open_source(uri).manifest(memory) for name, uri in parse_source(source).items()}
    if store and memory.now != before:
        store.put(key, json.dumps(memory.now).encode())
    return Manifest(tables=tables)


def _recall(content: bytes | None) -> dict[str, str]:
    try:
        return dict(json.loads(content)) if content else {}
    except ValueError:
        return {}


def _key(revision: str) -> str:
    # A revision is typed by people who use `ingest` alone: only a digest may become a key.
    name = revision.removeprefix("sha256:")
    if not name.isalnum():
        raise RatchetError(f"{revision!r} is not a revision", "pass the output `revision` of pin")
    return f"manifests/{name}.json"

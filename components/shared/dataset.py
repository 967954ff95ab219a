"""The Dataset contract: a folder with one folder of Parquet files (zstd) a table, and `dataset.json`."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field

from kfp_ratchet.components.shared.canonical import digest, dumps, loads
from kfp_ratchet.components.shared.errors import RatchetError, disk_full, disk_trouble

if TYPE_CHECKING:
    import polars as pl

MAIN = "rows"
"""Name of the only table when the source names none, and of the model rows that `prepare` makes."""
_FOOTER_BYTES = 65_536


class Table(BaseModel):
    """Shape of one table."""

    model_config = ConfigDict(frozen=True)

    rows: int
    columns: dict[str, str] = Field(description="polars data type by column, in order.")
    digest: str = Field(
        default="", description="Digest of names, sizes and footers of its files; empty is not checked."
    )


class Dataset(BaseModel):
    """What `dataset.json` says; the first table is the main one."""

    revision: str = Field(description="Digest of the manifest of what was read.")
    source: str = Field(description="Where it was read from: a URI, or canonical JSON of URIs by table.")
    window: str = Field(default="", description="The window that rows were restricted to, as canonical JSON.")
    tables: dict[str, Table] = Field(default_factory=dict)
    accepted_rows: int = Field(default=0, description="Rows of the main table that validation accepted; 0 before it.")

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """Read `dataset.json`.

        Raises:
            RatchetError: The folder is not a Dataset, or a table is not the one that was written.
        """
        path = Path(folder) / "dataset.json"
        try:
            dataset = cls.model_validate(loads(path.read_bytes()))
            if not dataset.tables:
                raise ValueError("it names no table")
        except (OSError, ValueError) as error:
            raise RatchetError(
                f"{folder} is not a Dataset: {error}", "pass the output of ingest, validate or prepare"
            ) from error
        for name, table in dataset.tables.items():
            if table.digest and table.digest != _table_digest(folder, name):
                raise RatchetError(
                    f"the table {name!r} in {folder} is not the one that was written there: its files were changed",
                    f"delete {folder} and start the run again, which makes it anew",
                )
        return dataset

    @property
    def main(self) -> str:
        """Name of the main table."""
        return next(iter(self.tables))

    def write(self, folder: str | Path) -> None:
        """Write `dataset.json`; the tables are written with `write_table` before."""
        Path(folder, "dataset.json").write_text(self.model_dump_json(indent=1))


def scan_table(folder: str | Path, table: str) -> "pl.LazyFrame":
    """Lazily read one table of a Dataset."""
    import polars as pl

    return pl.scan_parquet(_files(folder, table), glob=False)


def read_main(folder: str | Path) -> "pl.DataFrame":
    """Read the main table of a Dataset, shape (rows, columns)."""
    return scan_table(folder, Dataset.read(folder).main).collect()


def write_table(rows: "pl.DataFrame | pl.LazyFrame", folder: str | Path, table: str) -> Table:
    """Write one table of a Dataset (streaming when lazy), in place of the one that is there, and return its shape.

    Raises:
        RatchetError: The disk is full; nothing half written stays.
    """
    import polars as pl

    target = Path(folder, table, "part-00000.parquet")
    target.parent.mkdir(parents=True, exist_ok=True)
    writing = target.with_suffix(".writing")
    try:
        rows.lazy().sink_parquet(writing, compression="zstd")
        writing.replace(target)
    except Exception as error:
        # The rest may be about what is read.
        if disk_full(error):
            raise RatchetError(
                f"table {table!r} cannot be written to {folder}: {error}", disk_trouble(error)
            ) from error
        raise
    finally:
        writing.unlink(missing_ok=True)
    written = scan_table(folder, table)
    count = int(written.select(pl.len()).collect().item())
    columns = {name: str(dtype) for name, dtype in written.collect_schema().items()}
    return Table(rows=count, columns=columns, digest=_table_digest(folder, table))


def copy_table(source: str | Path, table: str, folder: str | Path) -> None:
    """Copy the files of a table into another Dataset, byte for byte."""
    target = Path(folder, table)
    target.mkdir(parents=True, exist_ok=True)
    for file in _files(source, table):
        shutil.copyfile(file, target / file.name)


def _table_digest(folder: str | Path, table: str) -> str:
    """Tells a table from any other in the time of a glance: a Parquet footer holds the offsets and statistics of all columns."""
    return digest(dumps([[path.name, path.stat().st_size, _end(path)] for path in _files(folder, table)]))


def _end(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _FOOTER_BYTES), os.SEEK_SET)
        return digest(file.read())


def _files(folder: str | Path, table: str) -> list[Path]:
    return sorted(Path(folder, table).glob("*.parquet"))

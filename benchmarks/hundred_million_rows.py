"""Memory of the data steps on a table of 100,000,000 rows and six columns, each step in a process of its own.

    python benchmarks/hundred_million_rows.py [--rows 100000000] [--scratch FOLDER]

Makes the table as 20 Parquet files and as one CSV, then ingests both and validates: all checks but repeated keys; those too; with a
tenth of a percent of the rows quarantined; and with a check that a user wrote, which sees the whole table. Needs 20 GB in FOLDER.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from results import keep

FILES = 20
GIB = 2**30
INGEST = """
import sys
from kfp_ratchet.components.ingest.tables import ingest_source
from kfp_ratchet.components.shared.manifest import list_source
source, out, columns, schema = sys.argv[1:]
ingest_source(source, list_source(source).revision, columns, "{}", schema, "", out, out)
"""
VALIDATE = """
import sys
from kfp_ratchet.components.validate.validation import validate_dataset
raw, out, schema, checks, columns = sys.argv[1:]
validate_dataset(raw, raw, schema, checks, columns, "{}", 0, "", out, out, out + ".html")
"""
USERS_SCHEMA = """
import pandera.polars as pa, polars as pl

def around_a_half(data):
    return data.lazyframe.select(pl.col(data.key).mean().is_between(0.4, 0.6))

S = pa.DataFrameSchema({"x": pa.Column(pl.Float64, pa.Check(around_a_half))})
"""
ROLES = {"id": "id", "time": "at", "target": "y"}


def schema(most: float) -> str:
    """The table's schema; a larger `x` fails."""
    columns = {
        "id": {"dtype": "Int64", "ge": 0},
        "at": {"dtype": "Datetime('us')"},
        "x": {"dtype": "Float64", "in_range": {"min_value": 0, "max_value": most}},
        "s": {"dtype": "String", "isin": ["a", "bb", "ccc", "d"], "str_length": {"min_value": 1, "max_value": 3}},
        "m": {"dtype": "Int64", "nullable": True, "in_range": {"min_value": 0, "max_value": 100}},
        "y": {"dtype": "Int64", "isin": [0, 1]},
    }
    return json.dumps({"columns": columns})


def make(rows: int, folder: Path) -> None:
    """Files of rows with unique ids, two seconds apart, a tenth of `m` missing."""
    row = pl.int_range(rows // FILES, dtype=pl.Int64)
    for file in range(FILES):
        number = row + file * (rows // FILES)
        chance = number.hash(seed=1) / 2.0**64
        pl.select(
            id=number,
            at=pl.lit(datetime(2000, 1, 1)) + number * timedelta(seconds=2),
            x=chance,
            s=pl.lit(pl.Series(["a", "bb", "ccc", "d"])).gather((chance * 400 % 4).cast(pl.UInt32)),
            m=pl.when(number % 10 != 0).then((chance * 10_000 % 100).cast(pl.Int64)),
            y=(chance * 1e6 % 2).cast(pl.Int64),
        ).write_parquet(folder / f"part-{file:02}.parquet")


def measured(script: str, *arguments: object) -> tuple[float, float]:
    """Seconds, and GiB of memory at most, of a Python process."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"a step ended with status {status}")
    return time.perf_counter() - began, usage.ru_maxrss * 1024 / GIB


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--scratch", type=Path, help="where there are 20 GB")
    asked = parser.parse_args()
    lines = [
        f"{os.cpu_count()} cores; {asked.rows:,} x 6 rows, peak resident memory of each process.",
        "",
        "| step | wall | peak | aim |",
        "|---|---|---|---|",
    ]
    with TemporaryDirectory(dir=asked.scratch) as scratch:
        folder = Path(scratch)
        files, table, csv = folder / "files", folder / "table", folder / "csv"
        files.mkdir()
        csv.mkdir()
        make(asked.rows, files)
        pl.scan_parquet(files / "*.parquet").sink_csv(csv / "rows.csv")
        size = (csv / "rows.csv").stat().st_size / 1e9
        cases = [
            ("ingest of 20 Parquet files", INGEST, (files, table, json.dumps(ROLES), ""), 4),
            (
                f"ingest of one CSV of {size:.1f} GB",
                INGEST,
                (csv, folder / "from-csv", json.dumps(ROLES), schema(1)),
                4,
            ),
        ]
        (folder / "users_schema.py").write_text(USERS_SCHEMA)
        os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        for name, keeps, checks, aim in (
            ("all checks but repeated keys", schema(1), {"unique": []}, 4),
            ("repeated keys too, in memory, no spilling", schema(1), {}, 8),
            ("0.1% of the rows quarantined", schema(0.999), {"on_failure": "quarantine"}, 8),
            ("a user's check, which sees the whole table", "users_schema:S", {}, 8),
        ):
            out = folder / f"accepted-{len(cases)}"
            out.mkdir()
            arguments = (table, out, keeps, json.dumps(checks), json.dumps(ROLES))
            cases.append((f"validate: {name}", VALIDATE, arguments, aim))
        for name, script, arguments, aim in cases:
            seconds, peak = measured(script, *arguments)
            lines.append(f"| {name} | {seconds:.0f} s | {peak:.2f} GiB | {aim} GiB |")
            print(lines[-1], flush=True)
    keep("hundred_million_rows.py", "\n".join(lines))


if __name__ == "__main__":
    main()

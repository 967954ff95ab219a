"""How fast text becomes Parquet, and in how much memory: what `ingest` does against polars' own `sink_parquet`.

    python benchmarks/csv_ingest.py [--gigabytes 1] [--repetitions 7] [--large 20] [--scratch FOLDER]

Columns like those of the flights: nine integers, three numbers, four texts, one time; some values missing. Bare polars is told the types
and the one form that times have, and parses them with it, which is faster than its reader does by itself; where no schema names the types,
it infers them from all rows, as we do. Both write zstd. Each conversion runs in a process of its own, the two in turn, and is timed after
imports; the whole step also verifies the file's digest. Needs twice the larger size in FOLDER.
"""

import argparse
import gzip
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from results import keep

BLOCK_ROWS = 500_000
GIB = 2**30
START = """
import json, sys, time
from pathlib import Path
import polars as pl

source, out, schema = sys.argv[1:]
types = {name: getattr(pl, dtype) for name, dtype in json.loads(schema).items()}
"""
BARE = """
began = time.perf_counter(), time.process_time()
if ".jsonl" in source:
    rows = pl.scan_ndjson(source, schema={**types, "time_hour": pl.String})
elif types:
    rows = pl.scan_csv(source, schema={**types, "time_hour": pl.String})
else:
    rows = pl.scan_csv(source, infer_schema_length=None)
if types:
    when = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us")
    rows = rows.with_columns(when)
rows.sink_parquet(out + ".parquet", compression="zstd")
"""
OURS = """
from kfp_ratchet.components.ingest.formats import TableFile
from kfp_ratchet.components.ingest.tables import write_files
from kfp_ratchet.components.shared.window import Window

began = time.perf_counter(), time.process_time()
write_files([TableFile(Path(source), Path(source).name, source)], types, out, "rows", "time_hour", Window())
"""
STEP = """
import pandera.polars
from kfp_ratchet.components.ingest.tables import ingest_source
from kfp_ratchet.components.shared.manifest import list_source

revision = list_source(source).revision
schema = json.dumps({"columns": {name: {"dtype": str(dtype)} for name, dtype in types.items()}})
began = time.perf_counter(), time.process_time()
ingest_source(source, revision, '{"time": "time_hour"}', "{}", schema, "", out, out)
"""
END = """
print(time.perf_counter() - began[0], time.process_time() - began[1])
"""


def block() -> pl.DataFrame:
    """Rows of made-up flights, seven seconds apart."""
    row = pl.int_range(BLOCK_ROWS, dtype=pl.Int64)

    def chance(column: int) -> pl.Expr:
        return row.hash(seed=column) / 2.0**64

    def number(column: int, low: int, high: int) -> pl.Expr:
        return (chance(column) * (high - low) + low).cast(pl.Int64)

    def one_of(column: int, *values: str) -> pl.Expr:
        return pl.lit(pl.Series(values)).gather(number(column, 0, len(values)).cast(pl.UInt32))

    def known(value: pl.Expr) -> pl.Expr:
        return pl.when(chance(0) > 0.02).then(value)

    when = pl.lit(datetime(2013, 1, 1)) + row * timedelta(seconds=7)
    return pl.select(
        year=when.dt.year().cast(pl.Int64),
        month=when.dt.month().cast(pl.Int64),
        day=when.dt.day().cast(pl.Int64),
        dep_time=known(number(1, 500, 2359)),
        sched_dep_time=number(2, 500, 2359),
        dep_delay=known((chance(3) * 400 - 30).round(1)),
        arr_delay=known((chance(4) * 500 - 60).round(1)),
        carrier=one_of(5, "UA", "AA", "B6", "DL", "EV", "MQ", "US", "WN"),
        flight=number(6, 1, 8500),
        tailnum=pl.format("N{}{}", number(7, 100, 999), one_of(8, "UA", "AA", "JB", "DL")),
        origin=one_of(9, "EWR", "JFK", "LGA"),
        dest=one_of(10, "IAH", "MIA", "BQN", "ATL", "ORD", "FLL", "IAD", "NA"),
        air_time=known((chance(11) * 600).round(0)),
        distance=number(12, 80, 4983),
        hour=when.dt.hour().cast(pl.Int64),
        minute=number(13, 0, 60),
        time_hour=when.dt.truncate("1h").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def repeated(rows: pl.DataFrame, path: Path, size: float) -> Path:
    """A file that holds the rows again and again, up to `size` bytes."""
    header, body = b"", (rows.write_ndjson() if ".jsonl" in path.name else rows.write_csv()).encode()
    if ".csv" in path.name:
        header, _, body = body.partition(b"\n")
        header += b"\n"
    with gzip.open(path, "wb", compresslevel=1) if path.suffix == ".gz" else path.open("wb") as file:
        file.write(header)
        for _ in range(max(1, round(size / len(body)))):
            file.write(body)
    return path


@dataclass(frozen=True)
class Cost:
    """Of one conversion, without imports but for the memory."""

    wall: float
    processor: float
    peak: float


def measured(script: str, source: Path, schema: dict[str, str]) -> Cost:
    """What a conversion takes: seconds, and GiB of resident memory at most."""
    with TemporaryDirectory(dir=source.parent) as out:
        command = [sys.executable, "-c", START + script + END, str(source), f"{out}/out", json.dumps(schema)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"a conversion ended with status {status}")
        wall, processor = map(float, said.split()[-2:])
        return Cost(wall, processor, usage.ru_maxrss * 1024 / GIB)


def compared(what: str, ours: str, source: Path, schema: dict[str, str], repetitions: int) -> str:
    """A row of the table: medians of both, and of the ratios of pairs that ran one after the other."""
    pairs = []
    for repetition in range(repetitions):
        # Each goes first as often as the other.
        turn = [BARE, ours] if repetition % 2 == 0 else [ours, BARE]
        costs = {script: measured(script, source, schema) for script in turn}
        pairs.append((costs[BARE], costs[ours]))
    row = [what, f"{source.stat().st_size / 1e9:.1f} GB"]
    for kind in ("wall", "processor"):
        times = [[getattr(cost, kind) for cost in pair] for pair in pairs]
        ratios = sorted(bare / own for bare, own in times)
        bare, own = (statistics.median(side) for side in zip(*times, strict=True))
        spread = f" [{ratios[0]:.2f}, {ratios[-1]:.2f}]" if repetitions > 1 else ""
        row += [f"{bare:.1f} s, {own:.1f} s", f"**{statistics.median(ratios):.2f}**{spread}"]
    row += [", ".join(f"{max(cost.peak for cost in side):.2f}" for side in zip(*pairs, strict=True)) + " GiB"]
    line = f"| {' | '.join(row)} |"
    print(line, flush=True)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--large", type=float, default=20, help="GB of the input that is read once; 0 leaves it out")
    parser.add_argument("--scratch", type=Path, help="where there is twice that much room")
    asked = parser.parse_args()
    with TemporaryDirectory(dir=asked.scratch) as scratch:
        folder, rows, size = Path(scratch), block(), asked.gigabytes * 1e9
        schema = {name: str(dtype) for name, dtype in rows.schema.items()} | {"time_hour": "Datetime"}
        lines = [
            f"{os.cpu_count()} cores, polars {pl.__version__}, Python "
            f"{platform.python_version()}; {rows.width} columns; median of {asked.repetitions} pairs, the large one once; aims: at least "
            f"0.8 of bare, at most 2 GiB. Load average {os.getloadavg()[0]:.1f} before: where it exceeds the cores other work ran "
            "too, and processor seconds say more than wall seconds.",
            "",
            "| what | input | wall: bare, ours | of bare [all] | processor: bare, ours | of bare [all] | peak: bare, ours |",
            "|---|---|---|---|---|---|---|",
        ]
        cases = [
            ("CSV, types from the schema", OURS, "a.csv", schema),
            ("the whole step, which verifies the file too", STEP, "a.csv", schema),
            ("CSV, types inferred", OURS, "a.csv", {}),
            ("gzip", OURS, "a.csv.gz", schema),
            ("JSON lines", OURS, "a.jsonl", schema),
        ]
        for what, ours, name, types in cases:
            source = folder / name
            if not source.exists():
                repeated(rows, source, size)
            lines.append(compared(what, ours, source, types, asked.repetitions))
        for path in folder.iterdir():
            path.unlink()
        if asked.large:
            source = repeated(rows, folder / "large.csv", asked.large * 1e9)
            lines.append(compared("CSV, types from the schema", OURS, source, schema, 1))
    keep("csv_ingest.py", "\n".join(lines))


if __name__ == "__main__":
    main()

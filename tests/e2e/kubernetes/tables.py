"""A small table in the bucket: 60 days of rows whose label two of three features explain in part."""

import json
from pathlib import Path

import numpy as np
import obstore
import polars as pl
from runner import Cluster

SCHEMA = """
schema_type: polars_dataframe
columns:
  id: {dtype: Int64, nullable: false}
  x: {dtype: Float64, nullable: false}
  z: {dtype: Float64, nullable: false}
  kind: {dtype: String, nullable: false}
  late: {dtype: Int64, nullable: false}
  time: {dtype: Datetime, nullable: false}
"""
COLUMNS = json.dumps({"target": "late", "problem": "binary", "id": "id", "time": "time"})


def rows(n: int) -> pl.DataFrame:
    """So many rows, the same ones every time."""
    rng = np.random.default_rng(0)
    x, kind = rng.normal(size=n), rng.choice(list("abc"), n)
    late = (x + (kind == "a") + rng.normal(size=n) > 0.5).astype(int)
    minutes = np.arange(n) * 86400 // n
    table = pl.DataFrame({"id": np.arange(n), "x": x, "z": rng.random(n), "kind": kind, "late": late})
    return table.with_columns((pl.datetime(2026, 1, 1) + pl.duration(minutes=pl.Series(minutes))).alias("time"))


def put(cluster: Cluster, key: str, table: pl.DataFrame, folder: Path) -> str:
    """Write a table to the bucket; its URI."""
    path = folder / "rows.parquet"
    table.write_parquet(path)
    obstore.put(cluster.bucket(), f"{key}/rows.parquet", path)
    return f"{cluster.outside.bucket}/{key}"

"""The training rows of examples/flights as of June: what the benchmarks of training and tuning fit on."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.split import split
from kfp_ratchet.components.shared.window import Window
from kfp_ratchet.components.train.rows import hold_out_tail

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "flights"
COLUMNS = Columns(target="late", problem="binary", id="flight_id", time="time_hour")


def june() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows to fit on and the tail to stop on, as `tune` and `train` see them; quarantine aside."""
    sys.path.insert(0, str(EXAMPLE))
    from feed import deposit

    with TemporaryDirectory() as scratch:
        data = Path(scratch)
        deposit("2013-06", data)
        tables = {
            "flights": pl.read_parquet(data / "flights" / "*.parquet"),
            "weather": pl.read_csv(data / "weather" / "*.csv", infer_schema_length=None, try_parse_dates=True),
            "planes": pl.read_csv(data / "planes.csv", infer_schema_length=None),
        }
    moment = pl.col("time_hour").dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    tables = {
        name: table.with_columns(moment) if "time_hour" in table.columns else table for name, table in tables.items()
    }
    rows = pl.SQLContext(tables).execute((EXAMPLE / "features.sql").read_text(), eager=True)
    return hold_out_tail(split(rows, COLUMNS, Window(end="2013-06")), COLUMNS)

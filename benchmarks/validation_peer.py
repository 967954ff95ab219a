"""The checks of validation.py by Great Expectations, or by pandera on pandas; started there, in an environment of their own.

Reads the rows, then for every line on stdin validates them once and prints the seconds that took.
"""

import sys
import time

import pandas as pd


def great_expectations(rows):
    """One validation by Great Expectations, as its quick start sets it up."""
    import great_expectations as gx
    from great_expectations import expectations as gxe

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("pandas").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": rows})
    suite = gx.ExpectationSuite(
        name="checks",
        expectations=[
            *(gxe.ExpectColumnValuesToNotBeNull(column=name) for name in ("id", "x", "s")),
            gxe.ExpectColumnValuesToBeBetween(column="id", min_value=0),
            gxe.ExpectColumnValuesToBeBetween(column="x", min_value=-10, max_value=10),
            gxe.ExpectColumnValuesToBeInSet(column="s", value_set=["a", "bb", "ccc", "d"]),
            gxe.ExpectColumnValueLengthsToBeBetween(column="s", min_value=1, max_value=3),
            gxe.ExpectColumnValuesToBeBetween(column="m", min_value=0, max_value=100),
        ],
    )
    return lambda: batch.validate(suite).success


def pandera_on_pandas(rows):
    """One validation by pandera on pandas."""
    import pandera.pandas as pa

    schema = pa.DataFrameSchema(
        {
            "id": pa.Column(checks=pa.Check.ge(0)),
            "x": pa.Column(float, pa.Check.in_range(-10, 10)),
            "s": pa.Column(checks=[pa.Check.isin(["a", "bb", "ccc", "d"]), pa.Check.str_length(1, 3)]),
            "m": pa.Column(nullable=True, checks=pa.Check.in_range(0, 100)),
        }
    )
    return lambda: schema.validate(rows, lazy=True) is not None


def main() -> None:
    name, data = sys.argv[1:]
    validate = (great_expectations if name == "Great Expectations" else pandera_on_pandas)(pd.read_parquet(data))
    for _ in sys.stdin:
        began = time.perf_counter()
        passed = validate()
        seconds = time.perf_counter() - began
        assert passed
        print(seconds, flush=True)


if __name__ == "__main__":
    main()

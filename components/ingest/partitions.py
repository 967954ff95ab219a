"""Columns that a table's folders stand for: `month=07/part-0.parquet` has the column `month`."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

import polars as pl

from kfp_ratchet.components.ingest.conversion import Dtype, from_text
from kfp_ratchet.components.shared.errors import BlockedError
from kfp_ratchet.components.shared.names import refuse_names

_KEY_AND_VALUE = re.compile(r"([^/=]+)=([^/]*)/")
_NULL = "__HIVE_DEFAULT_PARTITION__"


def partition_columns(names: Sequence[str], declared: Mapping[str, Dtype]) -> list[dict[str, pl.Expr]]:
    """One dict of columns a file, from the folders in its name.

    A column is an integer or a date when all its values are, text otherwise, unless the user's schema names its type.

    Args:
        names: Paths inside the source, POSIX.
        declared: Types by column from the user's schema.

    Raises:
        BlockedError: A value is not of its declared type.
    """
    folders = [
        {key: None if value == _NULL else unquote(value) for key, value in _KEY_AND_VALUE.findall(name)}
        for name in names
    ]
    columns: list[dict[str, pl.Expr]] = [{} for _ in names]
    for key in dict.fromkeys(key for values in folders for key in values):
        refuse_names([key], next(name for name, values in zip(names, folders, strict=True) if key in values))
        holders = [index for index, values in enumerate(folders) if key in values]
        texts = [folders[index][key] for index in holders]
        dtype = declared.get(key) or _inferred(texts)
        convert = from_text(key, dtype)
        values = [None] * len(texts)
        if convert is not None:
            values = pl.DataFrame({key: texts}, schema={key: pl.String}).select(convert)[key].to_list()
        for index, text, value in zip(holders, texts, values, strict=True):
            if text is not None and value is None:
                raise BlockedError(f"the folder {key}={text} of {names[index]} is not {dtype}", "fix it or the schema")
            columns[index][key] = pl.lit(value, dtype=dtype).alias(key)
    return columns


def _inferred(texts: Sequence[str | None]) -> Dtype:
    known = [text for text in texts if text is not None]
    if known and all(re.fullmatch(r"-?\d{1,18}", text) for text in known):
        return pl.Int64
    if known and all(re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) for text in known):
        return pl.Date
    return pl.String

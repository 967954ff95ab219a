"""What `tune` and `train` both start from: the training rows, and the tail of them that stops a fit early."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import polars as pl

from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.dataset import Dataset, read_main
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.components.shared.manifest import counted
from kfp_ratchet.components.shared.parameters import parse_parameter
from kfp_ratchet.components.shared.split import Split, split
from kfp_ratchet.components.shared.window import Window
from kfp_ratchet.components.train.labels import class_names, row_weights, unlabelled

_TAIL_SHARE = 0.15


@dataclass(frozen=True)
class FitRows:
    """Rows to fit on and to stop on; rows without a target are left out of both, evaluation rows are never here."""

    dataset: Dataset
    columns: Columns
    window: Window
    rows: pl.DataFrame
    tail: pl.DataFrame
    rule: str
    unlabelled: int
    """Training rows left out because their target is missing."""

    @property
    def all(self) -> pl.DataFrame:
        """All training rows, the tail included."""
        return pl.concat([self.rows, self.tail])

    @property
    def fingerprint(self) -> str:
        """Digest of the rows' content, whatever their order in the files: two fits with the same one are the same fit."""
        every = self.all
        total = every.hash_rows(seed=0).to_numpy().sum(dtype="uint64")
        schema = ",".join(f"{name}:{dtype}" for name, dtype in every.schema.items())
        return f"{total}/{self.rows.height}+{self.tail.height}/{sha256(schema.encode()).hexdigest()[:16]}"


def read_fit_rows(folder: str, columns: str, window: str) -> FitRows:
    """Read a Dataset and keep its training rows, the tail apart.

    Args:
        folder: The Dataset.
        columns: `Columns` as JSON.
        window: `Window` as JSON.

    Raises:
        InputError: `columns` or `window` is not valid or names no target, a column is missing, too few rows are left, or a classifier
            would see one class only.
    """
    roles = parse_parameter(Columns, columns, "columns")
    if not roles.target:
        raise InputError("columns.target is not set", "name the column to predict")
    rule = parse_parameter(Window, window, "window")
    parts = split(read_main(folder), roles, rule)
    # The gate could not use them, and `evaluate` would find out only after the fit.
    row_weights(parts.evaluate, roles)
    if roles.id and (without := parts.evaluate[roles.id].null_count()):
        raise InputError(
            f"{counted(without, 'evaluation row')} of {parts.evaluate.height:,} have no {roles.id!r}, the id",
            "fix the source, leave them out in prepare, or let the schema forbid them (nullable: false)",
        )
    if missing := int(unlabelled(parts.evaluate[roles.target]).sum()):
        raise InputError(
            f"{counted(missing, 'evaluation row')} of {parts.evaluate.height:,} have no label in {roles.target!r}",
            "leave them out in prepare, or let the schema forbid them (nullable: false) and checks quarantine them",
        )
    labelled = parts.train.filter(~unlabelled(parts.train[roles.target]))
    rows, tail = hold_out_tail(Split(labelled, parts.evaluate, parts.rule, parts.kind), roles)
    # Here, and not in the first trial: no hyperparameter would mend it.
    class_names(rows[roles.target], roles)
    return FitRows(Dataset.read(folder), roles, rule, rows, tail, parts.rule, parts.train.height - labelled.height)


def hold_out_tail(parts: Split, columns: Columns) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Hold out the last 15 % of the training rows; without a time column, 15 % by a hash.

    Raises:
        InputError: One side would be empty.
    """
    n = parts.train.height
    if parts.kind == "time":
        cut = n - round(_TAIL_SHARE * n)
        rows, tail = parts.train[:cut], parts.train[cut:]
    else:
        held = pl.Series(_held(parts.train, columns), dtype=pl.Boolean)
        rows, tail = parts.train.filter(~held), parts.train.filter(held)
    if rows.is_empty() or tail.is_empty():
        raise InputError(
            f"{counted(n, 'labelled training row')}: too few to hold some out for early stopping",
            "widen window.train, or shorten window.evaluate",
        )
    return rows, tail


def _held(rows: pl.DataFrame, columns: Columns) -> list[bool]:
    # As `split` does, but salted: the evaluation rows were chosen by a hash of the same text.
    keys: Iterable[Any] = rows[columns.id] if columns.id else rows.select(sorted(rows.columns)).iter_rows()
    bound = int(_TAIL_SHARE * 2**32)
    return [int.from_bytes(sha256(f"tail:{key}".encode()).digest()[:4]) < bound for key in keys]

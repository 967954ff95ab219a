"""Model rows from tables: the user's own SQL or function, and what every result of it must keep."""

import inspect
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, model_validator

from kfp_ratchet.components.shared.canonical import digest, dumps
from kfp_ratchet.components.shared.columns import Columns
from kfp_ratchet.components.shared.dataset import MAIN, Dataset, scan_table, write_table
from kfp_ratchet.components.shared.errors import BlockedError, InputError, RatchetError
from kfp_ratchet.components.shared.journal import journal
from kfp_ratchet.components.shared.manifest import counted
from kfp_ratchet.components.shared.names import listed, refuse_names, shortened
from kfp_ratchet.components.shared.parameters import parse_parameter
from kfp_ratchet.components.shared.split import moments, refuse_times, require_kinds, require_roles
from kfp_ratchet.components.train.labels import unlabelled
from kfp_ratchet.components.validate.checks import CheckResult, check_labels, judge_leakage
from kfp_ratchet.components.validate.settings import Checks

Tables = Mapping[str, pl.LazyFrame]

# What these read is not part of the revision: a cached result would go stale without a word.
_READS_FILES = re.compile(r"\bread_(csv|parquet|ipc|json|ndjson)\s*\(", re.IGNORECASE)


class Recipe(BaseModel):
    """How model rows are made: one of two ways."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sql: str = Field(default="", description="Polars SQL over the tables by name; its result is the model rows.")
    function: str = Field(
        default="", description="package.module:name; takes a dict of lazy frames by table, returns one lazy frame."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.sql.strip()) == bool(self.function.strip()):
            raise ValueError("give either `sql` or `function`")
        if _READS_FILES.search(self.sql):
            raise ValueError("`sql` may read only the Dataset's tables; add the file to `source`")
        return self


def prepare_rows(
    dataset_path: str,
    dataset_uri: str,
    recipe: str,
    checks: str,
    columns: str,
    store: str,
    rows_path: str,
    rows_uri: str,
) -> None:
    """Write the model rows, sorted by time then id, as a Dataset of one table.

    Raises:
        InputError: A parameter cannot be read, the recipe's SQL or function is not there, or its result lacks a role's column.
        RatchetError: The recipe failed, or its result is empty, lacks ids or repeats them.
        BlockedError: Rows of the result lack a label, its labels are not those of the problem, or a feature tells the target.
    """
    called = {"recipe": recipe, "checks": checks, "columns": columns}
    with journal(store, rows_uri, {"dataset": dataset_uri}, called) as step:
        way = parse_parameter(Recipe, recipe, "recipe")
        policy = parse_parameter(Checks, checks, "checks")
        roles = parse_parameter(Columns, columns, "columns")
        dataset = Dataset.read(dataset_path)
        tables = {name: scan_table(dataset_path, name) for name in dataset.tables}
        step.progress("joining tables and computing features")
        name, made, source_digest = _from_sql(way.sql) if way.sql else _from_function(way.function)
        try:
            rows = _as_frame(made(tables), name)
        except RatchetError:
            raise
        except Exception as error:  # the user's own code
            message = " ".join(str(error).split("\n\n")[0].split())
            kind = InputError if way.sql else RatchetError
            raise kind(f"{name} failed: {type(error).__name__}: {message}", _has(tables)) from error
        step.progress(f"checking {counted(rows.height, 'model row')}")
        rows = _checked(rows, roles, name)
        rows, outcomes = _labelled(rows, roles, policy, name)
        sound = all(outcome.outcome == "pass" for outcome in outcomes)
        leaks, found = judge_leakage(rows, roles, policy.leakage) if sound else ([], [])
        outcomes += leaks
        shape = write_table(rows, rows_path, MAIN)
        Dataset(
            revision=dataset.revision,
            source=dumps({"source": dataset.source, "recipe": source_digest}),
            window=dataset.window,
            tables={MAIN: shape},
            accepted_rows=dataset.accepted_rows,
        ).write(rows_path)
        step.found(
            f"{counted(shape.rows, 'model row')}, {counted(len(shape.columns), 'column')} by {name}",
            recipe={"way": "sql" if way.sql else "function", "name": name, "digest": source_digest, "sql": way.sql},
            rows=shape.rows,
            columns=shape.columns,
            tables={table: known.rows for table, known in dataset.tables.items()},
            checks=[outcome.plain() for outcome in outcomes],
            associations=found,
        )
        for outcome in outcomes:
            if outcome.outcome == "fail":
                raise BlockedError(outcome.reason)


def _from_sql(sql: str) -> tuple[str, Callable[[Tables], object], str]:
    def run(tables: Tables) -> object:
        return pl.SQLContext(frames=dict(tables), eager=False).execute(sql)

    return "the recipe's SQL", run, digest(sql)


def _from_function(name: str) -> tuple[str, Callable[[Tables], object], str]:
    module_name, _, attribute = name.partition(":")
    try:
        module = import_module(module_name)
        function: Callable[[Tables], object] = getattr(module, attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"recipe.function {name!r} cannot be imported: {error}",
            "write package.module:name, and install its package",
        ) from error
    if not callable(function):
        raise InputError(f"recipe.function {name!r} is not a function")
    # The whole module: the function's helpers change its result as well.
    return f"recipe function {name!r}", function, digest(inspect.getsource(module))


def _as_frame(made: object, name: str) -> pl.DataFrame:
    if isinstance(made, pl.LazyFrame):
        return made.collect(engine="streaming")
    if isinstance(made, pl.DataFrame):
        return made
    raise RatchetError(f"{name} returned {type(made).__name__}", "return a polars LazyFrame")


def _checked(rows: pl.DataFrame, roles: Columns, name: str) -> pl.DataFrame:
    """Rows in the order of time, then id, if they can be model rows."""
    refuse_names(rows.columns, f"the result of {name}")
    require_roles(rows.columns, roles, f"the result of {name}")
    require_kinds(rows, roles)
    refuse_times(rows, f"the result of {name}")
    if rows.is_empty():
        raise RatchetError(f"{name} gives no rows", "check its joins and filters")
    if roles.id:
        if without := rows[roles.id].null_count():
            raise RatchetError(
                f"{name} gives {counted(without, 'row')} without {roles.id!r}, the id", "leave them out there"
            )
        twice = rows.filter(rows[roles.id].is_duplicated())
        if twice.height:
            example = twice[roles.id].sort(nulls_last=True)[0]
            times = rows.filter(pl.col(roles.id).eq_missing(pl.lit(example, dtype=rows.schema[roles.id]))).height
            told = f"{counted(twice.height, 'row')} share their {roles.id!r} with another"
            raise RatchetError(
                f"{name} repeats ids: {told}, e.g. {shortened(repr(example))} {times} times",
                "a join multiplies rows: make the joined table unique in its key, or fix columns.id",
            )
    # Joins keep no order: without an id, all columns decide among rows of one time.
    last = [roles.id] if roles.id else [column for column, dtype in rows.schema.items() if not dtype.is_nested()]
    return rows.sort(*([moments(rows, roles.time)] if roles.time else []), *last, maintain_order=True)


def _labelled(rows: pl.DataFrame, roles: Columns, policy: Checks, name: str) -> tuple[pl.DataFrame, list[CheckResult]]:
    """The rows that have a label, and what to say of it: as `validate` does with what is in the source."""
    if not roles.target:
        return rows, []
    bad = unlabelled(rows[roles.target])
    count = int(bad.sum())
    if not count:
        return rows, [check_labels(rows, roles)]
    lacking = f"{counted(count, 'model row')} {'lacks' if count == 1 else 'lack'} a label ({count / rows.height:.2%})"
    reason = f"{lacking}: {name} gives null or NaN for {roles.target!r}"
    if policy.on_failure == "block":
        remedy = "leave rows whose outcome is not known out there, or set checks.on_failure: quarantine"
    elif count == rows.height or count / rows.height > policy.max_quarantine_share:
        remedy = f"at most {policy.max_quarantine_share:.2%} may be quarantined"
    else:
        left = rows.filter(~bad)
        return left, [CheckResult("label", "pass", f"{reason}; quarantined"), check_labels(left, roles)]
    return rows, [CheckResult("label", "fail", f"{reason}; {remedy}")]


def _has(tables: Tables) -> str:
    told = "; ".join(f"{name}({listed(frame.collect_schema().names())})" for name, frame in tables.items())
    return f"its tables are {told}"

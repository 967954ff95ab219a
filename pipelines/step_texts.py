"""The files of a new step as `ratchet add-step` writes them: a small one that works, to be made one's own. `$name` is the step's."""

from string import Template

# KFP has no types. Settings in a comment hold whatever the project's own are, and are never unused.
COMPONENT = Template('''\
# mypy: disallow_untyped_decorators=False, disable_error_code="import-untyped"
"""Pass on the rows that have a value in a column."""

from kfp import dsl
from kfp_ratchet.components._image import SLIM


@dsl.component(base_image=SLIM, install_kfp_package=False)
def $name(
    dataset: dsl.Input[dsl.Dataset],
    rows: dsl.Output[dsl.Dataset],
    column: str,
) -> int:
    """Pass on the rows that have a value in a column.

    Args:
        dataset: A CSV file with a header.
        rows: The same with fewer rows.
        column: The column that must not be empty.

    Returns:
        Rows passed on.
    """
    from components.$name.rows import keep_rows

    return keep_rows(dataset.path, rows.path, column)
''')
"""Signature, docstring, one import, one call: KFP ships the source of this function alone."""

LOGIC = Template('''\
"""Which rows `$name` passes on. Plain Python that knows nothing of KFP."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

Row = dict[str, str]


def kept(rows: Iterable[Row], column: str) -> Iterator[Row]:
    """Rows that have a value in a column."""
    return (row for row in rows if row[column])


def keep_rows(source: str, target: str, column: str) -> int:
    """Write the rows of a CSV file that have a value in a column to another.

    Args:
        source: CSV file with a header.
        target: CSV file to write.
        column: Name in the header.

    Returns:
        Rows written.

    Raises:
        ValueError: There is no such column.
    """
    with Path(source).open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        names = list(table.fieldnames or [])
        if column not in names:
            has = ", ".join(names)
            raise ValueError(f"column {column!r} is missing from {source} (has: {has})")
        rows = list(kept(table, column))
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    with Path(target).open("w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, names)
        out.writeheader()
        out.writerows(rows)
    return len(rows)
''')

TEST = Template('''\
# mypy: disallow_untyped_decorators=False, disable_error_code="import-untyped"
# mypy: warn_return_any=False
"""`$name`: its logic, and the component as a server runs it."""

from pathlib import Path

import pytest
from kfp import dsl, local

from components.$name.component import $name
from components.$name.rows import keep_rows, kept

ROOT = Path(__file__).parents[3]


def test_rows_without_a_value_are_left_out() -> None:
    rows = [{"id": "1"}, {"id": ""}, {"id": "3"}]
    assert [row["id"] for row in kept(rows, "id")] == ["1", "3"]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    source = tmp_path / "data.csv"
    source.write_text("id,x\\n1,2\\n")
    with pytest.raises(ValueError, match="column 'key' is missing"):
        keep_rows(str(source), str(tmp_path / "rows.csv"), "key")


def test_the_component_runs_as_it_is_shipped(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "data.csv").write_text("id,x\\n1,a\\n,b\\n3,c\\n")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    here = local.SubprocessRunner(use_venv=False)
    local.init(here, pipeline_root=str(tmp_path / "runs"))

    @dsl.pipeline
    def pipeline(uri: str) -> int:
        data = dsl.importer(artifact_uri=uri, artifact_class=dsl.Dataset).output
        return $name(dataset=data, column="id").outputs["Output"]

    assert pipeline(uri=str(tmp_path / "data.csv")).output == 2
''')

README = Template("""\
# `$name`

Pass on the rows that have a value in a column.

| | name | type | meaning |
|---|---|---|---|
| input | `dataset` | Dataset | a CSV file with a header |
| input | `column` | str | the column that must not be empty |
| output | `rows` | Dataset | the same with fewer rows |
| output | `Output` | int | rows passed on |

`component.py` is what KFP ships: signature, docstring, one import, one call. `rows.py` says how, in plain Python. The image that
`component.py` names must hold this code: `ratchet images build --with .` adds a package with a `pyproject.toml` to it.

```python
from components.$name.component import $name

passed = $name(dataset=data.outputs["dataset"], column="id").outputs["rows"]
```
""")

CONFTEST = '''\
"""Pytest puts the folder of this file on the path, so that tests find `components`."""
'''
